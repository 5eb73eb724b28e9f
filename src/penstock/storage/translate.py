"""What the storage library raises, as our errors: the only place that knows its classes and its messages.

Called by `objects.py`, which wraps every call of the library in `translated`.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

from penstock.errors import InvalidInput
from penstock.storage.errors import (
    BucketNotFound,
    ObjectExists,
    ObjectNotFound,
    RangeNotSatisfiable,
    StorageDenied,
    StorageError,
    StorageUnavailable,
    UploadFailed,
)
from penstock.storage.reference import ObjectRef

_STATUS = re.compile(r"status(?: code)?: (\d{3})\b")
_CODE = re.compile(r"<Code>(\w{1,60})</Code>")
_UNREADABLE = re.compile(r"^Generic S3 error: ([\w-]{1,40}) header contained non UTF-8")
"""An object of which the store says what is not ASCII: the library gives up all of it."""
_NO_KEYS = re.compile(r"StorageDenied: ([^\n]+)")
"""What we have told the library ourselves when it asked for keys."""
_REASONS = (
    ("ConnectionRefused", "it refuses connections"),
    ("dns error", "its name cannot be resolved"),
    ("gaierror", "its name cannot be resolved"),
    ("TimedOut", "it does not answer in time"),
    ("timed out", "it does not answer in time"),
    ("deadline has elapsed", "it does not answer in time"),
    ("certificate", "its certificate is not trusted"),
    ("RemoteDisconnected", "it cut the connection"),
    ("ConnectionReset", "it cut the connection"),
    ("IncompleteMessage", "it cut the connection"),
    ("IncompleteBody", "it cut the connection"),
    ("UnexpectedEof", "it cut the connection"),
)
"""Words of the chain of causes that a library tells, and what they mean, most telling first."""


@contextlib.contextmanager
def translated(ref: ObjectRef, endpoint: str) -> Iterator[None]:
    """Raises one of our errors for whatever the library raises about this object."""
    from obstore.exceptions import BaseError

    try:
        yield
    except (BaseError, FileNotFoundError, TimeoutError, ValueError) as error:
        raise translate(error, ref, endpoint) from error


def translate(error: Exception, ref: ObjectRef, endpoint: str) -> StorageError | InvalidInput:
    """Our error for one of the library's; nothing that the store has said is in ours but its status and code."""
    from obstore.exceptions import PermissionDeniedError, UnauthenticatedError

    text = str(error)
    status, code = _first(_STATUS, text), _first(_CODE, text)
    if isinstance(error, ValueError) or type(error).__name__ == "InvalidPathError":
        return InvalidInput(f"the store cannot be asked for {ref}")
    if not status and isinstance(error, (PermissionDeniedError, UnauthenticatedError)):
        return StorageDenied(_first(_NO_KEYS, text) or f"the object store at {endpoint} cannot be asked without keys")
    if unreadable := _first(_UNREADABLE, text):
        return StorageError(f"{ref} cannot be read: its {unreadable} is not ASCII; write it anew without that")
    return of_answer(int(status or 0), code, ref) or StorageUnavailable(
        f"the object store at {endpoint} is unavailable: {reason_of(text)}"
    )


def of_answer(status: int, code: str, ref: ObjectRef) -> StorageError | None:
    """Our error for an answer of the store, by its status and the code in its body; None when there was no answer."""
    said = f"{status} {code}".strip()
    if code == "NoSuchBucket":
        return BucketNotFound(f"there is no bucket {ref.bucket} in the object store")
    if code == "NoSuchUpload":
        return UploadFailed(f"the upload of {ref} was ended by someone else")
    if status == 404:
        return ObjectNotFound(f"there is no object {ref}")
    if status in (409, 412):
        return ObjectExists(f"there is an object {ref} already")
    if status == 416:
        return RangeNotSatisfiable(f"the range begins after the end of {ref}")
    if status in (401, 403):
        return StorageDenied(f"the object store refuses the gateway's credentials for {ref} ({said})")
    if status >= 500 or status == 429:
        return StorageUnavailable(f"the object store is out of order ({said})")
    if status >= 300:
        return StorageError(
            f"the object store answers {said} for {ref}; are the endpoint, the region and path_style right?"
        )
    return None


def _first(pattern: re.Pattern[str], text: str) -> str:
    found = pattern.search(text)
    return found.group(1) if found else ""


def reason_of(text: str) -> str:
    """Why a store does not answer, in a few words, by what a library has said of it."""
    return next((meaning for word, meaning in _REASONS if word in text), "it cannot be reached")
