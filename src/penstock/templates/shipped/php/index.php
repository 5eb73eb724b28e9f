<?php
// Answers HTTP/1.1 requests on descriptor 3 with responses on 4, one after another, by handle() of function/handler.php.
//
// handle(string $request): string is given the body. With a second parameter it is given the request as well:
// ['method' => 'POST', 'path' => '/', 'query' => 'a=b', 'headers' => ['content-type' => '...']]. It returns the body of the answer,
// or ['status' => 201, 'headers' => ['Location' => '/7'], 'body' => '...'].

declare(strict_types=1);

namespace Penstock;

const MOST = 64 << 20; // bytes of a body
const HEAD = 64 << 10; // bytes of a line and of all fields

/** A request that cannot be answered and leaves the rest of the stream without meaning. Its code is the status. */
final class Refused extends \RuntimeException
{
}

/** The requests on a stream. */
final class Requests
{
    /** @param resource $input */
    public function __construct(private $input)
    {
    }

    /** The next request, with its body; null at the end. */
    public function take(): ?array
    {
        $first = \fgets($this->input, HEAD);
        if ($first === false) {
            return null;
        }
        [$method, $target] = self::match($first, '/^(\S+) (\S+) HTTP\/1\.1\r\n$/D');
        [$path, $query] = \explode('?', $target, 2) + [1 => ''];
        $headers = $this->headers();
        $body = isset($headers['transfer-encoding']) ? $this->chunks() : $this->exactly((int) ($headers['content-length'] ?? 0));
        return ['method' => $method, 'path' => $path, 'query' => $query, 'headers' => $headers, 'body' => $body];
    }

    private function headers(): array
    {
        $headers = [];
        for ($room = HEAD; ($line = $this->line()) !== "\r\n"; $room -= \strlen($line)) {
            if (\strlen($line) > $room) {
                throw new Refused('too many header fields', 431);
            }
            [$name, $value] = self::match($line, '/^([^\s:]+):[ \t]*(.*?)[ \t]*\r\n$/D');
            $name = \strtolower($name);
            $headers[$name] = isset($headers[$name]) ? "{$headers[$name]}, $value" : $value;
        }
        return $headers;
    }

    private function chunks(): string
    {
        $body = '';
        while (($size = (int) \hexdec(self::match($this->line(), '/^([0-9A-Fa-f]{1,15})[ \t]*(?:;.*)?\r\n$/D')[0])) > 0) {
            $body .= $this->exactly($size, MOST - \strlen($body));
            if ($this->line() !== "\r\n") {
                throw new Refused('a chunk is longer than it says', 400);
            }
        }
        while ($this->line() !== "\r\n") {
            continue; // trailers
        }
        return $body;
    }

    private function exactly(int $length, int $room = MOST): string
    {
        if ($length > $room) {
            throw new Refused('the body has more than ' . MOST . ' bytes', 413);
        }
        $data = $length > 0 ? (string) \stream_get_contents($this->input, $length) : '';
        return \strlen($data) === $length ? $data : self::gone();
    }

    private function line(): string
    {
        $line = \fgets($this->input, HEAD);
        return $line !== false ? $line : self::gone();
    }

    private static function match(string $line, string $pattern): array
    {
        if (!\preg_match($pattern, $line, $found)) {
            throw new Refused('not HTTP: ' . \json_encode(\substr($line, 0, 80), JSON_INVALID_UTF8_SUBSTITUTE), 400);
        }
        return \array_slice($found, 1);
    }

    /** The client left inside of its request. */
    private static function gone(): never
    {
        Answers::$waiting = '';
        exit(1);
    }
}

/** The answers on a stream. */
final class Answers
{
    /** Method of the request that waits for its answer; empty for none. */
    public static string $waiting = '';

    /** @param resource $output */
    public function __construct(private $output)
    {
    }

    public function give(string $body, array $headers = [], int $status = 200): void
    {
        if ($status < 200 || $status > 599) {
            throw new \InvalidArgumentException("not a status: $status");
        }
        $bodiless = $status === 204 || $status === 304;
        $head = "HTTP/1.1 $status " . ([200 => 'OK', 500 => 'Internal Server Error'][$status] ?? 'Status') . "\r\n";
        foreach (\array_change_key_case($headers) + ['content-type' => 'text/plain; charset=utf-8'] as $name => $values) {
            foreach ((array) $values as $value) {
                $head .= self::field((string) $name, (string) $value);
            }
        }
        $head .= $bodiless ? '' : 'Content-Length: ' . \strlen($body) . "\r\n";
        $answer = "$head\r\n" . ($bodiless || self::$waiting === 'HEAD' ? '' : $body);
        self::$waiting = '';
        for ($sent = 0; $sent < \strlen($answer); $sent += $written) {
            $written = \fwrite($this->output, $sent ? \substr($answer, $sent) : $answer);
            if (!$written) {
                exit(1);
            }
        }
        \fflush($this->output);
    }

    /** Framing is decided here, and a line break would begin a field of its own. */
    private static function field(string $name, string $value): string
    {
        if (!\preg_match('/^[!#$%&\'*+.^_`|~0-9a-z-]+$/D', $name) || \strpbrk($value, "\r\n\0") !== false) {
            throw new \InvalidArgumentException('not a header field: ' . \json_encode([$name, $value], JSON_INVALID_UTF8_SUBSTITUTE));
        }
        return $name === 'content-length' || $name === 'transfer-encoding' ? '' : \ucwords($name, '-') . ": $value\r\n";
    }
}

function main(): void
{
    $requests = new Requests(\fopen('php://fd/3', 'rb'));
    $answers = new Answers(\fopen('php://fd/4', 'wb'));
    // What the function prints is its log.
    \ob_start(static fn (string $text): string => \file_put_contents('php://stderr', $text) ? '' : '', 1);

    \is_file(__DIR__ . '/function/vendor/autoload.php') && require __DIR__ . '/function/vendor/autoload.php';
    require __DIR__ . '/function/handler.php';
    $all = (new \ReflectionFunction('handle'))->getNumberOfParameters() > 1;
    // A handler that exits, or runs out of memory, ends the process; the caller is told, and the watchdog starts another.
    \register_shutdown_function(static function () use ($answers): void {
        if (Answers::$waiting !== '') {
            $answers->give("the function ended its process\n", ['connection' => 'close'], 500);
        }
    });

    try {
        while (($request = $requests->take()) !== null) {
            Answers::$waiting = $request['method'];
            if ($request['method'] === 'OPTIONS' && $request['path'] === '*') {
                $answers->give('');
                continue;
            }
            try {
                $result = $all ? \handle($request['body'], \array_diff_key($request, ['body' => 0])) : \handle($request['body']);
                \is_array($result)
                    ? $answers->give((string) ($result['body'] ?? ''), $result['headers'] ?? [], $result['status'] ?? 200)
                    : $answers->give((string) $result);
            } catch (\Throwable $error) {
                \file_put_contents('php://stderr', "$error\n");
                $answers->give(\get_class($error) . ": {$error->getMessage()}\n", [], 500);
            }
        }
    } catch (Refused $refused) {
        $answers->give("{$refused->getMessage()}\n", ['connection' => 'close'], $refused->getCode());
        exit(1);
    }
}

main();
