"""What annotations mean, and which are refused."""

from __future__ import annotations

import pytest

from penstock.core.health import Check, Plan, check_health, liveness_of, readiness_of
from penstock.errors import InvalidInput
from penstock.model import FunctionSpec

HEALTH = "com.openfaas.health.http."
READY = "com.openfaas.ready.http."
IMAGE_AS_IT_IS = Check(passes="any")


def spec(**annotations: str) -> FunctionSpec:
    """`health_path="/x"` becomes `com.openfaas.health.http.path: /x`."""
    named = {name.replace("health_", HEALTH).replace("ready_", READY): text for name, text in annotations.items()}
    return FunctionSpec(name="f", annotations=named)


def test_without_annotations_only_the_runtimes_own_check_is_asked_until_it_passes() -> None:
    plain = FunctionSpec(name="f", annotations={"topic": "x", "com.openfaas.scale.min": "1"})
    check_health(plain)
    assert liveness_of(plain) is None
    assert readiness_of(plain) == Plan(repeated=False)
    assert readiness_of(plain).ready_check(Check()) == Check(path="/_/ready", timeout=2.0, passes="success")
    assert readiness_of(plain).ready_check(IMAGE_AS_IT_IS) == IMAGE_AS_IT_IS


def test_every_annotation_is_read() -> None:
    asked = spec(
        health_path="/live?deep=1",
        health_initialDelaySeconds="30",
        health_periodSeconds="10",
        health_timeoutSeconds="5",
        health_failureThreshold="2",
        ready_path="/ready",
        ready_initialDelaySeconds="1",
        ready_periodSeconds="4",
        ready_timeoutSeconds="3",
        ready_successThreshold="2",
        ready_failureThreshold="6",
    )
    check_health(asked)
    assert liveness_of(asked) == Plan(path="/live?deep=1", initial_delay=30, period=10, timeout=5, failures=2)
    assert readiness_of(asked) == Plan(
        path="/ready", initial_delay=1, period=4, timeout=3, successes=2, failures=6, repeated=True
    )


def test_durations_may_have_units_and_the_older_spelling() -> None:
    asked = spec(health_initialDelay="1m30s", health_periodSeconds="1s", health_timeout="500ms")
    check_health(asked)
    assert liveness_of(asked) == Plan(initial_delay=90, period=1, timeout=0.5)


def test_defaults_are_those_of_the_original_but_for_the_delay() -> None:
    assert liveness_of(spec(health_path="/x")) == Plan(path="/x", initial_delay=0, period=2, timeout=1, failures=3)


def test_readiness_asks_the_health_path_by_default_but_not_the_watchdogs() -> None:
    assert readiness_of(spec(health_path="/healthz")) == Plan(path="/healthz", timeout=1, repeated=False)
    assert readiness_of(spec(health_path="/healthz", ready_periodSeconds="5")).path == "/healthz"
    assert readiness_of(spec(health_path="/_/health")) == Plan(repeated=False)
    assert readiness_of(spec(health_path="/_/health", ready_path="/_/health")).path == "/_/health"


def test_liveness_without_a_path_asks_the_watchdog_and_takes_any_answer_of_an_image_without_one() -> None:
    plan = liveness_of(spec(health_periodSeconds="5"))
    assert plan is not None
    assert plan.live_check(Check()) == Check(path="/_/health", timeout=1, passes="alive")
    assert plan.live_check(IMAGE_AS_IT_IS) == Check(path="/_/health", timeout=1, passes="any")


def test_an_annotated_path_must_succeed_whatever_the_image() -> None:
    asked = spec(health_path="/live", ready_path="/ready")
    plan = liveness_of(asked)
    assert plan and plan.live_check(IMAGE_AS_IT_IS) == Check(path="/live", timeout=1, passes="alive")
    assert readiness_of(asked).ready_check(IMAGE_AS_IT_IS) == Check(path="/ready", timeout=1, passes="success")


@pytest.mark.parametrize("family", [HEALTH, READY])
@pytest.mark.parametrize(
    "path",
    [
        "",
        "ready",
        "http://elsewhere/",
        " /ready",
        "/rea dy",
        "/x\r\nHost: y",
        "/x\n",
        "/x\x00",
        "/x\x7f",
        "/\t",
        "/é",
        "/日本",
        "/\udcff",
        "/x#y",
        "/" * 1025,
        "/" * 1_000_000,
    ],
)
def test_hostile_paths_are_refused(family: str, path: str) -> None:
    with pytest.raises(
        InvalidInput, match=r"^annotations: com\.openfaas\.\w+\.http\.path=.* must begin with '/'"
    ) as caught:
        check_health(FunctionSpec(name="f", annotations={family + "path": path}))
    assert len(str(caught.value)) < 600 and str(caught.value).isprintable()


@pytest.mark.parametrize("family", [HEALTH, READY])
@pytest.mark.parametrize("name", ["initialDelaySeconds", "periodSeconds", "timeoutSeconds", "initialDelay", "period"])
@pytest.mark.parametrize(
    "text",
    [
        "",
        "-1",
        "-1s",
        "soon",
        "1 s",
        "1e9",
        "86401",
        "25h",
        "9" * 30,
        "9" * 5000,
        "nan",
        "inf",
        "\uff11",
        "1\n",
        "0x10",
    ],
)
def test_hostile_durations_are_refused(family: str, name: str, text: str) -> None:
    with pytest.raises(InvalidInput, match=rf"^annotations: {family}{name}=.* must be seconds") as caught:
        check_health(FunctionSpec(name="f", annotations={family + name: text}))
    assert len(str(caught.value)) < 300 and str(caught.value).isprintable()


@pytest.mark.parametrize("name", ["periodSeconds", "timeoutSeconds"])
@pytest.mark.parametrize("text", ["0", "0s", "99ms", "1ns"])
def test_a_period_or_timeout_of_next_to_nothing_is_refused(name: str, text: str) -> None:
    with pytest.raises(InvalidInput, match="from 100ms to 24h"):
        check_health(FunctionSpec(name="f", annotations={READY + name: text}))


@pytest.mark.parametrize("name", ["successThreshold", "failureThreshold"])
@pytest.mark.parametrize("text", ["", "0", "-1", "1.5", "1001", "9" * 5000, "three", "\uff13", " 3", "1s"])
def test_hostile_counts_are_refused(name: str, text: str) -> None:
    with pytest.raises(InvalidInput, match=rf"^annotations: {READY}{name}=.* must be a whole number from 1 to 1000"):
        check_health(FunctionSpec(name="f", annotations={READY + name: text}))


def test_one_success_is_enough_to_live() -> None:
    check_health(spec(health_successThreshold="1"))
    with pytest.raises(InvalidInput, match="successThreshold must be 1"):
        check_health(spec(health_successThreshold="2"))


@pytest.mark.parametrize(
    "name",
    [
        HEALTH + "paht",
        READY + "path.",
        READY,
        "com.openfaas.health.path",
        "com.openfaas.ready.initialDelaySeconds",
        HEALTH + "x" * 100_000,
    ],
)
def test_unknown_annotations_of_the_families_are_refused(name: str) -> None:
    with pytest.raises(InvalidInput, match=r"is unknown, use com\.openfaas\.health\.http\.\*") as caught:
        check_health(FunctionSpec(name="f", annotations={name: "/x"}))
    assert len(str(caught.value)) < 400


def test_two_spellings_of_one_thing_are_refused() -> None:
    with pytest.raises(InvalidInput, match="mean the same"):
        check_health(spec(ready_period="1s", ready_periodSeconds="2"))
