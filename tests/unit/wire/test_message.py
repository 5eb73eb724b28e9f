from __future__ import annotations

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.wire.errors import MalformedMessage
from penstock.wire.framing import NO_BODY, ChunkedBody, LengthBody
from penstock.wire.message import (
    RequestHead,
    ResponseHead,
    check_partial,
    origin_form,
    parse_request,
    parse_response,
)
from tests.unit.wire import oracle

START = b"GET / HTTP/1.1\r\nHost: a\r\n"


def refused(head: bytes) -> int:
    with pytest.raises(MalformedMessage) as caught:
        parse_request(head)
    return caught.value.code


@pytest.mark.parametrize(
    "fields",
    [
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        b"Content-Length: 5\r\nContent-Length: 5\r\n",
        b"Content-Length: 5\r\nContent-Length: 6\r\n",
        b"Content-Length: 5, 5\r\n",
        b"Content-Length: +5\r\n",
        b"Content-Length: -1\r\n",
        b"Content-Length: 0x5\r\n",
        b"Content-Length: 5 5\r\n",
        b"Content-Length: 5.0\r\n",
        b"Content-Length: \xb2\r\n",
        b"Content-Length:\r\n",
        b"Content-Length: 9223372036854775808\r\n",
        b"Content-Length: " + b"0" * 30 + b"5\r\n",
        b"Content-Length: " + b"9" * 5000 + b"\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding:\r\n",
        b"Content-Length : 5\r\n",
        b"Transfer-Encoding : chunked\r\n",
        b"Transfer Encoding: chunked\r\n",
    ],
)
def test_a_request_whose_length_is_in_doubt_is_refused_with_400(fields: bytes) -> None:
    assert refused(b"POST / HTTP/1.1\r\nHost: a\r\n" + fields + b"\r\n") == 400


@pytest.mark.parametrize("coding", [b"gzip", b"xchunked", b"chunkedx", b"identity", b"\x0bchunked", b'"chunked"'])
def test_a_transfer_coding_other_than_chunked_is_refused(coding: bytes) -> None:
    assert refused(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: " + coding + b"\r\n\r\n") in (400, 501)


@pytest.mark.parametrize("coding", [b"chunked, chunked", b"gzip, chunked", b"chunked, gzip", b"chunked,"])
def test_a_list_of_transfer_codings_is_refused(coding: bytes) -> None:
    assert refused(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: " + coding + b"\r\n\r\n") in (400, 501)


def test_a_transfer_coding_from_http10_is_refused() -> None:
    assert refused(b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n") == 400


@pytest.mark.parametrize(
    "lines",
    [
        b"X: a\r\n folded\r\n",
        b"X: a\r\n\tfolded\r\n",
        b"X:\r\n folded\r\n",
        b" X: first line folded\r\n",
        b"X: a\rb\r\n",
        b"X: a\r\r\n",
        b"X: a\nY: b\r\n",
        b"X: a\n\r\n",
        b"X: a\0b\r\n",
        b"X\0: a\r\n",
        b"X: \x01\r\n",
        b"X: \x7f\r\n",
        b"X Y: a\r\n",
        b"X : a\r\n",
        b"X\t: a\r\n",
        b": a\r\n",
        b"X\r\n",
        b"X\xe9: a\r\n",
        b"X(: a\r\n",
        b'"X": a\r\n',
        b"\nX: a\r\n",
    ],
)
def test_field_lines_that_others_could_read_differently_are_refused_with_400(lines: bytes) -> None:
    assert refused(START + lines + b"\r\n") == 400


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"GET  / HTTP/1.1", 400),
        (b"GET / HTTP/1.1 ", 400),
        (b" GET / HTTP/1.1", 400),
        (b"GET\t/ HTTP/1.1", 400),
        (b"GET /\tHTTP/1.1", 400),
        (b"GET /a b HTTP/1.1", 400),
        (b"GET /", 400),
        (b"GET", 400),
        (b"", 400),
        (b"GET / HTTP/2.0", 505),
        (b"GET / HTTP/0.9", 505),
        (b"GET / HTTP/1.2", 505),
        (b"GET / HTTP/1.10", 505),
        (b"GET / HTTP/11", 505),
        (b"GET / HTTP/1.1\t", 505),
        (b"GET / http/1.1", 400),
        (b"GET / ICE/1.0", 400),
        (b"PRI * HTTP/2.0", 505),
        (b"CONNECT a:80 HTTP/1.1", 501),
        (b"G(T / HTTP/1.1", 400),
        (b"G\xc9T / HTTP/1.1", 400),
        (b"GET \xc3\xa9 HTTP/1.1", 400),
        (b"GET /\xc3\xa9 HTTP/1.1", 400),
        (b"GET /\x7f HTTP/1.1", 400),
        (b"GET /\0 HTTP/1.1", 400),
        (b"GET a:80 HTTP/1.1", 400),
        (b"GET a/b HTTP/1.1", 400),
        (b"GET ?a HTTP/1.1", 400),
        (b"GET ftp://a/ HTTP/1.1", 400),
        (b"GET https:/a HTTP/1.1", 400),
        (b"GET /\rX: HTTP/1.1", 400),
        (b"GET / HTTP/1.1\rX: 1", 400),
        (b"GET / HTTP/1.1\nX: 1", 400),
    ],
)
def test_a_malformed_request_line_is_refused(line: bytes, status: int) -> None:
    assert refused(line + b"\r\nHost: a\r\n\r\n") == status


