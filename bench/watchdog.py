"""A watchdog on an address of our choice, as the process provider runs one: `python -m bench.watchdog unix:/path`."""

from __future__ import annotations

import os
import sys

from penstock.watchdog.app import run

if __name__ == "__main__":
    sys.exit(run(os.environ, sys.argv[1]))
