"""What a request target means to the gateway: a function and the path that function sees, or something for control.

Targets are taken as sent: nothing is decoded, cleaned or redirected, so an encoded slash reaches the function encoded.
"""

from __future__ import annotations

import re

_FUNCTION = re.compile(rb"/function/([-a-zA-Z_0-9.]+)(/[^?]*)?(\?.*)?", re.DOTALL)
"""Name characters of contract gateway §1.0. A name outside them matches no function and so is not found."""

_FUNCTION_BRANCH = b"/function/"


def function_target(target: bytes) -> tuple[bytes, bytes] | None:
    """Name (perhaps with `.namespace`) and the target for the function, of an origin-form target; None when it is not one.

    `/function/sort` and `/function/sort/` both reach the function as `/`; the query string is kept byte for byte.
    """
    match = _FUNCTION.fullmatch(target)
    if match is None:
        return None
    name, path, query = match.groups()
    return name, (path or b"/") + (query or b"")


def in_function_branch(target: bytes) -> bool:
    """Whether a target that names no function nevertheless lies where only functions are."""
    return target.startswith(_FUNCTION_BRANCH)
