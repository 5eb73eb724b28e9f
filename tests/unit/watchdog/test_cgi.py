"""Requests as variables and as JSON."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import InvalidInput
from penstock.watchdog.cgi import Marshaller, cgi_variables, decode_path, variable_name
from penstock.wire.message import RequestHead, parse_request


def request(line: str = "GET /", *fields: str) -> RequestHead:
    text = f"{line} HTTP/1.1\r\nHost: h\r\n" + "".join(field + "\r\n" for field in fields) + "\r\n"
    return parse_request(text.encode("latin-1"))


def test_the_request_line_and_framing() -> None:
    variables = cgi_variables(request("POST /a%20b?x=%31", "Content-Length: 5"))
    assert variables[b"Http_Method"] == b"POST"
    assert variables[b"Http_Path"] == b"/a b"
    assert variables[b"Http_Query"] == b"x=%31"
    assert variables[b"Http_Host"] == b"h"
    assert variables[b"Http_ContentLength"] == variables[b"Http_Content_Length"] == b"5"


def test_without_body_and_query() -> None:
    variables = cgi_variables(request())
    assert variables[b"Http_ContentLength"] == b"0"
    assert b"Http_Query" not in variables
    assert b"Http_Transfer_Encoding" not in variables


def test_a_chunked_body_has_length_minus_one() -> None:
    variables = cgi_variables(request("POST /", "Transfer-Encoding: chunked"))
    assert variables[b"Http_Content_Length"] == b"-1"
    assert variables[b"Http_Transfer_Encoding"] == b"chunked"


@pytest.mark.parametrize(
    ("name", "variable"),
    [
        (b"custom-header", b"Http_Custom_Header"),
        (b"X-REQUEST-ID", b"Http_X_Request_Id"),
        (b"x_under", b"Http_X_under"),
        (b"a", b"Http_A"),
        (b"x--y", b"Http_X__Y"),
    ],
)
def test_names_are_canonical_with_underscores_for_dashes(name: bytes, variable: bytes) -> None:
    assert variable_name(name) == variable


def test_the_first_of_several_values_counts() -> None:
    assert cgi_variables(request("GET /", "X-A: 1", "x-a: 2"))[b"Http_X_A"] == b"1"


def test_fields_cannot_pass_for_the_request_line() -> None:
    spoof = ("Query: q", "Path: /p", "Method: M", "Transfer-encoding-x: 1", "ContentLength: 9")
    variables = cgi_variables(request("GET /real", *spoof))
    assert b"Http_Query" not in variables
    assert (variables[b"Http_Path"], variables[b"Http_Method"]) == (b"/real", b"GET")
    assert variables[b"Http_ContentLength"] == b"0"


def test_bytes_that_are_no_text_pass_through() -> None:
    variables = cgi_variables(request("GET /%ff", "X-A: \xff\xfe"))
    assert (variables[b"Http_Path"], variables[b"Http_X_A"]) == (b"/\xff", b"\xff\xfe")


@pytest.mark.parametrize("path", [b"/%00", b"/%", b"/%2", b"/%zz", b"/a%4"])
def test_paths_that_cannot_be_decoded(path: bytes) -> None:
    with pytest.raises(InvalidInput):
        decode_path(path)


@given(st.lists(st.binary(max_size=40), max_size=6))
def test_marshalling_in_pieces_gives_the_whole_body(pieces: list[bytes]) -> None:
    marshaller = Marshaller(request("POST /", "X-A: \xff", "X-a: 2"))
    text = b"".join([marshaller.feed(piece) for piece in pieces]) + marshaller.end()
    loaded = json.loads(text)
    assert base64.b64decode(loaded["body"]["raw"], validate=True) == b"".join(pieces)
    assert loaded["header"] == {"X-A": ["\ufffd", "2"]}
