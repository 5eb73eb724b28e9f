"""Ports that are asked until they answer."""

from __future__ import annotations

from penstock.core.health import Check
from penstock.providers.swarm.probing import Prober, Target
from penstock.providers.swarm.tasks import Verdict
from penstock.testing.clock import FakeClock
from tests.unit.providers.swarm.samples import spec


class Port:
    """Answers as it is told, and remembers how it was asked."""

    def __init__(self, answer: bool | str = "its port is not open yet") -> None:
        self.answer: bool | str = answer
        self.asked: list[tuple[str, Check]] = []

    async def __call__(self, address: str, check: Check) -> bool | str:
        self.asked.append((address, check))
        return self.answer


def made(port: Port) -> tuple[Prober, FakeClock, list[str]]:
    clock, changes = FakeClock(), list[str]()
    prober = Prober(port, clock, lambda: changes.append("changed"), lambda task: changes.append(f"{task} is ill"))
    return prober, clock, changes


def target(address: str = "a:1", lenient: bool = False, readiness: dict[str, str] | None = None) -> Target:
    annotations = {f"com.openfaas.ready.http.{name}": value for name, value in (readiness or {}).items()}
    return Target(address, spec(annotations=annotations), lenient)


def ready(prober: Prober) -> bool:
    return prober.verdicts["t"].ready


async def test_a_port_is_asked_until_it_answers_and_then_left_alone() -> None:
    port = Port()
    prober, clock, changes = made(port)
    prober.want({"t": target()})
    await clock.advance(1)
    assert prober.verdicts == {"t": Verdict("a:1", False, "its port is not open yet")}
    port.answer = True
    await clock.advance(1)
    assert prober.verdicts == {"t": Verdict("a:1", True)}
    asked = len(port.asked)
    await clock.advance(60)
    assert len(port.asked) == asked
    assert changes == ["changed", "changed"]
    prober.close()


async def test_an_image_without_watchdog_is_asked_leniently() -> None:
    port = Port(True)
    prober, clock, _ = made(port)
    prober.want({"t": target(lenient=True), "u": target("a:2")})
    await clock.settle()
    assert {address: check.passes for address, check in port.asked} == {"a:1": "any", "a:2": "success"}
    prober.close()


async def test_the_path_of_annotations_is_asked() -> None:
    port = Port(True)
    prober, clock, _ = made(port)
    prober.want({"t": target(readiness={"path": "/up"})})
    await clock.settle()
    assert port.asked[0][1].path == "/up"
    prober.close()


async def test_a_readiness_check_that_fails_again_and_again_takes_it_out_and_back() -> None:
    port = Port(True)
    prober, clock, _ = made(port)
    prober.want({"t": target(readiness={"path": "/up", "periodSeconds": "1"})})
    await clock.advance(1)
    assert prober.verdicts["t"].ready
    port.answer = "it is tired"
    await clock.advance(1)
    assert prober.verdicts["t"].ready
    await clock.advance(3)
    assert prober.verdicts["t"] == Verdict("a:1", False, "it is tired")
    port.answer = True
    await clock.advance(1)
    assert prober.verdicts["t"].ready
    prober.close()


ALIVE = {"com.openfaas.health.http.path": "/alive", "com.openfaas.health.http.periodSeconds": "1"}


async def test_a_task_that_is_ill_is_told_of_once_and_never_ready_again() -> None:
    port = Port(True)
    prober, clock, changes = made(port)
    prober.want({"t": Target("a:1", spec(annotations=ALIVE), lenient=False)})
    await clock.advance(2.5)
    assert port.asked[-1][1].path == "/alive"
    port.answer = "it hangs"
    await clock.advance(2)
    assert ready(prober)
    await clock.advance(1)
    assert prober.verdicts["t"] == Verdict("a:1", False, "its health check failed: it hangs")
    port.answer = True
    await clock.advance(60)
    assert not ready(prober)
    assert changes.count("t is ill") == 1
    prober.close()


async def test_whose_liveness_is_seen_to_is_not_asked() -> None:
    port = Port(True)
    prober, clock, _ = made(port)
    prober.want({"t": Target("a:1", spec(annotations=ALIVE), lenient=False, guarded=True)})
    await clock.advance(60)
    assert len(port.asked) == 1
    prober.close()


async def test_what_is_doubted_is_ready_until_it_answers_otherwise() -> None:
    port = Port(True)
    prober, clock, changes = made(port)
    prober.want({"t": target()})
    await clock.advance(1)
    prober.doubt()
    assert ready(prober)
    await clock.advance(1)
    assert ready(prober)
    assert len(changes) == 1
    port.answer = "its port is not open yet"
    prober.doubt()
    await clock.advance(1)
    assert not ready(prober)
    prober.close()


async def test_a_task_with_another_address_is_asked_anew_and_one_that_is_gone_is_forgotten() -> None:
    port = Port(True)
    prober, clock, _ = made(port)
    prober.want({"t": target()})
    await clock.settle()
    prober.want({"t": target("a:9")})
    assert prober.verdicts == {"t": Verdict("a:9")}
    await clock.settle()
    assert prober.verdicts == {"t": Verdict("a:9", True)}
    prober.want({})
    assert prober.verdicts == {}
