from __future__ import annotations

import itertools
import socket
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.http import ChunkedWalk, LengthWalk, Reader, request_head
from bench.processes import BenchError


def chunked(pieces: list[bytes]) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces if piece) + b"0\r\n\r\n"


def cut(data: bytes, places: list[int]) -> Iterator[memoryview]:
    edges = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    for start, end in itertools.pairwise(edges):
        yield memoryview(data)[start:end]


def walked(walk: ChunkedWalk | LengthWalk, parts: Iterator[memoryview]) -> bytes:
    return b"".join(bytes(piece) for part in parts for piece in walk.feed(part))


@given(st.lists(st.binary(max_size=300)), st.lists(st.integers(min_value=0)))
def test_chunked_payload_is_found_wherever_reads_cut_it(pieces: list[bytes], places: list[int]) -> None:
    walk = ChunkedWalk()
    assert walked(walk, cut(chunked(pieces), places)) == b"".join(pieces)
    assert walk.done and walk.seen == sum(map(len, pieces))


def test_chunk_extensions_and_trailers_are_skipped() -> None:
    walk = ChunkedWalk()
    assert walked(walk, iter([memoryview(b"3;a=b\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n")])) == b"abc"
    assert walk.done


def test_a_chunked_body_is_not_done_before_its_last_line() -> None:
    walk = ChunkedWalk()
    walked(walk, iter([memoryview(b"3\r\nabc\r\n0\r\n")]))
    assert not walk.done


def test_what_is_no_chunk_size_is_refused() -> None:
    with pytest.raises(BenchError, match="no chunk size"):
        walked(ChunkedWalk(), iter([memoryview(b"hello\r\n")]))


@given(st.binary(min_size=1), st.lists(st.integers(min_value=0)))
def test_a_body_of_known_length_ends_with_its_last_byte(body: bytes, places: list[int]) -> None:
    walk = LengthWalk(len(body))
    assert walked(walk, cut(body, places)) == body
    assert walk.done


def test_more_than_the_announced_length_is_refused() -> None:
    with pytest.raises(BenchError, match="more came"):
        walked(LengthWalk(2), iter([memoryview(b"abc")]))


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(30)
        yield ours, theirs


def test_an_answer_is_read_into_head_and_body(pair: tuple[socket.socket, socket.socket]) -> None:
    pair[1].sendall(b"HTTP/1.1 201 Created\r\nContent-Length: 5\r\n\r\nhello")
    answer = Reader(pair[0])
    assert (answer.status, b"".join(bytes(piece) for piece in answer.pieces())) == (201, b"hello")


def test_a_whole_answer_is_kept_in_the_buffer_it_was_given(pair: tuple[socket.socket, socket.socket]) -> None:
    room = memoryview(bytearray(64))
    pair[1].sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    answer = Reader(pair[0], room)
    pair[1].sendall(chunked([b"abc", b"defg"]))
    assert answer.size() == 7
    assert answer.rest + bytes(room[: answer.received]) == chunked([b"abc", b"defg"])


def test_a_body_that_ends_early_is_an_error(pair: tuple[socket.socket, socket.socket]) -> None:
    pair[1].sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel")
    pair[1].shutdown(socket.SHUT_WR)
    with pytest.raises(BenchError, match="ended early"):
        Reader(pair[0]).size()


def test_a_head_that_ends_early_is_an_error(pair: tuple[socket.socket, socket.socket]) -> None:
    pair[1].sendall(b"HTTP/1.1 200 OK\r\n")
    pair[1].shutdown(socket.SHUT_WR)
    with pytest.raises(BenchError, match="head of an answer"):
        Reader(pair[0])


def test_a_request_with_a_body_says_how_long_it_is() -> None:
    assert (
        request_head("POST", "/x", 3, "A: b")
        == b"POST /x HTTP/1.1\r\nHost: localhost\r\nA: b\r\nContent-Length: 3\r\n\r\n"
    )


def test_a_request_without_a_body_says_nothing_of_length() -> None:
    assert request_head("GET", "/") == b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
