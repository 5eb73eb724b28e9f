"""What goes wrong with a store becomes one of our errors, with nothing in it that the store or the library has made up."""

from __future__ import annotations

import pytest
from obstore.exceptions import GenericError, PermissionDeniedError, UnauthenticatedError

from penstock.errors import InvalidInput, PenstockError
from penstock.storage.errors import (
    BucketNotFound,
    ObjectExists,
    ObjectNotFound,
    RangeNotSatisfiable,
    StorageDenied,
    StorageError,
    StorageUnavailable,
)
from penstock.storage.reference import ObjectRef
from penstock.storage.translate import of_answer, translate

REF = ObjectRef("bucket", "a key")


@pytest.mark.parametrize(
    ("status", "code", "expected", "http"),
    (
        (404, "NoSuchKey", ObjectNotFound, 404),
        (404, "", ObjectNotFound, 404),
        (404, "NoSuchBucket", BucketNotFound, 404),
        (412, "PreconditionFailed", ObjectExists, 412),
        (416, "InvalidRange", RangeNotSatisfiable, 416),
        (401, "", StorageDenied, 502),
        (403, "SignatureDoesNotMatch", StorageDenied, 502),
        (400, "AuthorizationHeaderMalformed", StorageError, 502),
        (301, "PermanentRedirect", StorageError, 502),
        (429, "", StorageUnavailable, 503),
        (500, "InternalError", StorageUnavailable, 503),
        (503, "SlowDown", StorageUnavailable, 503),
    ),
)
def test_an_answer_becomes_an_error_with_its_status(
    status: int, code: str, expected: type[StorageError], http: int
) -> None:
    error = of_answer(status, code, REF)
    assert type(error) is expected
    assert error.status == http


@pytest.mark.parametrize(
    ("error", "expected", "words"),
    (
        (GenericError("tcp connect error, ConnectionRefused"), StorageUnavailable, "refuses connections"),
        (GenericError("reqwest::Error { source: TimedOut }"), StorageUnavailable, "in time"),
        (GenericError("invalid peer certificate: UnknownIssuer"), StorageUnavailable, "not trusted"),
        (GenericError("something new"), StorageUnavailable, "cannot be reached"),
        (GenericError("status code: 416 <Code>InvalidRange</Code>"), RangeNotSatisfiable, "a%20key"),
        (UnauthenticatedError("provider: StorageDenied: no file\n\nDebug"), StorageDenied, "no file"),
        (PermissionDeniedError("without a status"), StorageDenied, "without keys"),
        (ValueError("Could not parse path"), InvalidInput, "a%20key"),
    ),
)
def test_what_the_library_raises_becomes_an_error(error: Exception, expected: type[PenstockError], words: str) -> None:
    ours = translate(error, REF, "http://store")
    assert type(ours) is expected
    assert words in str(ours)


def test_words_of_the_store_are_not_repeated() -> None:
    said = "status code: 500 <Code>\x1b[31mEvil</Code> <Message>steer the terminal</Message>"
    assert str(translate(GenericError(said), REF, "http://store")).isascii()
    assert "Evil" not in str(translate(GenericError(said), REF, "http://store"))
