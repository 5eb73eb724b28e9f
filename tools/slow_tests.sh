#!/usr/bin/env bash
# The tests that start servers, engines and clusters, in two halves at the same time: each of them waits more than it computes.
# What the second half says is kept until the first is through, so that neither cuts into the other's lines.
set -euo pipefail
cd "$(dirname "$0")/.."
said=$(mktemp)
trap 'rm -f "$said"' EXIT

.venv/bin/python -m pytest tests/integration &
first=$!
.venv/bin/python -m pytest tests/conformance tests/e2e > "$said" 2>&1 &
second=$!
trap 'kill -INT "$first" "$second" || true' INT TERM HUP

failed=0
for half in "$first" "$second"; do
    until wait "$half"; do
        status=$?
        if ! kill -0 "$half" 2>/dev/null; then  # otherwise a signal has ended the wait alone
            failed=$status
            break
        fi
    done
    if [ "$half" = "$second" ]; then cat "$said"; fi
done
exit "$failed"
