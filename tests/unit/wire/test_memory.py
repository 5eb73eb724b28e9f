from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.wire.errors import MalformedMessage
from penstock.wire.memory import MEMO_HEAD, HeadMemory
from penstock.wire.message import Head, RequestHead, ResponseHead, parse_request, parse_response

REQUEST = b"POST /x?y=1 HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nX-Call-Id: %b\r\nX-Start-Time: %b\r\n\r\n"
FORWARDED = b"GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: %b\r\nX-Call-Id: 1\r\nX-Start-Time: 1\r\n\r\n"
RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nX-Duration-Seconds: %b\r\n\r\n"


def facts(head: Head) -> dict[str, object]:
    """All that a parsed head says."""
    names = [name for kind in type(head).__mro__ for name in getattr(kind, "__slots__", ())]
    said = {name: getattr(head, name) for name in names if name not in ("_fields", "_passed_on", "note", "lasting")}
    return {**said, "fields": head.fields}


def remembering(head: bytes) -> HeadMemory[RequestHead]:
    memory: HeadMemory[RequestHead] = HeadMemory()
    memory.keep(head, parse_request(head))
    return memory


def test_a_head_that_repeats_is_the_one_that_was_parsed() -> None:
    head = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"
    memory: HeadMemory[RequestHead] = HeadMemory()
    assert memory.recall(head) is None
    parsed = parse_request(head)
    memory.keep(head, parsed)
    assert memory.recall(head) is parsed


def test_a_request_with_another_call_id_and_start_time_is_recalled_as_if_parsed() -> None:
    memory = remembering(REQUEST % (b"1-a", b"1"))
    other = REQUEST % (b"2-bcd", b"22")
    recalled = memory.recall(other)
    assert recalled is not None
    assert facts(recalled) == facts(parse_request(other))
    assert recalled.get(b"x-call-id") == b"2-bcd"


JOINTS = (b"", b"X-Pipeline-In: %b\r\n" % (b"0f" * 16), b"X-Pipeline-Out: %b\r\n" % (b"a" * 32))


@pytest.mark.parametrize("joints", [*JOINTS, JOINTS[1] + JOINTS[2]])
def test_a_stage_of_a_pipeline_with_other_joints_is_recalled_as_if_parsed(joints: bytes) -> None:
    other = (REQUEST % (b"2", b"22")).replace(b"\r\n\r\n", b"\r\n%b\r\n" % joints)
    for first in (REQUEST % (b"1", b"1"), other.replace(b"a" * 32, b"b" * 32)):
        recalled = remembering(first).recall(other)
        assert recalled is not None
        assert facts(recalled) == facts(parse_request(other))


@pytest.mark.parametrize("peer", [b"10.1.2.3:4", b"[2001:db8::1]:65535"])
def test_a_request_of_another_client_is_recalled_as_if_parsed(peer: bytes) -> None:
    recalled = remembering(FORWARDED % b"127.0.0.1:5").recall(FORWARDED % peer)
    assert recalled is not None
    assert facts(recalled) == facts(parse_request(FORWARDED % peer))


@pytest.mark.parametrize("peer", [b"10.1.2.3, 10.1.2.4", b"", b"x", b"1\r\nContent-Length: 9"])
def test_a_client_that_is_no_address_is_parsed_anew(peer: bytes) -> None:
    assert remembering(FORWARDED % b"127.0.0.1:5").recall(FORWARDED % peer) is None


def test_a_response_with_another_duration_is_recalled_as_if_parsed() -> None:
    memory: HeadMemory[ResponseHead] = HeadMemory()
    memory.keep(RESPONSE % b"0.1", parse_response(RESPONSE % b"0.1"))
    other = RESPONSE % b"12.345678"
    recalled = memory.recall(other)
    assert recalled is not None
    assert facts(recalled) == facts(parse_response(other))
    assert recalled.passed_on == parse_response(other).passed_on


