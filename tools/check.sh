#!/usr/bin/env bash
# Every check, in the order in which a fault is cheapest to find; stops at the first stage that fails.
# Called by `make test` and `make lint`: tools/check.sh [lint|tests]
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PWD/.venv/bin:$PATH"
export PENSTOCK_CHECKS_STARTED="${PENSTOCK_CHECKS_STARTED:-$(date +%s)}"

stage() {
    printf '\n=== %s\n' "$1"
    shift
    "$@"
}

if [ "${1:-}" != tests ]; then
    stage "format (ruff)" ruff format --check .
    stage "lint (ruff)" ruff check .
    stage "types (mypy --strict)" mypy
    stage "import contracts (import-linter)" lint-imports --no-cache
fi
if [ "${1:-}" = lint ]; then exit 0; fi
# The Debians of containers and the programs of Kubernetes take minutes where there are none yet: they are made while the first
# tests run, of which the others have the precedence.
{ python -m tests.engines.images; nice -n 5 python -m tests.kubecluster.build; } &
trap wait EXIT
stage "tests: unit" tools/unit.sh
stage "tests: integration, conformance, end to end" tools/slow_tests.sh
