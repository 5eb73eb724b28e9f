#!/usr/bin/env bash
# The unit tests, several files at a time: most of them wait for processes and sockets rather than for a processor.
set -euo pipefail
cd "$(dirname "$0")/.."
# Every process would compile every module anew, which takes half of a test that starts one.
unset PYTHONDONTWRITEBYTECODE
# Plugins that are installed with our tools and not used here take as long to import as all tests together.
exec .venv/bin/python -m pytest -q -n 6 --dist worksteal -p no:schemathesis -p no:anyio tests/unit "$@"
