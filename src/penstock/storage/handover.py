"""The keys on their way from the supervisor to the processes that need them, so that none stand in an environment.

Functions that run as processes of the same user can read what a process was started with (/proc/PID/environ). The supervisor
therefore withholds the keys from whatever it starts, and gives them to control and workers through a pipe.
"""

from __future__ import annotations

import ctypes
import json
import os
from collections.abc import Collection, Mapping, MutableMapping
from pathlib import Path

OWN_VARIABLES = ("PENSTOCK_S3_ACCESS_KEY", "PENSTOCK_S3_SECRET_KEY")
"""Environment variables that hold keys for nobody but us: no program that we start gets them."""

SECRET_VARIABLES = (*OWN_VARIABLES, "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
"""All that hold keys: no function, build step or log may get them from us."""

PIPE_VARIABLE = "PENSTOCK_S3_KEYS_FD"
"""Names the descriptor that the keys can be read from, once."""

MAX_KEYS = 32 << 10
"""Bytes of all keys together: what a pipe holds while nobody reads it, and far above any token."""

_ENV_START, _ENV_END = 47, 48
"""Fields of /proc/PID/stat after the name, counted from 0 (proc(5): env_start, env_end)."""
_PR_SET_DUMPABLE = 4


def withhold(environ: MutableMapping[str, str]) -> dict[str, str]:
    """Take the keys out of our own environment, also where the kernel shows it to others; they are returned.

    Where there are any, other processes of the same user can no longer look into this one; root can.
    """
    keys = {name: environ.pop(name) for name in SECRET_VARIABLES if name in environ}
    if keys:
        _blank(frozenset(name.encode() for name in keys))
        _hide()
    return keys


def without(environ: Mapping[str, str], names: Collection[str] = SECRET_VARIABLES) -> dict[str, str]:
    """The environment for a program that is none of ours: all but the variables of these names."""
    return {name: value for name, value in environ.items() if name not in names}


def keys_pipe(keys: dict[str, str]) -> int:
    """The reading end of a pipe with the keys in it. Raises OSError when they are larger than any keys are."""
    data = json.dumps(keys).encode()
    if len(data) > MAX_KEYS:
        raise OSError(f"the keys of the object store are larger than {MAX_KEYS} bytes")
    reader, writer = os.pipe()
    with os.fdopen(writer, "wb") as file:
        file.write(data)
    return reader


def receive(environ: MutableMapping[str, str]) -> None:
    """Put the keys that the supervisor has sent, if any, into the environment that this process sees; nobody else does."""
    descriptor = environ.pop(PIPE_VARIABLE, "")
    if descriptor:
        with os.fdopen(int(descriptor), "rb") as file:
            environ.update(json.load(file))
        _hide()


def _blank(names: frozenset[bytes]) -> None:
    """Overwrite the values in the block that this process was started with."""
    fields = Path("/proc/self/stat").read_bytes().rpartition(b")")[2].split()
    address, end = int(fields[_ENV_START]), int(fields[_ENV_END])
    for item in ctypes.string_at(address, end - address).split(b"\0"):
        name, equals, value = item.partition(b"=")
        if equals and name in names:
            ctypes.memset(address + len(name) + 1, 0, len(value))
        address += len(item) + 1


def _hide() -> None:
    """Make /proc/PID of this process root's own (PR_SET_DUMPABLE(2const))."""
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
