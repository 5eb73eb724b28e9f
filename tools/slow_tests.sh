#!/usr/bin/env bash
# The tests that start servers, engines and clusters, in four lanes at the same time: each of them waits more than it computes.
# What a lane says is kept until those before it are through, so that none cuts into another's lines.
set -euo pipefail
cd "$(dirname "$0")/.."
said=$(mktemp -d)
trap 'rm -rf "$said"' EXIT

# What waits for load to come and go, whole Swarms, and watchdogs are a lane of their own; what builds functions, and Docker another.
waiting=(tests/integration/watchdog tests/e2e/test_{alerts,queries,autoscaling,swarm}*.py)
building=(tests/integration/{builders,templates,stack} tests/e2e/test_{built,docker,stack,store,templates,tutorial,up}*.py)

lanes=()
lane() {
    .venv/bin/python -m pytest "$@" > "$said/${#lanes[@]}" 2>&1 &
    lanes+=($!)
}
rest=("${waiting[@]/#/--ignore=}" "${building[@]/#/--ignore=}")
lane tests/integration "${rest[@]}" --ignore=tests/integration/image
lane tests/conformance tests/e2e tests/integration/image "${rest[@]}"
lane "${waiting[@]}"
lane "${building[@]}"
trap 'kill -INT "${lanes[@]}" || true' INT TERM HUP

failed=0
for number in "${!lanes[@]}"; do
    tail -n +1 -f --pid="${lanes[$number]}" "$said/$number" &
    until wait "${lanes[$number]}"; do
        status=$?
        if ! kill -0 "${lanes[$number]}" 2>/dev/null; then  # otherwise a signal has ended the wait alone
            failed=$status
            break
        fi
    done
    wait $!  # the last lines
done
exit "$failed"