def test_what_lasts_is_found_again_and_what_was_noted_of_one_head_is_not() -> None:
    first = parse_request(REQUEST % (b"1", b"1"))
    first.note, first.lasting = "of this one", "of all"
    memory: HeadMemory[RequestHead] = HeadMemory()
    memory.keep(REQUEST % (b"1", b"1"), first)
    recalled = memory.recall(REQUEST % (b"2", b"2"))
    assert recalled is not None
    assert (recalled.note, recalled.lasting) == (None, "of all")


def hostile() -> Iterator[bytes]:
    yield REQUEST % (b"1", b"1\r\nContent-Length: 9")
    yield REQUEST % (b"1\r\nTransfer-Encoding: chunked", b"1")
    yield REQUEST % (b"1", b"1\r\nConnection: close")
    yield REQUEST % (b"1\nX: y", b"1")
    yield REQUEST % (b"1", b"1\r\nX-Pipeline-In: 0123")
    yield REQUEST % (b"1", b"1\r\nX-Pipeline-In: %b\r\nContent-Length: 9" % (b"0" * 32))
    yield REQUEST % (b"1", b"1" + b"\r\nX-Pipeline-In: %b" % (b"0" * 32) * 3)
    yield REQUEST % (b"\xff", b"1")
    yield REQUEST % (b"", b"1")
    yield REQUEST % (b"1", b"one")
    yield REQUEST % (b"1" * 65, b"1")
    yield (REQUEST % (b"1", b"1")).replace(b"Content-Length: 3", b"Content-Length: 4")
    yield (REQUEST % (b"1", b"1")).replace(b"X-Start-Time: 1\r\n", b"")
    yield (REQUEST % (b"1", b"1")).replace(b"X-Call-Id", b"x-call-id")
    yield (REQUEST % (b"1", b"1")).replace(b"POST", b"GET ")
    yield (REQUEST % (b"1", b"1")) + b"GET / HTTP/1.1\r\n\r\n"


@pytest.mark.parametrize("head", list(hostile()))
def test_anything_else_that_differs_is_parsed_anew(head: bytes) -> None:
    assert remembering(REQUEST % (b"1", b"2")).recall(head) is None


def test_large_heads_are_not_kept() -> None:
    head = b"GET / HTTP/1.1\r\nHost: h\r\nX: %b\r\n\r\n" % (b"x" * MEMO_HEAD)
    assert remembering(head).recall(head) is None


LINES = st.lists(
    st.sampled_from(
        [
            b"Host: h\r\n",
            b"Content-Length: 3\r\n",
            b"Transfer-Encoding: chunked\r\n",
            b"Connection: close\r\n",
            b"Connection: upgrade\r\nUpgrade: websocket\r\n",
            b"Expect: 100-continue\r\n",
            b"X-Call-Id: 1\r\n",
            b"X-Call-Id: 22\r\n",
            b"X-Start-Time: 1\r\n",
            b"X-Start-Time: 22\r\n",
            b"X-Forwarded-For: 1.2.3.4:5\r\n",
            b"X-Forwarded-For: [::1]:66\r\n",
            b"X-Duration-Seconds: 0.1\r\n",
            b"X-Duration-Seconds: 0.22\r\n",
            b"X: X-Call-Id: 1\r\n",
            *JOINTS[1:],
        ]
    ),
    max_size=6,
)


@given(st.lists(LINES, min_size=2, max_size=6))
def test_a_memory_never_says_anything_but_what_parsing_says(heads: list[list[bytes]]) -> None:
    memory: HeadMemory[RequestHead] = HeadMemory()
    for lines in heads:
        head = b"POST /x HTTP/1.1\r\n" + b"".join(lines) + b"\r\n"
        recalled = memory.recall(head)
        try:
            parsed = parse_request(head)
        except MalformedMessage:
            assert recalled is None
            continue
        if recalled is not None:
            assert facts(recalled) == facts(parsed)
        else:
            memory.keep(head, parsed)
