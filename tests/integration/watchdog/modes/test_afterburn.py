"""The afterburn mode with real programs: who gets which request, and what becomes of programs that do not keep to the protocol."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from penstock.watchdog import processpool
from tests.watchdogs import DEADLINE

Start = Callable[..., Awaitable[Any]]
Until = Callable[[Callable[[], object]], Awaitable[None]]

PEER = f"{sys.executable} -S {Path(__file__).with_name('peer.py')}"


async def pool_of(start: Start, until: Until, **variables: str) -> Any:
    """A watchdog whose first program has answered its handshake."""
    running = await start(fprocess=PEER, mode="afterburn", **variables)
    await until(lambda: not running.watchdog.mode.unready())
    return running


def members(running: Any) -> set[int]:
    return {program.child.pid for program in running.watchdog.mode.connections._members}


async def pid(running: Any) -> int:
    return int((await running.call("GET", "/pid")).body)


async def logged(capfd: pytest.CaptureFixture[str], until: Until, words: str) -> None:
    """Wait for words in the log."""
    seen = ""

    def look() -> bool:
        nonlocal seen
        seen += capfd.readouterr().err
        return words in seen

    await until(look)


async def test_one_program_serves_many_requests(start: Start, until: Until) -> None:
    running = await pool_of(start, until, pool_size="1")
    assert {await pid(running) for _ in range(5)} == members(running)


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("size", [0, 1, 65536, 3_000_000])
async def test_bodies_of_every_size_come_back_identical(start: Start, until: Until, size: int, chunked: bool) -> None:
    running = await pool_of(start, until, pool_size="1")
    body = os.urandom(size)
    for target in ("/echo", "/early"):
        answer = await running.call(target=target, body=body, chunked=chunked and size > 0)
        assert (answer.status, answer.complete, answer.body == body) == (200, True, True)
    assert len(members(running)) == 1


async def test_the_answer_is_the_programs_own_with_the_time_it_took(start: Start, until: Until) -> None:
    running = await pool_of(start, until)
    answer = await running.call("GET", "/nowhere")
    assert (answer.status, answer.body) == (404, b"not here")
    assert float(answer.headers["x-duration-seconds"]) > 0
    assert "x-openfaas-internal" not in answer.headers


async def test_fields_reach_the_program_but_for_hop_by_hop_ones(start: Start, until: Until) -> None:
    running = await pool_of(start, until)
    answer = await running.call("GET", "/fields", headers=[("X-Call-Id", "7"), ("Keep-Alive", "5"), ("X-Two", "b")])
    fields = answer.body.decode().split()
    assert {"host=test", "x-call-id=7", "x-two=b"} <= set(fields)
    assert not any(field.startswith(("keep-alive", "connection")) for field in fields)


@pytest.mark.parametrize("target", ["/echo", "/head-length", "/head-chunked", "/not-modified"])
async def test_answers_without_a_body_do_not_cost_the_program(start: Start, until: Until, target: str) -> None:
    running = await pool_of(start, until, pool_size="1")
    before = members(running)
    for _ in range(3):
        answer = await running.call("HEAD", target)
        assert (answer.status in (200, 304), answer.body) == (True, b"")
    assert {await pid(running)} == before == members(running)


async def test_a_body_where_none_may_be_is_never_taken_for_the_next_answer(
    start: Start, until: Until, capfd: pytest.CaptureFixture[str]
) -> None:
    running = await pool_of(start, until, pool_size="1")
    before = members(running)
    assert (await running.call("HEAD", "/head-body")).status == 200
    assert await pid(running) not in before
    await logged(capfd, until, "a program of the pool was discarded: its answer to the handshake is no HTTP")


async def test_a_malformed_body_costs_no_program(start: Start, until: Until) -> None:
    running = await pool_of(start, until, pool_size="1")
    before = members(running)
    for _ in range(5):
        reader, writer = await running.connect()
        writer.write(
            b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3;a\x01z\r\nabc\r\n0\r\n\r\n"
        )
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 400")
    assert {await pid(running)} == before


async def test_a_head_larger_than_libraries_take_is_431_and_reaches_no_program(start: Start, until: Until) -> None:
    running = await pool_of(start, until, pool_size="1")
    answer = await running.call("GET", "/fields", headers=[("X-Large", "x" * (64 << 10))])
    assert (answer.status, answer.headers["x-openfaas-internal"]) == (431, "penstock-watchdog")


async def test_requests_at_once_are_served_by_several_programs_up_to_the_bound(
    start: Start, until: Until, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    running = await pool_of(start, until, pool_max="3", PEER_GATE=str(gate))
    calls = asyncio.gather(*(running.call(target="/gate") for _ in range(6)))
    pool = running.watchdog.mode.connections
    await until(lambda: sum(program.warm for program in pool._members) == 3 and len(pool._waiters) == 3)
    gate.touch()
    assert {answer.body for answer in await calls} == {b"through"}
    assert len(members(running)) == 3


async def test_a_fixed_pool_is_filled_before_there_is_a_request(start: Start, until: Until) -> None:
    running = await pool_of(start, until, pool_size="3")
    await until(lambda: len(running.watchdog.mode.connections._idle) == 3)
    assert repr(running.watchdog.mode.connections) == "<ProcessPool 3 of 3 idle, 0 requests waiting, 0 starting>"


async def test_an_automatic_pool_gives_up_programs_that_stay_idle(
    start: Start, until: Until, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(processpool, "LOOK_EVERY", 0.05)
    monkeypatch.setattr(processpool, "IDLE_MOST", 0.1)
    monkeypatch.setattr(processpool, "EXIT_GRACE", DEADLINE)
    gate = tmp_path / "gate"
    running = await pool_of(start, until, pool_max="3", PEER_GATE=str(gate))
    calls = asyncio.gather(*(running.call(target="/gate") for _ in range(3)))
    await until(lambda: len(members(running)) == 3)
    gate.touch()
    await calls
    await until(lambda: len(running.watchdog.spawner.running) == 1)
    assert {await pid(running)} == members(running)
    assert "ended" not in capfd.readouterr().err


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("/rubbish", "malformed status line"),
        ("/half-head", "closed its stdout before its answer was complete"),
        ("/unframed", "neither Content-Length nor chunked"),
        ("/both", "malformed response"),
        ("/exit", "closed its stdout"),
        ("/kill", "closed its stdout"),
        ("/close-stdout", "closed its stdout"),
    ],
)
async def test_a_broken_answer_is_502_and_costs_only_the_program_that_gave_it(
    start: Start, until: Until, target: str, reason: str
) -> None:
    running = await pool_of(start, until, pool_size="2")
    await until(lambda: len(running.watchdog.mode.connections._idle) == 2)
    before = members(running)
    answer = await running.call(target=target)
    assert (answer.status, answer.headers["x-openfaas-internal"]) == (502, "penstock-watchdog")
    assert reason in answer.body.decode()
    await until(lambda: len(running.watchdog.mode.connections._idle) == 2)
    assert len(before & members(running)) == 1
    assert await pid(running) in members(running)


@pytest.mark.parametrize("target", ["/half", "/bad-chunk"])
async def test_an_answer_that_breaks_off_is_cut_and_the_program_replaced(
    start: Start, until: Until, target: str
) -> None:
    running = await pool_of(start, until, pool_size="1")
    before = members(running)
    answer = await running.call(target=target)
    assert answer.status == 502 or (answer.status, answer.complete) == (
        200,
        False,
    )  # as head and rest came in one piece
    assert await pid(running) not in before


async def test_a_second_answer_is_never_taken_for_the_next_ones(start: Start, until: Until) -> None:
    running = await pool_of(start, until, pool_size="1")
    before = members(running)
    assert (await running.call(target="/two")).body == b"one"
    assert await pid(running) not in before


async def test_something_that_is_written_unasked_costs_the_program(
    start: Start, until: Until, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    gate = tmp_path / "gate"
    running = await pool_of(start, until, pool_size="1", PEER_GATE=str(gate))
    before = members(running)
    assert (await running.call(target="/late")).body == b"fine"
    await until(lambda: running.watchdog.mode.connections._idle)
    gate.touch()
    await until(lambda: not before & members(running))
    assert (await running.call(target="/echo", body=b"clean")).body == b"clean"
    await logged(capfd, until, "it wrote without being asked: b'HTTP/1.1 200")


async def test_exec_timeout_is_504_and_kills_the_program(start: Start, until: Until) -> None:
    running = await pool_of(start, until, pool_size="1")
    before = members(running)
    assert (await running.call(target="/hang", headers=[("X-Timeout", "100ms")])).status == 504
    await until(lambda: not before & set(running.watchdog.spawner.running))
    assert await pid(running) not in before


async def test_a_request_that_waits_for_a_program_has_its_deadline_too(start: Start, until: Until) -> None:
    running = await pool_of(start, until, pool_size="1", exec_timeout="10m")
    (busy,) = members(running)
    slow = asyncio.ensure_future(running.call(target="/hang"))
    await until(lambda: not running.watchdog.mode.connections._idle)
    answer = await running.call(target="/pid", headers=[("X-Timeout", "100ms")])
    assert answer.status == 504
    assert not slow.done()
    os.kill(busy, signal.SIGKILL)
    assert (await slow).status == 502
    assert await pid(running)


async def test_a_client_that_leaves_does_not_cost_the_program(
    start: Start, until: Until, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processpool, "ABANDON_MOST", DEADLINE)
    gate = tmp_path / "gate"
    running = await pool_of(start, until, pool_size="1", PEER_GATE=str(gate))
    before = members(running)
    _, writer = await running.connect()
    writer.write(b"GET /gate HTTP/1.1\r\nHost: x\r\n\r\n")
    await until(lambda: not running.watchdog.mode.connections._idle)
    writer.close()
    await until(lambda: running.watchdog.limiter.inflight == 0)
    gate.touch()
    await until(lambda: running.watchdog.mode.connections._idle)
    assert {await pid(running)} == before


async def test_an_answer_without_end_that_nobody_wants_costs_the_program(
    start: Start, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processpool, "ABANDON_MOST", 0.2)
    running = await pool_of(start, until, pool_size="1")
    before = members(running)
    reader, writer = await running.connect()
    writer.write(b"GET /ticks HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n")
    assert b"200 OK" in await reader.readuntil(b"tick\n")
    writer.close()
    await until(lambda: not before & members(running))
    assert await pid(running) not in before


async def test_a_short_upload_occupies_no_program_before_it_is_complete(start: Start, until: Until) -> None:
    running = await pool_of(start, until, pool_size="1")
    before = members(running)
    reader, writer = await running.connect()
    writer.write(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 8\r\n\r\nhalf")
    await until(lambda: running.watchdog.limiter.inflight == 1)
    assert {await pid(running)} == before
    writer.write(b"half")
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
    assert await reader.readexactly(8) == b"halfhalf"
    _, leaver = await running.connect()
    leaver.write(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 8\r\n\r\nhalf")
    await until(lambda: running.watchdog.limiter.inflight == 1)
    leaver.close()
    await until(lambda: running.watchdog.limiter.inflight == 0)
    assert {await pid(running)} == before


async def test_a_client_that_leaves_in_the_middle_of_its_stream_costs_the_program(start: Start, until: Until) -> None:
    running = await pool_of(start, until, pool_size="1")
    before = members(running)
    _, writer = await running.connect()
    writer.write(b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n")
    await until(lambda: not running.watchdog.mode.connections._idle)
    writer.close()
    await until(lambda: not before & members(running))
    assert await pid(running) not in before


async def test_a_program_is_replaced_after_max_requests_and_ends_in_order(
    start: Start, until: Until, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processpool, "EXIT_GRACE", DEADLINE)
    farewell = tmp_path / "farewell"
    running = await pool_of(
        start, until, pool_size="1", max_requests="3", max_requests_jitter="0", PEER_FAREWELL=str(farewell)
    )
    pids = [await pid(running) for _ in range(6)]
    assert len(set(pids[:3])) == len(set(pids[3:])) == 1
    assert pids[0] != pids[3]
    # The later one may be the first to write.
    await until(lambda: farewell.exists() and {*farewell.read_text().split()} == {str(pids[0]), str(pids[3])})


async def test_a_program_that_says_it_leaves_is_let_go_and_replaced(
    start: Start, until: Until, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(processpool, "EXIT_GRACE", DEADLINE)
    running = await pool_of(start, until, pool_size="1")
    before = members(running)
    assert (await running.call(target="/leave")).body == b"bye"
    assert await pid(running) not in before
    await until(lambda: len(running.watchdog.spawner.running) == 1)
    assert "ended" not in capfd.readouterr().err


async def test_an_idle_program_that_dies_is_replaced(start: Start, until: Until) -> None:
    running = await pool_of(start, until, pool_size="2")
    await until(lambda: len(running.watchdog.mode.connections._idle) == 2)
    victim = await pid(running)
    os.kill(victim, signal.SIGKILL)
    await until(lambda: len(running.watchdog.mode.connections._idle) == 2 and victim not in members(running))
    assert await pid(running) in members(running)


@pytest.mark.parametrize(
    ("start_with", "reason"),
    [
        ("fail", "exit status 1"),
        ("banner", "Welcome to peer"),
        ("leave", "ended before it served a request: exit status 0"),
    ],
)
async def test_a_program_that_cannot_serve_is_tried_with_pauses_and_requests_say_why(
    start: Start, until: Until, start_with: str, reason: str
) -> None:
    running = await start(fprocess=PEER, mode="afterburn", PEER_START=start_with)
    pool = running.watchdog.mode.connections
    await until(lambda: pool._backoff.next > 0.3)
    assert reason in running.watchdog.mode.unready()
    answer = await running.call()
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    assert reason in answer.body.decode()
    ready = await running.call("GET", "/_/ready")
    assert (ready.status, reason in ready.body.decode()) == (503, True)


async def test_a_missing_program_is_named(start: Start) -> None:
    running = await start(fprocess="no-such-program", mode="afterburn", PATH="/nowhere")
    answer = await running.call()
    assert answer.status == 503
    assert b"'no-such-program' was not found in PATH" in answer.body


async def test_the_reason_is_forgotten_when_the_program_works_again(start: Start, until: Until, tmp_path: Path) -> None:
    late = tmp_path / "late"
    running = await start(fprocess=str(late), mode="afterburn")
    await until(lambda: "does not exist" in running.watchdog.mode.unready())
    late.write_text(f"#!/bin/sh\nexec {PEER}\n")
    late.chmod(0o755)
    await until(lambda: not running.watchdog.mode.unready())
    assert await pid(running) in members(running)


async def test_one_that_never_answers_its_handshake_is_given_up(
    start: Start, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processpool, "HANDSHAKE_MOST", 0.2)
    running = await start(fprocess=PEER, mode="afterburn", PEER_START="silent")
    await until(lambda: "did not answer its handshake within 0.2 s" in running.watchdog.mode.unready())


async def test_requests_wait_for_the_first_program_to_start(start: Start, until: Until, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    running = await start(fprocess=PEER, mode="afterburn", PEER_START="gate", PEER_GATE=str(gate))
    assert "starting" in running.watchdog.mode.unready()
    call = asyncio.ensure_future(running.call(target="/echo", body=b"patience"))
    await until(lambda: running.watchdog.mode.connections._waiters)
    gate.touch()
    assert (await call).body == b"patience"


async def test_stderr_is_the_log(start: Start, until: Until, capfd: pytest.CaptureFixture[str]) -> None:
    running = await pool_of(start, until)
    assert (await running.call(target="/stderr")).body == b"said"
    await logged(capfd, until, "stderr: a word")


async def test_a_gigabyte_goes_to_a_slow_client_without_being_gathered(start: Start, until: Until) -> None:
    running = await pool_of(start, until, pool_size="1")
    reader, writer = await running.connect()
    writer.write(b"GET /gigabyte HTTP/1.1\r\nHost: x\r\n\r\n")
    await reader.readuntil(b"\r\n\r\n")
    connection = next(iter(running.watchdog.mode.connections._members)).connection
    await until(lambda: connection._paused)
    writer.transport.abort()
    await until(lambda: running.watchdog.limiter.inflight == 0)


async def test_programs_end_with_the_watchdog(
    start: Start, until: Until, tmp_path: Path, children: Callable[[], list[int]]
) -> None:
    farewell = tmp_path / "farewell"
    running = await pool_of(start, until, pool_size="2", PEER_FAREWELL=str(farewell))
    await until(lambda: len(running.watchdog.mode.connections._idle) == 2)
    await running.watchdog.drain()
    assert not children()


async def test_nothing_is_left_after_many_calls_of_every_kind(
    start: Start, until: Until, descriptors: Callable[[], set[str]], children: Callable[[], list[int]]
) -> None:
    running = await pool_of(start, until, pool_size="2")
    pool = running.watchdog.mode.connections
    await until(lambda: len(pool._idle) == 2)
    before = len(descriptors())
    kinds = ("/pid", "/rubbish", "/half", "/two", "/exit", "/hang", "/leave", "/late", "/echo")
    for _ in range(2):
        await asyncio.gather(*(running.call(target=kind, headers=[("X-Timeout", "2s")]) for kind in kinds))
    await until(lambda: not running.watchdog.server.connections)
    await until(lambda: len(pool._idle) == 2 and len(pool._running) == 2 and len(children()) == 2)
    await until(lambda: len(descriptors()) <= before)
    assert await pid(running) in members(running)
