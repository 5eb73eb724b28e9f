"""Results of handlers as answers."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import uuid
from typing import Any

import pytest

from penstock.watchdog.results import BINARY, HTML, JSON, TEXT, Renderer, WrongResult, piece_of


@dataclasses.dataclass
class Point:
    x: int


def kind(fields: tuple[tuple[bytes, bytes], ...]) -> bytes:
    return dict(fields)[b"Content-Type"]


@pytest.mark.parametrize(
    ("result", "status", "content_type", "body"),
    [
        (None, 200, HTML, b""),
        ("grün", 200, HTML, "grün".encode()),
        (b"\xff", 200, BINARY, b"\xff"),
        (bytearray(b"a"), 200, BINARY, b"a"),
        ({"statusCode": 201, "body": {"b": 1, "a": [None]}}, 201, JSON, b'{"a":[null],"b":1}\n'),
        ({"body": "text"}, 200, HTML, b"text"),
        ({"body": b"\xff"}, 200, BINARY, b"\xff"),
        ({"body": 12}, 200, HTML, b"12"),
        ({"statusCode": "404"}, 404, HTML, b""),
        ({"a": 1}, 200, JSON, b'{"a":1}\n'),
        ({}, 200, JSON, b"{}\n"),
        ([1, 2], 200, JSON, b"[1,2]\n"),
        (("x", 418), 418, HTML, b"x"),
        (("x", "201 Created"), 201, HTML, b"x"),
        (({"a": 1}, 202, {"X-A": "b"}), 202, JSON, b'{"a":1}\n'),
        (("x", {"Content-Type": "text/css"}), 200, b"text/css", b"x"),
        ({1: "a", "b": 2}, 200, JSON, b'{"1":"a","b":2}\n'),
        ({"d": decimal.Decimal("1.5"), "p": Point(1)}, 200, JSON, b'{"d":"1.5","p":{"x":1}}\n'),
        ({"u": uuid.UUID(int=0)}, 200, JSON, b'{"u":"00000000-0000-0000-0000-000000000000"}\n'),
        ({"t": datetime.date(2024, 1, 2)}, 200, JSON, b'{"t":"Tue, 02 Jan 2024 00:00:00 GMT"}\n'),
    ],
)
def test_results_become_answers(result: Any, status: int, content_type: bytes, body: bytes) -> None:
    answer = Renderer().render(result)
    assert (answer.status, kind(answer.fields), answer.body) == (status, content_type, body)


@pytest.mark.parametrize(
    ("result", "said"),
    [
        ({1}, "the handler returned a set; it must be"),
        (3, "the handler returned an int; it must be"),
        (object(), "the handler returned an object"),
        (("a", 200, {}, 1), "a tuple of 4"),
        ((), "a tuple of 0"),
        ({"statusCode": 99}, "status must be a number from 200 to 599, not 99"),
        ({"statusCode": True}, "not True"),
        ({"statusCode": "abc"}, "not 'abc'"),
        ({"statusCode": None}, "not None"),
        ({"headers": 3}, "headers must be a dict or a list of pairs"),
        ({"headers": ["ab", "c"]}, "headers must be a dict or a list of pairs"),
        ({"headers": {"X": None}}, "header 'X' has no value"),
        ({"headers": {"X": "a\r\nb: c"}}, "cannot be sent"),
        ({"headers": {"X Y": "a"}}, "cannot be sent"),
        ({"headers": {"X": "ü\n€"}}, "cannot be sent"),
        ("\ud800", "cannot be encoded"),
        ({"a": object()}, "cannot be JSON"),
    ],
)
def test_what_cannot_be_an_answer_is_told(result: Any, said: str) -> None:
    with pytest.raises(WrongResult, match=".*" + said.replace("(", r"\(")):
        Renderer().render(result)


def test_a_circle_is_told() -> None:
    circle: dict[str, Any] = {}
    circle["self"] = circle
    with pytest.raises(WrongResult, match="cannot be JSON"):
        Renderer().render(circle)


def test_headers_may_repeat_and_those_that_frame_the_answer_are_ours() -> None:
    headers = [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"), ("X-N", 3), ("Content-Length", "999"), ("Connection", "x")]
    answer = Renderer().render({"body": "", "headers": headers})
    assert answer.fields[1:] == ((b"Set-Cookie", b"a=1"), (b"Set-Cookie", b"b=2"), (b"X-N", b"3"))
    listed = Renderer().render({"body": "", "headers": {"Set-Cookie": ["a=1", "b=2"]}})
    assert listed.fields[1:] == answer.fields[1:3]


def test_content_type_is_the_default_for_all() -> None:
    renderer = Renderer("text/csv")
    results: list[Any] = ["a", b"a", {}, None]
    assert [kind(renderer.render(result).fields) for result in results] == [b"text/csv"] * 4
    assert kind(renderer.render(("a", {"content-type": "x/y", "Content-Type": "x/y"})).fields) == b"x/y"


def test_handlers_of_one_argument_print() -> None:
    renderer = Renderer(plain=True)
    cases: list[tuple[Any, bytes]] = [("a", b"a\n"), (1.5, b"1.5\n"), (None, b"")]
    for result, body in cases:
        answer = renderer.render(result)
        assert (kind(answer.fields), answer.body) == (TEXT, body)


def test_iterators_stream() -> None:
    pieces = iter(["a"])
    assert Renderer().render(pieces).stream is pieces
    assert Renderer().render({"body": pieces, "statusCode": 203}).stream is pieces
    assert (piece_of("a"), piece_of(b"b"), piece_of(memoryview(b"c"))) == (b"a", b"b", b"c")
