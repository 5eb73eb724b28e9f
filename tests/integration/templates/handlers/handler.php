<?php

/** Does what its path says. */
function handle(string $body, array $request): string|array|null
{
    switch ($request['path']) {
        case '/print':
            echo "to the log\n";
            fwrite(STDOUT, "and past the buffer\n");
            passthru('echo from a child');
            return 'printed';
        case '/raise':
            throw new Exception('broken');
        case '/exit':
            exit(3);
        case '/inject':
            return ['headers' => ['a' => "b\r\nc: d"]];
        case '/cookies':
            return ['status' => 201, 'headers' => ['Set-Cookie' => ['a=1', 'b=2']], 'body' => 'x'];
        case '/nothing':
            return ['status' => 204, 'body' => 'ignored'];
        case '/status':
            return ['status' => 99];
        case '/query':
            return $request['query'];
        case '/field':
            return $request['headers']['x-one'];
        case '/stdin':
            return stream_get_contents(STDIN);
        case '/none':
            return null;
        default:
            return ['headers' => ['content-type' => 'application/octet-stream'], 'body' => $body];
    }
}
