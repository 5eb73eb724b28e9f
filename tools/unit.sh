#!/usr/bin/env bash
# The unit tests, several files at a time: most of them wait for processes and sockets rather than for a processor.
set -euo pipefail
cd "$(dirname "$0")/.."
exec .venv/bin/python -m pytest -q -n 4 --dist loadfile tests/unit
