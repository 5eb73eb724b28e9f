"""Bodies within their limit, namespaces from the query, Go's booleans."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

import pytest
from starlette.requests import ClientDisconnect, Request

from penstock.control.request import go_bool, json_answer, query_namespace, read_body
from penstock.errors import InvalidInput, TooLarge


def a_request(pieces: list[bytes], query: str = "", ends: bool = True, **headers: str) -> Request:
    """A request whose body comes in these pieces; without `ends` the client leaves after them."""
    messages = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
    messages.append({"type": "http.request", "body": b""} if ends else {"type": "http.disconnect"})
    fields = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]

    async def receive() -> MutableMapping[str, Any]:
        return messages.pop(0)

    scope = {"type": "http", "method": "POST", "path": "/", "query_string": query.encode(), "headers": fields}
    return Request(scope, receive)


async def test_a_body_in_pieces_is_joined() -> None:
    assert await read_body(a_request([b"ab", b"", b"c"])) == b"abc"


async def test_a_body_of_exactly_the_limit_is_read() -> None:
    assert await read_body(a_request([b"ab", b"c"]), limit=3) == b"abc"


async def test_one_byte_more_is_too_large() -> None:
    with pytest.raises(TooLarge, match="larger than the 3 bytes"):
        await read_body(a_request([b"ab", b"cd"]), limit=3)


async def test_an_announced_length_above_the_limit_is_refused_unread() -> None:
    with pytest.raises(TooLarge):
        await read_body(a_request([], content_length="4"), limit=3)


@pytest.mark.parametrize("length", ["", "x", "-1", "9" * 5000, "\N{ARABIC-INDIC DIGIT FIVE}"])
async def test_a_strange_length_is_left_to_the_server(length: str) -> None:
    request = a_request([b"a"])
    request.scope["headers"] = [(b"content-length", length.encode())]
    assert await read_body(request, limit=3) == b"a"


async def test_a_client_that_leaves_in_the_middle_is_told_apart_from_a_whole_body() -> None:
    with pytest.raises(ClientDisconnect):
        await read_body(a_request([b"{}"], ends=False))


@pytest.mark.parametrize(
    ("query", "namespace"),
    [("", "openfaas-fn"), ("namespace=", "openfaas-fn"), ("namespace=a", "a"), ("namespace=a&namespace=b", "b")],
)
def test_the_namespace_of_a_query(query: str, namespace: str) -> None:
    assert query_namespace(a_request([], query)) == namespace


@pytest.mark.parametrize("query", ["namespace=..", "namespace=a%2Fb", "namespace=A", "namespace=%FF", "namespace=a%00"])
def test_a_namespace_that_breaks_the_rules_is_refused(query: str) -> None:
    with pytest.raises(InvalidInput, match=r"^namespace: "):
        query_namespace(a_request([], query))


def test_go_booleans() -> None:
    assert [text for text in ("1", "t", "true", "True", "0", "yes", "") if go_bool(text)] == ["1", "t", "true", "True"]


def test_json_is_sent_compactly() -> None:
    answer = json_answer({"a": [1, None]}, 201)
    assert (answer.status_code, answer.body) == (201, b'{"a":[1,null]}')
    assert answer.headers["content-type"] == "application/json"
