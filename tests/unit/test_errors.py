"""The tree of errors: each says who is to blame, what to answer and how the command line ends."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from penstock import errors
from penstock.errors import PenstockError


def tree(root: type[PenstockError]) -> Iterator[type[PenstockError]]:
    yield root
    for branch in root.__subclasses__():
        if branch.__module__ == errors.__name__:
            yield from tree(branch)


@pytest.mark.parametrize("kind", list(tree(PenstockError)))
def test_each_error_can_be_answered_and_ended_with(kind: type[PenstockError]) -> None:
    assert 400 <= kind.status <= 599
    assert 1 <= kind.exit_code <= 4
    assert kind.__doc__


@pytest.mark.parametrize("kind", list(tree(PenstockError)))
def test_the_client_is_to_blame_for_4xx_and_only_for_these(kind: type[PenstockError]) -> None:
    if 400 <= kind.status < 500:
        assert kind.blame == "client"


def test_the_message_is_the_sentence_given() -> None:
    assert str(errors.FunctionNotFound("function x.ns not found")) == "function x.ns not found"


def test_statuses_that_clients_depend_on() -> None:
    assert errors.FunctionNotFound.status == 404
    assert errors.FunctionExists.status == 400
    assert errors.AlreadyExists.status == 409
    assert errors.Unauthorized.status == 401
    assert errors.InvalidInput.status == 400
    assert errors.NotSupported.status == 501
    assert errors.ProviderUnavailable.status == 503
