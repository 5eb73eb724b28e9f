#!/usr/bin/env bash
# The tests that start servers, engines and clusters, in seven lanes at the same time: each of them waits more than it computes.
# What a lane says is kept until those before it are through, so that none cuts into another's lines.
set -euo pipefail
cd "$(dirname "$0")/.."
said=$(mktemp -d)
trap 'rm -rf "$said"' EXIT

# Every process would compile every module anew.
unset PYTHONDONTWRITEBYTECODE

# What waits for load to come and go, and watchdogs; what builds functions; Docker Engines; Swarms; Kubernetes, whose cluster is
# started once. Two lanes have all others.
waiting=(tests/integration/watchdog tests/e2e/test_{alerts,queries,autoscaling}*.py)
building=(tests/integration/{builders,templates} tests/e2e/test_{built,stack,store,templates,tutorial,up}*.py)
engines=(tests/integration/{engines,image,providers/docker} tests/e2e/test_{docker,examples_in}*.py)
swarms=(tests/integration/{stack,providers/swarm} tests/e2e/test_swarm*.py)
clusters=(tests/integration/{kubecluster,providers/kubernetes} tests/conformance/test_kubernetes.py tests/e2e/test_kubernetes*.py)

lanes=()
lane() {
    local file=$said/${#lanes[@]}
    : > "$file"  # there for whoever follows it, even before the lane has begun
    .venv/bin/python -m pytest --durations=10 --durations-min=10 "$@" >> "$file" 2>&1 &
    lanes+=($!)
}
rest=("${waiting[@]}" "${building[@]}" "${engines[@]}" "${swarms[@]}" "${clusters[@]}")
rest=("${rest[@]/#/--ignore=}")
lane tests/integration "${rest[@]}"
lane tests/conformance tests/e2e "${rest[@]}"
lane "${waiting[@]}"
lane "${building[@]}"
lane "${engines[@]}"
lane "${swarms[@]}"
lane "${clusters[@]}"
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
