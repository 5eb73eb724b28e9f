<?php

/** Greets whoever the body names. */
function handle(string $request): string
{
    return 'Hello, ' . (trim($request) ?: 'world') . "!\n";
}
