"""Every deliberate error's answer, and the format that clients know."""

from __future__ import annotations

import logging

import pytest
from starlette.requests import ClientDisconnect

from penstock import errors
from penstock.control.errors import answer_to, plain_error


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.InvalidInput("x"), 400),
        (errors.FunctionExists("x"), 400),
        (errors.FunctionNotFound("x"), 404),
        (errors.SecretNotFound("x"), 404),
        (errors.NamespaceNotFound("x"), 404),
        (errors.AlreadyExists("x"), 409),
        (errors.TooLarge("x"), 413),
        (errors.NotSupported("x"), 501),
        (errors.ProviderUnavailable("x"), 503),
        (errors.PenstockError("x"), 500),
    ],
)
def test_a_deliberate_error_answers_with_its_status_and_words(error: errors.PenstockError, status: int) -> None:
    answer = answer_to(error, "GET /x")
    assert (answer.status_code, answer.body) == (status, b"x\n")


def test_an_error_answer_is_plain_text_that_browsers_do_not_guess_about() -> None:
    answer = plain_error(404, "gone")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.body == b"gone\n"


def test_a_clients_mistake_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        answer_to(errors.InvalidInput("x"), "GET /x")
        answer_to(ClientDisconnect(), "GET /x")
    assert caplog.text == ""


def test_an_unexpected_exception_says_nothing_about_itself() -> None:
    answer = answer_to(ValueError("secret detail"), "GET /x")
    assert answer.status_code == 500
    assert b"secret detail" not in bytes(answer.body)


def test_every_unexpected_exception_gets_an_id_of_its_own() -> None:
    first, second = (answer_to(ValueError("x"), "GET /x") for _ in range(2))
    assert first.body != second.body