@pytest.mark.parametrize("target", [b"/\nX:", b"/\nTransfer-Encoding:", b"http://a\nX:"])
def test_a_line_feed_in_the_target_is_refused_though_llhttp_reads_it_as_http09_with_a_field(target: bytes) -> None:
    assert refused(b"GET " + target + b" HTTP/1.1\r\nHost: a\r\n\r\n") == 400


@pytest.mark.parametrize("hosts", [b"", b"Host: a\r\nHost: a\r\n", b"Host: a\r\nhOST: b\r\n"])
def test_http11_needs_exactly_one_host(hosts: bytes) -> None:
    assert refused(b"GET / HTTP/1.1\r\n" + hosts + b"\r\n") == 400


def test_http10_needs_no_host_but_not_two_either() -> None:
    assert parse_request(b"GET / HTTP/1.0\r\n\r\n").http10
    assert refused(b"GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n") == 400


def test_an_expectation_other_than_continue_is_refused_with_417() -> None:
    assert refused(START + b"Expect: the-unexpected\r\n\r\n") == 417


def test_an_overlong_target_is_refused_with_414() -> None:
    head = b"GET /%b HTTP/1.1\r\nHost: a\r\n\r\n"
    assert parse_request(head % (b"a" * 99), max_target=100).target == b"/" + b"a" * 99
    with pytest.raises(MalformedMessage) as caught:
        parse_request(head % (b"a" * 100), max_target=100)
    assert caught.value.code == 414


def test_too_many_fields_are_refused_with_431() -> None:
    assert len(parse_request(START + b"a:\r\n" * 9 + b"\r\n", max_fields=10).fields) == 10
    with pytest.raises(MalformedMessage) as caught:
        parse_request(START + b"a:\r\n" * 10 + b"\r\n", max_fields=10)
    assert caught.value.code == 431


@pytest.mark.parametrize(
    "method", [b"PURGE", b"M-SEARCH", b"X", b"get", b"PROPFIND", b"!#$%&'*+-.^_`|~", b"QUERY", b"PRI"]
)
def test_methods_that_llhttp_does_not_know_pass(method: bytes) -> None:
    assert parse_request(method + b" / HTTP/1.1\r\nHost: a\r\n\r\n").method == method


def test_values_lose_the_white_space_around_them_and_names_their_case() -> None:
    head = parse_request(b"GET / HTTP/1.1\r\nHost:a\r\nX-One: \t b c\t \r\nX-TWO:\r\nX-Three: \xe9\r\n\r\n")
    assert head.fields == [(b"host", b"a"), (b"x-one", b"b c"), (b"x-two", b""), (b"x-three", b"\xe9")]
    assert head.get(b"x-one") == b"b c"
    assert head.get(b"absent") is None


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        (b"/", b"/", b""),
        (b"/a%2fb?c=d?e", b"/a%2fb", b"c=d?e"),
        (b"*", b"*", b""),
        (b"http://host:80/a?b", b"/a", b"b"),
        (b"HTTPS://host", b"/", b""),
        (b"http://host?a", b"/", b"a"),
        (b"/http://x/y", b"/http://x/y", b""),
    ],
)
def test_path_and_query_of_every_form_of_target(target: bytes, path: bytes, query: bytes) -> None:
    head = parse_request(b"OPTIONS " + target + b" HTTP/1.1\r\nHost: a\r\n\r\n")
    assert (head.path, head.query) == (path, query)


