#!/usr/bin/env bash
# Answers every line of the request as soon as it is there. $Http_Method, $Http_Path and $Http_Query tell of the rest.
set -euo pipefail

while IFS= read -r line || [ -n "$line" ]; do
    printf 'Hello, %s!\n' "$line"
done
