"""How pods are asked until they have answered once."""

from __future__ import annotations

from penstock.core.health import Check
from penstock.providers.kubernetes.arrivals import SLOW, Arrivals, Question
from penstock.testing.clock import FakeClock

LIFE = ("uid-1", 0)


class Port:
    """A port that says what a test lets it say, and counts how often it was asked."""

    def __init__(self) -> None:
        self.said: bool | str = False
        self.asked = 0
        self.changes = 0
        self.clock = FakeClock()
        self.arrivals = Arrivals(self._answer, self.clock, self._changed)

    async def _answer(self, address: str, check: Check) -> bool | str:
        self.asked += 1
        return self.said

    def _changed(self) -> None:
        self.changes += 1

    def want(self, delay: float = 0.0) -> None:
        self.arrivals.want({LIFE: Question("10.0.0.1:8080", Check(), delay)})


async def test_a_pod_is_asked_until_it_answers_and_then_no_more() -> None:
    port = Port()
    port.want()
    await port.clock.advance(1.0)
    assert not port.arrivals.answered(LIFE)
    assert port.arrivals.words(LIFE) == "its port does not answer"
    port.said = True
    await port.clock.advance(SLOW)
    assert port.arrivals.answered(LIFE)
    asked = port.asked
    await port.clock.advance(60.0)
    assert port.asked == asked


async def test_it_is_asked_often_at_first_and_twice_a_second_later() -> None:
    port = Port()
    port.want()
    await port.clock.advance(0.1)
    assert port.asked >= 4
    await port.clock.advance(60.0)
    before = port.asked
    await port.clock.advance(10.0)
    assert port.asked - before == 10 / SLOW
    port.arrivals.close()


async def test_the_same_words_are_told_once() -> None:
    port = Port()
    port.said = "it is loading"
    port.want()
    await port.clock.advance(5.0)
    assert (port.changes, port.arrivals.words(LIFE)) == (1, "it is loading")
    port.arrivals.close()


async def test_it_is_left_alone_for_its_initial_delay() -> None:
    port = Port()
    port.want(delay=5.0)
    await port.clock.advance(4.9)
    assert port.asked == 0
    await port.clock.advance(0.2)
    assert port.asked > 0
    port.arrivals.close()


async def test_a_pod_that_is_of_no_interest_any_more_is_forgotten() -> None:
    port = Port()
    port.said = True
    port.want()
    await port.clock.settle()
    assert port.arrivals.answered(LIFE)
    port.arrivals.want({})
    assert not port.arrivals.answered(LIFE)
