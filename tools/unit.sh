#!/usr/bin/env bash
# The unit tests, several at a time, as many of them wait for processes and sockets. Each process that runs them takes four seconds
# to import them all, so that more than four make it slower on two processors.
set -euo pipefail
cd "$(dirname "$0")/.."
# Every process would compile every module anew, which takes half of a test that starts one.
unset PYTHONDONTWRITEBYTECODE
# Plugins that are installed with our tools and not used here take as long to import as all tests together.
exec .venv/bin/python -m pytest -q -n 4 --dist worksteal -p no:schemathesis -p no:anyio tests/unit "$@"