def test_origin_form_never_loses_a_query_that_contains_a_slash() -> None:
    assert origin_form(b"http://host?a=/b") == b"/?a=/b"


@pytest.mark.parametrize(
    ("version", "connection", "expected"),
    [
        (b"1.1", b"", True),
        (b"1.1", b"close", False),
        (b"1.1", b"Close", False),
        (b"1.1", b"keep-alive, close", False),
        (b"1.1", b"close\r\nConnection: keep-alive", False),
        (b"1.0", b"", False),
        (b"1.0", b"keep-alive", True),
        (b"1.0", b"Keep-Alive , x", True),
        (b"1.0", b"close, keep-alive", False),
        (b"1.0", b"close\r\nConnection: keep-alive", False),
    ],
)
def test_whether_the_connection_persists(version: bytes, connection: bytes, expected: bool) -> None:
    line = b"Connection: " + connection + b"\r\n" if connection else b""
    assert parse_request(b"GET / HTTP/" + version + b"\r\nHost: a\r\n" + line + b"\r\n").keep_alive is expected


def test_an_upgrade_counts_only_when_connection_names_it_and_never_in_http10() -> None:
    upgrade = b"Upgrade: websocket\r\n"
    assert parse_request(START + upgrade + b"\r\n").upgrade == b""
    assert parse_request(START + upgrade + b"Connection: keep-alive, Upgrade\r\n\r\n").upgrade == b"websocket"
    assert parse_request(b"GET / HTTP/1.0\r\nConnection: upgrade\r\n" + upgrade + b"\r\n").upgrade == b""


def test_continue_is_expected_only_by_http11() -> None:
    assert parse_request(START + b"Expect: 100-Continue\r\n\r\n").expect_continue
    assert not parse_request(b"GET / HTTP/1.0\r\nExpect: 100-continue\r\n\r\n").expect_continue


def test_framing_fields_are_found_however_they_are_spelled() -> None:
    assert parse_request(START + b"cOnTeNt-LeNgTh:\t7 \t\r\n\r\n").content_length == 7
    assert parse_request(START + b"TRANSFER-encoding:CHUNKED \r\n\r\n").chunked


def test_a_value_that_looks_like_a_framing_field_is_only_a_value() -> None:
    head = parse_request(START + b"X: Content-Length: 5\r\nX-Content-Length: 6\r\nContent-Length-X: 7\r\n\r\n")
    assert head.content_length is None
    assert not head.hop_by_hop


@pytest.mark.parametrize("text", [b"GET / HTTP/1.1\n", b"GET / HTTP/1.1\r\nHost: a\n", b"\n", b"\r\n\n"])
def test_a_partial_head_with_a_bare_line_feed_is_refused_at_once(text: bytes) -> None:
    with pytest.raises(MalformedMessage):
        check_partial(text, 0)


def test_a_partial_head_may_be_cut_anywhere_even_within_a_line_end() -> None:
    head = START + b"X: y\r\n"
    for cut in range(len(head)):
        check_partial(head, cut)


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 2\xb20 OK\r\n\r\n",
        b"HTTP/1.1 099 OK\r\n\r\n",
        b"HTTP/1.1 000 OK\r\n\r\n",
        b"HTTP/1.1  200 OK\r\n\r\n",
        b"HTTP/1.1 200OK\r\n\r\n",
        b"HTTP/1.1 200 O\0K\r\n\r\n",
        b"HTTP/1.1 200 O\rK\r\n\r\n",
        b"HTTP/1.1 200 O\nK\r\n\r\n",
        b"HTTP/1.1 200 \x1b[31m\r\n\r\n",
        b"HTTP/2.0 200 OK\r\n\r\n",
        b"HTTP/1.1\r\n\r\n",
        b"http/1.1 200 OK\r\n\r\n",
        b"\r\n\r\n",
        b"\r\nHTTP/1.1 200 OK\r\n\r\n",
        b"garbage\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\r\n folded\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX : a\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\nY: b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1, 1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"a:\r\n" * 1001 + b"\r\n",
    ],
)
def test_a_malformed_response_head_is_refused_as_the_upstreams_fault(head: bytes) -> None:
    with pytest.raises(MalformedMessage) as caught:
        parse_response(head)
    assert caught.value.code == 502


