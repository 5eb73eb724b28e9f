#!/usr/bin/env bash
# The unit tests, one more at a time than there are processors, as many of them wait for processes and sockets. Each process that
# runs them takes seconds to import them all, so that more make it slower; beyond eight there is nothing left to gain.
set -euo pipefail
cd "$(dirname "$0")/.."
# Every process would compile every module anew, which takes half of a test that starts one.
unset PYTHONDONTWRITEBYTECODE
several=$(($(nproc) + 1))
# Plugins that are installed with our tools and not used here take as long to import as all tests together.
exec .venv/bin/python -m pytest -q -n "$((several < 8 ? several : 8))" --dist worksteal -p no:schemathesis -p no:anyio tests/unit "$@"
