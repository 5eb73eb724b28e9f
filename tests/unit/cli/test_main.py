"""The entry of the command: whatever happens ends with an exit code, also before anything is imported."""

from __future__ import annotations

import subprocess
import sys

import pytest

import penstock

BROKEN_OFF = {
    "click": ("deploy",),
    "penstock.cli.verbs.deploy": ("deploy", "--help"),
    "penstock.cli.verbs.serve": ("serve", "--help"),
    "penstock.cli.root": ("secret", "list"),
    "penstock.cli.quick": ("version",),
    "penstock.cli.starting": ("version",),
    "penstock.cli.endings": ("list",),
    "penstock.cli.versions": ("version",),
    "penstock.cli.plainhttp": ("version",),
    "aiohttp": ("logs", "f"),
}
"""A module, and a command that imports it."""

INTERRUPTED_AT_IMPORT = """
import importlib.abc, os, signal, sys
wanted = sys.argv.pop(1)
signal.signal(signal.SIGINT, signal.default_int_handler)  # whatever this test was started with
class Interrupting(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == wanted:
            {how}
sys.meta_path.insert(0, Interrupting())
from penstock.cli.main import main
main()
"""
HOW = {"an exception": "raise KeyboardInterrupt", "a signal": "os.kill(os.getpid(), signal.SIGINT)"}

RUN = """
from penstock.cli.main import main
main()
"""
SWALLOWED = """
import importlib.abc, os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
class Dying:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)
        for _ in range(100000): pass
class Destructive(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "click":
            Dying()
sys.meta_path.insert(0, Destructive())
from penstock.cli.main import main
main()
"""
"""Ctrl-C within a destructor, where an exception would be printed and forgotten."""


def run(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, stdin=subprocess.DEVNULL
    )


@pytest.mark.parametrize("module", BROKEN_OFF)
@pytest.mark.parametrize("how", HOW)
def test_an_interrupt_while_modules_are_imported_ends_quietly(module: str, how: str) -> None:
    done = run(INTERRUPTED_AT_IMPORT.format(how=HOW[how]), module, *BROKEN_OFF[module])
    assert done.returncode == 130
    assert done.stdout in ("", f"CLI\n version: {penstock.__version__}\n")
    assert done.stderr.strip() == ""  # click ends the line on which a terminal shows ^C


def test_an_interrupt_within_a_destructor_is_not_lost() -> None:
    done = run(SWALLOWED, "deploy", "--help")
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_an_interrupt_that_is_ignored_stays_ignored() -> None:
    script = INTERRUPTED_AT_IMPORT.format(how=HOW["a signal"]).replace("signal.default_int_handler", "signal.SIG_IGN")
    done = run(script, "click", "deploy", "--help")
    assert (done.returncode, done.stderr) == (0, "")


def test_a_module_that_cannot_be_imported_is_one_line() -> None:
    script = INTERRUPTED_AT_IMPORT.format(how="raise ImportError('it is gone')")
    for module, arguments in (("click", ["deploy"]), ("penstock.cli.verbs.deploy", ["deploy"])):
        done = run(script, module, *arguments)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == "Error: unexpected ImportError: it is gone (set PENSTOCK_DEBUG=1 to see where)\n"


def test_a_command_that_has_used_the_storage_library_ends_at_once_with_all_its_output() -> None:
    script = f"import atexit, obstore\natexit.register(print, 'ended in its own way')\n{RUN}"
    done = run(script, "version")
    assert (done.returncode, done.stdout) == (0, f"CLI\n version: {penstock.__version__}\n")