@pytest.mark.parametrize(
    ("head", "status", "reason"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", 200, b"OK"),
        (b"HTTP/1.1 200 \r\n\r\n", 200, b""),
        (b"HTTP/1.1 200\r\n\r\n", 200, b""),
        (b"HTTP/1.0 404 Not Found At All\r\n\r\n", 404, b"Not Found At All"),
        (b"HTTP/1.1 299 d\xe9j\xe0 vu\r\n\r\n", 299, b"d\xe9j\xe0 vu"),
        (b"HTTP/1.1 999 Odd\r\n\r\n", 999, b"Odd"),
    ],
)
def test_a_status_line_is_read(head: bytes, status: int, reason: bytes) -> None:
    response = parse_response(head)
    assert (response.status, response.reason) == (status, reason)


# Held against h11. Ours may refuse what h11 accepts, on purpose: repeated or listed Content-Length, Content-Length beside
# Transfer-Encoding, Transfer-Encoding from HTTP/1.0, obs-fold, lines that end in LF alone, CONNECT, targets that are
# neither a path nor an http URL nor `*`, other expectations. What ours accepts, h11 must accept and read the same.

TOKENS = st.sampled_from(
    [b"X", b"Host", b"Content-Length", b"Transfer-Encoding", b"Connection", b"Expect", b"Te", b"A-b"]
)
VALUES = st.one_of(
    st.sampled_from(
        [b"a", b"5", b"0", b"05", b"chunked", b"Chunked", b"close", b"keep-alive", b"100-continue", b"upgrade"]
    ),
    st.sampled_from([b"", b" ", b"\t", b"5, 5", b"+5", b"chunked, chunked", b"x\xff", b"a\r b", b"a\nb", b"\0"]),
    st.binary(max_size=6),
)
COLONS = st.sampled_from([b": ", b":", b":\t", b": ", b": ", b" : ", b""])
ENDS = st.sampled_from([b"\r\n", b"\r\n", b"\r\n", b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r", b"\r\n ", b" \r\n"])
LINES = st.lists(st.builds(lambda *parts: b"".join(parts), TOKENS, COLONS, VALUES, ENDS), max_size=4).map(b"".join)
BODIES = st.sampled_from(
    [b"", b"hello", b"5\r\nhello\r\n0\r\n\r\n", b"0\r\n\r\n", b"0\r\nX: y\r\n\r\n", b"hello world" * 3]
)
REQUEST_LINES = st.one_of(
    st.sampled_from(
        [b"GET / HTTP/1.1", b"POST /a?b HTTP/1.1", b"GET / HTTP/1.0", b"HEAD * HTTP/1.1", b"PUT http://a/ HTTP/1.1"]
    ),
    st.builds(
        lambda method, gap, target, version: method + gap + target + b" " + version,
        st.sampled_from([b"GET", b"POST", b"FOO", b"get", b"", b"G T", b"CONNECT"]),
        st.sampled_from([b" ", b" ", b" ", b"  ", b"\t"]),
        st.one_of(st.sampled_from([b"/", b"/%20?", b"/\n:", b"/\xff", b"*", b"", b"a:1"]), st.binary(max_size=4)),
        st.sampled_from([b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2.0", b"http/1.1", b""]),
    ),
)
MUTATIONS = st.lists(
    st.tuples(st.integers(0, 200), st.sampled_from([0, 1]), st.sampled_from(list(b"\r\n\0 \t:,;x0\x0b\x7f\x80\xff"))),
    max_size=2,
)


def mutated(data: bytes, mutations: list[tuple[int, int, int]]) -> bytes:
    for position, keep, byte in mutations:
        place = position % (len(data) + 1)
        data = data[:place] + bytes([byte]) + data[place + 1 - keep :]
    return data


def split(data: bytes) -> tuple[bytes, bytes] | None:
    """Head and what follows it, as server and client find them."""
    end = data.find(b"\r\n\r\n")
    return None if end < 0 else (data[: end + 4], data[end + 4 :])


def ours(head: RequestHead | ResponseHead, rest: bytes) -> tuple[bytes, bytes] | None:
    """Body and what follows it; None when the body is malformed or not complete."""
    length = head.content_length
    body = ChunkedBody(raw=False) if head.chunked else LengthBody(length) if length is not None else NO_BODY
    try:
        payload, after = body.feed(rest)
    except MalformedMessage:
        return None
    return (payload, after) if body.done else None


@settings(max_examples=120)
@given(REQUEST_LINES, LINES, BODIES, MUTATIONS)
def test_every_request_that_we_accept_h11_reads_the_same_to_the_last_byte(
    line: bytes, lines: bytes, body: bytes, mutations: list[tuple[int, int, int]]
) -> None:
    data = mutated(line + b"\r\nHost: a\r\n" + lines + b"\r\n" + body, mutations)
    parts = split(data)
    if parts is None or parts[0] == b"\r\n\r\n" or data.startswith(b"\r\n"):
        return
    try:
        head = parse_request(parts[0])
    except MalformedMessage:
        return
    read = ours(head, parts[1])
    if read is None:
        return
    theirs = oracle.read_request(data)
    assert theirs is not None, data
    assert theirs.start == (head.method, head.target)
    # h11 folds the case of framing values; everything else comes as it was sent
    assert [(name, value.lower()) for name, value in theirs.fields] == [(n, v.lower()) for n, v in head.fields]
    assert (theirs.body, theirs.rest) == read


@settings(max_examples=120)
@given(
    st.sampled_from(
        [b"HTTP/1.1 200 OK", b"HTTP/1.1 204", b"HTTP/1.0 304 Not", b"HTTP/1.1 500 a\xff", b"HTTP/1.1 299 "]
    ),
    LINES,
    BODIES,
    MUTATIONS,
    st.sampled_from([b"GET", b"HEAD"]),
)
def test_every_response_that_we_accept_h11_reads_the_same_to_the_last_byte(
    line: bytes, lines: bytes, body: bytes, mutations: list[tuple[int, int, int]], method: bytes
) -> None:
    data = mutated(line + b"\r\n" + lines + b"\r\n" + body, mutations)
    parts = split(data)
    if parts is None:
        return
    try:
        head = parse_response(parts[0])
    except MalformedMessage:
        return
    if head.status < 200:
        return
    if method == b"HEAD" or head.status in (204, 304):
        read: tuple[bytes, bytes] | None = (b"", parts[1])
    elif head.content_length is None and not head.chunked:
        read = (parts[1], b"")
    else:
        read = ours(head, parts[1])
    if read is None:
        return
    theirs = oracle.read_response(data, method, closed=True)
    assert theirs is not None, data
    assert theirs.start == (b"%d" % head.status,)
    assert [(name, value.lower()) for name, value in theirs.fields] == [(n, v.lower()) for n, v in head.fields]
    assert theirs.body == read[0]
    assert theirs.rest == read[1]


@given(st.lists(st.tuples(st.sampled_from([b"a", b"x-y", b"cookie"]), st.binary(max_size=9)), max_size=5))
def test_every_request_that_h11_would_send_is_accepted(fields: list[tuple[bytes, bytes]]) -> None:
    client = h11.Connection(h11.CLIENT)
    try:
        event = h11.Request(method="POST", target="/p", headers=[(b"Host", b"h"), *fields])
    except h11.LocalProtocolError:
        return
    data = client.send(event)
    assert data is not None
    if any((byte < 32 and byte != 9) or byte == 127 for _, value in event.headers for byte in value):
        return  # control characters are h11's own leniency
    head = parse_request(data)
    assert head.fields == list(event.headers)
