from __future__ import annotations

import contextlib
import socket
from pathlib import Path

import msgspec

from bench.feed import RouteFeed, frame
from penstock.gateway.messages import Route, Synced, ToWorker


def received(path: Path, count: int) -> list[ToWorker]:
    """What a worker hears after it has connected."""
    with (
        contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as worker,
        worker.makefile("rb") as stream,
    ):
        worker.settimeout(30)
        worker.connect(str(path))
        sizes = (int.from_bytes(stream.read(4), "big") for _ in range(count))
        return [msgspec.msgpack.decode(stream.read(size), type=ToWorker) for size in sizes]


def test_every_worker_is_told_all_routes_and_that_there_are_no_more(tmp_path: Path) -> None:
    routes = [Route(key="a.fn", endpoints=("unix:/s",)), Route(key="b.fn")]
    feed = RouteFeed(tmp_path / "feed.sock", routes)
    try:
        assert received(tmp_path / "feed.sock", 3) == [*routes, Synced()]
        assert received(tmp_path / "feed.sock", 3) == [*routes, Synced()]
    finally:
        feed.close()


def test_a_message_is_preceded_by_its_length() -> None:
    data = frame(Synced())
    assert int.from_bytes(data[:4], "big") == len(data) - 4
