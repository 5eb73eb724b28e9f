"""`python -m penstock.watchdog`: the watchdog without the rest of the command line, which is how a bundle starts it.

The bundle's launcher calls it by `--launched-as NAME` and has put aside some variables of the image that would have steered
the loader or the interpreter: here they are given back, so that programs get the environment that the container has.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys
from collections.abc import MutableMapping, Sequence

import penstock
from penstock.watchdog import probe

_ASIDE = "PENSTOCK_ASIDE_"
"""What the launcher puts in front of a variable's name (launcher.c)."""
_USED_WRONGLY = 2

USAGE = """\
Usage: {name} [--version | --run-healthcheck | --give-way | --copy-to DIR]

Serves one program over HTTP. The environment says everything: fprocess the program, mode how it is run, port, exec_timeout
and so on, under the names that OpenFaaS watchdogs use.

  --version          print the version and exit
  --run-healthcheck  exit 0 when a running watchdog is healthy
  --give-way         become the image's own fwatchdog or of-watchdog instead, where it has one
  --copy-to DIR      copy the bundle that this is in to a directory, for another container
"""


def main(arguments: Sequence[str], environ: MutableMapping[str, str]) -> int:
    """Do what the command line says and return the exit code."""
    name = "penstock-watchdog"
    if arguments[:1] == ["--launched-as"] and len(arguments) > 1:
        name, arguments = arguments[1], arguments[2:]
        give_back(environ)
    if len(arguments) == 2 and arguments[0] == "--copy-to" and arguments[1]:
        return _copy_to(arguments[1])
    flags = {argument if argument.startswith("--") else f"-{argument}" for argument in arguments}
    if not flags:
        return _serve(environ, name)
    if flags == {"--give-way"}:
        return _give_way(environ, name)
    if flags == {"--version"}:
        return _print(1, f"penstock watchdog {penstock.__version__}\n", 0)
    if flags == {"--run-healthcheck"}:
        return probe.healthcheck(environ)
    if flags == {"--help"}:
        return _print(1, USAGE.format(name=name), 0)
    return _print(2, USAGE.format(name=name), _USED_WRONGLY)


def give_back(environ: MutableMapping[str, str]) -> None:
    """Undo what the launcher did to the environment: it set LC_ALL and put aside what would have steered the loader."""
    environ.pop("LC_ALL", None)
    for name in [name for name in environ if name.startswith(_ASIDE)]:
        environ[name.removeprefix(_ASIDE)] = environ.pop(name)


def _serve(environ: MutableMapping[str, str], name: str) -> int:
    if os.getpid() == 1:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _end_at_once)  # by default process 1 is not even told
    _take_name(name)
    # Importing makes many objects and no garbage: to look for some meanwhile, and ever again among these, is lost time.
    gc.disable()
    from penstock.watchdog import app

    gc.freeze()
    gc.enable()
    if sys.flags.no_site:
        _define_what_site_defines()
    return app.run(environ, program=name)


def _give_way(environ: MutableMapping[str, str], name: str) -> int:
    """Serve by the image's own watchdog; without one by ours, whose log lines are as the image wants them, or plain."""
    from penstock.watchdog import giveway

    if path := giveway.own_watchdog(environ):
        error = giveway.become(path, environ)
        _print(2, f"{name}: {path} cannot be started ({error.strerror}), this serves in its place\n", 0)
    environ.setdefault("prefix_logs", "false")
    return _serve(environ, name)


def _copy_to(directory: str) -> int:
    from penstock.errors import InvalidInput
    from penstock.watchdog.copying import copy_bundle

    try:
        copy_bundle(directory)
    except (OSError, InvalidInput) as error:
        return _print(2, f"--copy-to: {error}\n", 1)
    return 0


def _end_at_once(number: int, frame: object) -> None:
    """There is nothing to drain yet: the watchdog has handlers of its own as soon as it serves."""
    os._exit(128 + number)


def _define_what_site_defines() -> None:
    """`exit` and `help` for imported functions: without `site`, which searches the image for libraries, they are missing."""
    import site

    site.setquit()
    site.sethelper()


def _take_name(name: str) -> None:
    """Be shown by ps and top as what was called, instead of as the loader."""
    with contextlib.suppress(OSError), open("/proc/self/comm", "w", encoding="utf-8", errors="replace") as file:
        file.write(name)


def _print(descriptor: int, text: str, code: int) -> int:
    with contextlib.suppress(OSError):
        os.write(descriptor, text.encode("utf-8", "replace"))
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
