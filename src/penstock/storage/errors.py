"""What may go wrong with object storage. Everything in `penstock.storage` raises these, whatever library it uses."""

from __future__ import annotations

from penstock.errors import PenstockError


class StorageError(PenstockError):
    """Base of all errors of object storage."""

    status = 502


class StorageOff(StorageError):
    """Object storage is not set up; the message says how to."""

    status = 501
    blame = "client"


class ObjectNotFound(StorageError):
    """There is no object of that key; the message names it."""

    status = 404
    blame = "client"


class BucketNotFound(ObjectNotFound):
    """There is no bucket of that name in the store."""


class BucketNotAllowed(StorageError):
    """The settings, or the function's own list, do not name the bucket."""

    status = 403
    blame = "client"


class ObjectExists(StorageError):
    """An object of that key exists, and the upload asked for none to be there."""

    status = 412
    blame = "client"


class RangeNotSatisfiable(StorageError):
    """The range begins after the object's last byte."""

    status = 416
    blame = "client"

    def __init__(self, message: str, size: int | None = None) -> None:
        """`size`: bytes of the whole object, where they are known."""
        super().__init__(message)
        self.size = size


class ReadBrokenOff(StorageError):
    """An object was found, and could not be read to its end."""


class TooManyHops(StorageError):
    """Events have led an object from function to function too often: some of them seem to feed each other."""

    status = 422
    blame = "client"


class StorageUnavailable(StorageError):
    """The store cannot be reached, does not answer in time or is out of order."""

    status = 503


class StorageDenied(StorageError):
    """The store refuses the gateway's credentials, or there are none."""


class UploadFailed(StorageError):
    """An upload ended badly; the store has neither an object nor parts of it unless the message says so."""
