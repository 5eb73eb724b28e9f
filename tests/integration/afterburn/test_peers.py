"""The libraries for the function's side of mode `afterburn`: one suite, in every language, for good requests and bad ones."""

from __future__ import annotations

import os
import signal

import pytest

from tests.integration.afterburn.talking import HANDSHAKE, Peer, chunked, request

MIB = 1 << 20


def pattern(size: int) -> bytes:
    """Bytes that differ enough for a lost or doubled piece to show."""
    return (bytes(range(251)) * (size // 251 + 1))[:size]


def in_chunks(data: bytes, size: int) -> bytes:
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def alive(peer: Peer) -> bool:
    """Whether the process still answers, and in step."""
    return peer.ask(request("GET", "/describe?still", None, "X-Test: here")).body == b"GET /describe still here"


def test_the_handshake_is_answered_without_the_handler(peer: Peer) -> None:
    answer = peer.ask(HANDSHAKE)
    assert (answer.status, answer.field("content-length"), answer.body) == (200, "0", b"")


@pytest.mark.parametrize("size", [0, 1, 65536, 5 * MIB])
def test_a_body_of_known_length_comes_back_by_length(peer: Peer, size: int) -> None:
    answer = peer.ask(request(body=pattern(size)))
    assert (answer.status, answer.field("content-length")) == (200, str(size))
    assert answer.body == pattern(size)


@pytest.mark.parametrize("size", [0, 1, 65536, 5 * MIB])
def test_a_chunked_body_comes_back_in_chunks(peer: Peer, size: int) -> None:
    answer = peer.ask(chunked("/stream", in_chunks(pattern(size), 10_000)))
    assert answer.field("transfer-encoding") == "chunked"
    assert answer.body == pattern(size)
    assert alive(peer)


def test_chunks_of_one_byte_are_a_body_too(peer: Peer) -> None:
    assert peer.ask(chunked("/echo", in_chunks(pattern(20_000), 1))).body == pattern(20_000)


def test_chunk_extensions_and_trailers_are_read_and_left_out(peer: Peer) -> None:
    coding = (
        b'0000000000000003;a=b;c="d\\"e"\r\nabc\r\n00A ;x\r\n0123456789\r\n000;last\r\nX-Sum: 1\r\nX-Other:\t2 \r\n\r\n'
    )
    assert peer.ask(chunked("/echo", coding)).body == b"abc0123456789"
    assert alive(peer)


def test_an_answer_begins_while_the_request_goes_on(peer: Peer) -> None:
    peer.send(chunked("/stream", b"5\r\nfirst\r\n"))
    assert peer.head_and_first_chunk() == b"first"
    peer.send(b"6\r\nsecond\r\n0\r\n\r\n")
    assert peer.rest_of_chunks() == b"second"


def test_a_request_that_arrives_byte_by_byte_is_one(fresh: Peer) -> None:
    for byte in request("PUT", "/echo", b"slow", "X-Test: a"):
        os.write(fresh.stdin, bytes([byte]))
    assert fresh.answer().body == b"slow"


def test_what_is_printed_goes_to_the_log(peer: Peer) -> None:
    answer = peer.ask(request("GET", "/print"))
    assert (answer.status, answer.body) == (200, b"printed")
    assert alive(peer)
    assert peer.log().count("Content-Length: 3") == 2000


@pytest.mark.parametrize("path", ["/ignore", "/one", "/raise", "/print"])
@pytest.mark.parametrize("coding", ["length", "chunked"])
def test_a_body_that_nobody_reads_does_not_become_the_next_request(peer: Peer, path: str, coding: str) -> None:
    smuggled = request("GET", "/describe?smuggled") * 5000
    whole = request("POST", path, smuggled) if coding == "length" else chunked(path, in_chunks(smuggled, 700))
    assert peer.ask(whole).status == (500 if path == "/raise" else 200)
    assert alive(peer)


def test_requests_that_are_already_there_are_answered_one_after_the_other(peer: Peer) -> None:
    peer.send(request("GET", "/describe?1") + chunked("/echo", b"1\r\nx\r\n0\r\n\r\n") + request("GET", "/describe?2"))
    assert [peer.answer().body for _ in range(3)] == [b"GET /describe 1 ", b"x", b"GET /describe 2 "]


def test_method_target_and_fields_reach_the_handler(peer: Peer) -> None:
    answer = peer.ask(request("PATCH", "/describe?a=b?c", None, "x-test:one", "X-TEST: \ttwo\t "))
    assert answer.body == b"PATCH /describe a=b?c one, two"


def test_an_exception_is_500_and_its_trace_is_logged(peer: Peer) -> None:
    answer = peer.ask(request("POST", "/raise", b"body"))
    assert (answer.status, answer.body) == (500, b"Internal Server Error\n")
    assert "on purpose" in peer.log()
    assert alive(peer)


@pytest.mark.parametrize("path", ["/nothing", "/status?99", "/status?100", "/status?600", "/no-such-path"])
def test_an_answer_that_is_none_is_500(peer: Peer, path: str) -> None:
    assert peer.ask(request("GET", path)).status == 500
    assert alive(peer)


@pytest.mark.parametrize("kind", ["value", "name", "wide"])
def test_a_field_that_would_break_out_of_its_line_is_500(peer: Peer, kind: str) -> None:
    answer = peer.ask(request("GET", f"/header?{kind}"))
    assert answer.status == 500
    assert not [name for name, _ in answer.fields if name in ("x-test", "injected")]
    assert "not a header field" in peer.log()
    assert alive(peer)


def test_an_exception_behind_the_first_chunk_ends_the_process_and_the_answer_short(fresh: Peer) -> None:
    fresh.send(request("GET", "/raise-late"))
    assert fresh.head_and_first_chunk() == b"begun"
    assert fresh.end() == (1, b"")
    assert "too late" in fresh.log()


def test_fields_of_one_name_are_sent_each(peer: Peer) -> None:
    answer = peer.ask(request("GET", "/cookies"))
    assert [value for name, value in answer.fields if name == "set-cookie"] == ["a=1", "b=2"]


def test_framing_is_the_librarys_whatever_fields_the_handler_names(peer: Peer) -> None:
    answer = peer.ask(request("GET", "/framing"))
    assert (answer.field("content-length"), answer.field("transfer-encoding"), answer.body) == ("3", None, b"out")
    assert alive(peer)


@pytest.mark.parametrize(
    ("target", "length", "coding"),
    [("/ignore", "7", None), ("/framing", "7", None), ("/stream", None, "chunked")],
)
def test_head_is_answered_without_a_body(peer: Peer, target: str, length: str | None, coding: str | None) -> None:
    answer = peer.ask(request("HEAD", target, b"0123"))
    assert (answer.status, answer.field("content-length"), answer.field("transfer-encoding")) == (200, length, coding)
    assert alive(peer)


@pytest.mark.parametrize("status", [204, 304])
def test_a_status_without_content_has_neither_body_nor_framing(peer: Peer, status: int) -> None:
    answer = peer.ask(request("GET", f"/status?{status}"))
    assert answer.status == status
    assert (answer.field("content-length"), answer.field("transfer-encoding")) == (None, None)
    assert alive(peer)


def test_a_handler_may_end_its_process(fresh: Peer) -> None:
    answer = fresh.ask(request("POST", "/close", b"unread"))
    assert (answer.field("connection"), answer.body) == ("close", b"bye")
    assert fresh.end() == (0, b"")


MALFORMED = {
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
    "a response": (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 400),
    "an empty line": (b"\r\nGET / HTTP/1.1\r\nHost: peer\r\n\r\n", 400),
    "another version": (b"GET / HTTP/1.0\r\nHost: peer\r\n\r\n", 400),
    "lines without CR": (b"GET / HTTP/1.1\nHost: peer\n\n", 400),
    "CR inside a line": (b"GET / HTTP/1.1\r\nHost: pe\rer\r\n\r\n", 400),
    "NUL in a value": (b"GET / HTTP/1.1\r\nHost: pe\0er\r\n\r\n", 400),
    "no Host": (b"GET / HTTP/1.1\r\n\r\n", 400),
    "a space before the colon": (b"GET / HTTP/1.1\r\nHost: peer\r\nX : 1\r\n\r\n", 400),
    "a folded line": (b"GET / HTTP/1.1\r\nHost: peer\r\nX: 1\r\n  2\r\n\r\n", 400),
    "no colon": (b"GET / HTTP/1.1\r\nHost: peer\r\nX\r\n\r\n", 400),
    "a signed length": (request("POST", "/echo", None, "Content-Length: +3") + b"abc", 400),
    "two lengths": (request("POST", "/echo", b"abc", "Content-Length: 4"), 400),
    "a length out of reach": (request("POST", "/echo", None, "Content-Length: " + "9" * 30), 400),
    "length and coding": (request("POST", "/echo", b"0\r\n\r\n", "Transfer-Encoding: chunked"), 400),
    "another coding": (request("POST", "/echo", None, "Transfer-Encoding: gzip, chunked"), 501),
    "a chunk size that is none": (chunked("/echo", b"0x3\r\nabc\r\n0\r\n\r\n"), 400),
    "a chunk size out of reach": (chunked("/echo", b"f" * 17 + b"\r\nabc"), 400),
    "a negative chunk size": (chunked("/echo", b"-3\r\nabc\r\n0\r\n\r\n"), 400),
    "a chunk longer than its size": (chunked("/echo", b"3\r\nabcd\r\n0\r\n\r\n"), 400),
    "a chunk line without end": (chunked("/echo", b"3;" + b"x" * 9000), 400),
    "trailers without end": (chunked("/echo", b"0\r\n" + b"X-Trailer: 1\r\n" * 6000), 431),
    "a trailer that is none": (chunked("/echo", b"0\r\nX Y: 1\r\n\r\n"), 400),
    "many fields": (b"GET / HTTP/1.1\r\nHost: peer\r\n" + b"X-Field: 1\r\n" * 6000, 431),
    "one long field": (b"GET / HTTP/1.1\r\nHost: peer\r\nX-Field: " + b"x" * 100_000, 431),
}


@pytest.mark.parametrize("kind", MALFORMED)
def test_a_malformed_request_is_refused_and_ends_the_process(fresh: Peer, kind: str) -> None:
    data, status = MALFORMED[kind]
    answer = fresh.ask(data, "GET")
    assert (answer.status, answer.field("connection"), answer.body) == (status, "close", b"")
    assert fresh.end() == (1, b"")
    assert "afterburn: " in fresh.log()


def test_a_head_of_almost_64_kib_is_taken(peer: Peer) -> None:
    room = 65536 - len(request("GET", "/describe", None, "X-Test: "))
    assert peer.ask(request("GET", "/describe", None, "X-Test: " + "x" * room)).status == 200


def test_a_fault_in_a_body_that_the_handler_swallows_still_ends_the_process(fresh: Peer) -> None:
    answer = fresh.ask(chunked("/swallow", b"nonsense\r\n"))
    assert (answer.field("connection"), answer.body) == ("close", b"never mind")
    assert fresh.end()[1] == b""


def test_a_fault_in_a_body_that_nobody_read_is_found_before_the_answer(fresh: Peer) -> None:
    assert fresh.ask(chunked("/ignore", b"nonsense\r\n")).status == 400
    assert fresh.end() == (1, b"")


@pytest.mark.parametrize("path", ["/ignore", "/raise", "/status?204"])
def test_no_answer_is_complete_before_its_request(peer: Peer, path: str) -> None:
    peer.send(chunked(path, b"5\r\nfirst\r\n"))
    assert peer.silent_for(0.2)
    assert peer.ask(b"0\r\n\r\n", "POST").status in (200, 500, 204)
    assert alive(peer)


def test_an_answer_that_closes_does_not_wait_for_the_rest_of_its_request(fresh: Peer) -> None:
    fresh.send(chunked("/close", b"5\r\nfirst\r\n"))
    assert fresh.answer().body == b"bye"
    assert fresh.end() == (0, b"")


def test_the_end_of_stdin_between_requests_is_the_end(fresh: Peer) -> None:
    assert fresh.ask(request(body=b"x")).body == b"x"
    fresh.close_stdin()
    assert fresh.end() == (0, b"")
    assert fresh.log() == ""


@pytest.mark.parametrize(
    "half",
    [
        b"GET /",
        b"GET / HTTP/1.1\r\nHost: pe",
        request("POST", "/echo", b"abc")[:-1],
        chunked("/echo", b"3\r\nab"),
        chunked("/echo", b"3\r\nabc\r\n0\r\n"),
    ],
)
def test_the_end_of_stdin_inside_a_request_is_not_answered(fresh: Peer, half: bytes) -> None:
    fresh.send(half)
    fresh.close_stdin()
    assert fresh.end() == (1, b"")
    assert "stdin ended inside a request" in fresh.log()


def test_sigterm_between_requests_is_the_end(fresh: Peer) -> None:
    fresh.process.send_signal(signal.SIGTERM)
    assert fresh.end() == (0, b"")


def test_sigterm_inside_a_request_lets_it_finish(fresh: Peer) -> None:
    fresh.send(chunked("/stream", b"5\r\nfirst\r\n"))
    assert fresh.head_and_first_chunk() == b"first"
    fresh.process.send_signal(signal.SIGTERM)
    fresh.send(b"6\r\nsecond\r\n0\r\n\r\n")
    assert fresh.rest_of_chunks() == b"second"
    assert fresh.end() == (0, b"")


def test_an_answer_that_nobody_takes_holds_the_request_up(fresh: Peer) -> None:
    data = chunked("/stream", in_chunks(pattern(5 * MIB), 10_000))
    assert fresh.accepted_until_it_stalls(data, pause=0.7) < 2 * MIB
    assert fresh.answer().body == pattern(5 * MIB)


def test_a_reader_that_is_gone_ends_the_process(fresh: Peer) -> None:
    assert fresh.process.stdout is not None
    fresh.process.stdout.close()
    os.write(fresh.stdin, request("GET", "/describe"))
    assert fresh.process.wait(60) == 1


@pytest.mark.parametrize("language", ["python"], indirect=True)
def test_a_program_that_the_handler_starts_has_neither_stdin_nor_stdout(peer: Peer) -> None:
    peer.send(request("GET", "/child") + request("GET", "/describe?next"))
    assert (peer.answer().body, peer.answer().body) == (b"done", b"GET /describe next ")
    assert "loud" in peer.log()
