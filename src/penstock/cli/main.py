"""Entry of the `penstock` command: answers at once what `quick` can, and gives everything else to the root command.

Called by the console script and `python -m penstock`. Imports next to nothing by itself, so that from its first line on Ctrl-C
is answered, and never by a traceback.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line with this process's arguments and exit with its code."""
    try:
        code = _run(sys.argv[1:])
    except KeyboardInterrupt:  # nothing of `endings` need be there yet
        code = 130
    if "obstore" in sys.modules:
        from penstock.storage.leaving import leave

        leave(code)
    sys.exit(code)


def _run(arguments: list[str]) -> int:
    from penstock.cli.starting import interrupts_at_once

    with interrupts_at_once():
        from penstock.cli import quick
        from penstock.cli.endings import code_of, flush_stdout

    try:
        if quick.answer(arguments):
            flush_stdout()
            return 0
        with interrupts_at_once():
            from penstock.cli.root import cli

            cli.load(arguments)
        return cli.run(arguments)
    except BaseException as error:
        return code_of(error)
