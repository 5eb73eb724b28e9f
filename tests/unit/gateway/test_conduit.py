"""Bytes between two stages: kept until somebody takes them, and no more of them than a bound."""

from __future__ import annotations

from typing import cast

from penstock.gateway.conduit import CONDUIT_HIGH, Conduit, StageExchange


class Writer:
    """The stage before: remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[bool] = []

    def writable(self, ready: bool) -> None:
        self.told.append(ready)


class Reader:
    """The stage after."""

    def __init__(self) -> None:
        self.data = b""
        self.ended = False

    def body(self, data: bytes) -> None:
        assert not self.ended
        self.data += data

    def body_end(self) -> None:
        self.ended = True

    def client_gone(self) -> None: ...
    def writable(self, ready: bool) -> None: ...


def between() -> tuple[Writer, Conduit, Reader]:
    writer = Writer()
    return writer, Conduit(cast(StageExchange, writer)), Reader()


def test_what_comes_before_the_reader_is_kept_for_it() -> None:
    writer, conduit, reader = between()
    conduit.write(b"one ")
    conduit.write(b"two ")
    conduit.attach(reader)
    conduit.write(b"three")
    assert (reader.data, reader.ended) == (b"one two three", False)
    conduit.finish()
    assert reader.ended
    assert writer.told == []


def test_all_of_it_can_be_taken_at_once() -> None:
    _, conduit, reader = between()
    conduit.write(b"whole")
    conduit.finish()
    before, taken, after = conduit.drained, conduit.take(), conduit.drained
    assert (before, taken, after) == (False, b"whole", True)
    conduit.attach(reader)
    assert (reader.data, reader.ended) == (b"", True)


def test_the_writer_is_held_back_while_nobody_reads_and_goes_on_with_a_reader() -> None:
    writer, conduit, reader = between()
    conduit.write(b"x" * CONDUIT_HIGH)
    assert writer.told == []
    conduit.write(b"y")
    conduit.write(b"z")
    assert writer.told == [False]
    conduit.attach(reader)
    assert writer.told == [False, True]
    assert len(reader.data) == CONDUIT_HIGH + 2


def test_a_reader_that_is_full_holds_back_the_writer_once() -> None:
    writer, conduit, reader = between()
    conduit.attach(reader)
    conduit.pause()
    conduit.pause()
    conduit.resume()
    conduit.resume()
    assert writer.told == [False, True]


def test_it_ends_once() -> None:
    _, conduit, reader = between()
    conduit.attach(reader)
    conduit.finish()
    reader.ended = False
    conduit.finish()
    assert not reader.ended


def test_a_reader_that_gave_up_gets_nothing_more_and_the_next_one_does() -> None:
    _, conduit, first = between()
    conduit.attach(first)
    conduit.detach()
    conduit.write(b"late")
    assert first.data == b""
    second = Reader()
    conduit.attach(second)
    assert second.data == b"late"
