"""What `up` does with a builder that makes images: pushing, deploying, and what is left out in later rounds of a watch."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from penstock.builders.model import BuildRequest, Built, Progress
from penstock.builders.plan import BuildFlags
from penstock.cli.building import BuildWish, check_fit
from penstock.cli.delivery import Delivery
from penstock.cli.target import Target
from penstock.errors import BuildFailed, NotSupported, PenstockError
from penstock.stack.model import Position, Stack, StackFunction, StackPipeline
from penstock.stack.payload import Overrides
from tests.unit.cli.support import Answer, ScriptedGateway, answer_json


class Engine:
    """A builder of images that only notes what it was asked for."""

    name = "docker"
    makes_images = True

    def __init__(self) -> None:
        self.done: list[str] = []

    def build(self, request: BuildRequest, progress: Progress) -> Built:
        self.done.append(f"build {request.image}")
        return Built(function=request.function.name, image=request.image)

    def push(self, image: str, progress: Progress) -> None:
        self.done.append(f"push {image}")
        if "refused" in image:
            raise BuildFailed("the registry refuses it", "denied: requested access\n")

    def cancel(self) -> None:
        raise AssertionError("nothing interrupts this")


def function(name: str, image: str) -> StackFunction:
    return StackFunction(name=name, where=Position("stack.yml", 1), lang="dockerfile", handler=".", image=image)


def delivery(engine: Engine, url: str, *, push: bool = True, deploy: bool = True) -> Delivery:
    return Delivery(
        target=Target(url=url),
        wish=BuildWish(builder="docker", parallel=1, quiet=False, flags=BuildFlags()),
        builder=engine,
        over=Overrides(),
        strategy="update",
        wait=False,
        push=push,
        deploy=deploy,
    )


STACK = Stack(file="stack.yml", functions=(function("one", "acme/one"), function("two", "two:2")))


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_images_with_a_registry_are_pushed_and_all_are_deployed(
    gateway: ScriptedGateway, capsys: pytest.CaptureFixture[str]
) -> None:
    gateway.on("PUT /system/functions", Answer(202))
    engine = Engine()
    delivery(engine, gateway.url).deliver(STACK)
    assert engine.done == ["build acme/one:latest", "build two:2", "push acme/one:latest"]
    deployed = sorted(json.loads(request.body)["image"] for request in gateway.requests)
    assert deployed == ["acme/one:latest", "two:2"]
    told = capsys.readouterr().err
    assert "no registry or account is named: two:2" in told
    assert f"2 functions are up at {gateway.url}: 2 built, 0 unchanged" in told


def test_what_could_not_be_pushed_is_not_deployed(gateway: ScriptedGateway, capsys: pytest.CaptureFixture[str]) -> None:
    gateway.on("PUT /system/functions", Answer(202))
    stack = Stack(file="stack.yml", functions=(function("bad", "acme/refused"), function("good", "acme/good")))
    with pytest.raises(PenstockError, match=r"1 of 2 functions failed \(deployed: good; failed: bad\)"):
        delivery(Engine(), gateway.url).deliver(stack)
    assert [json.loads(request.body)["service"] for request in gateway.requests] == ["good"]
    assert "bad: the registry refuses it\n    denied: requested access\n" in capsys.readouterr().err


def test_without_push_and_without_deploy() -> None:
    engine = Engine()
    delivery(engine, "http://127.0.0.1:1", push=False, deploy=False).deliver(STACK)
    assert engine.done == ["build acme/one:latest", "build two:2"]


@pytest.mark.parametrize(
    ("provider", "url", "words"),
    [
        ("penstock-process", "http://127.0.0.1:8080", "runs programs, not images"),
        ("penstock-docker", "http://127.0.0.1:8080", ""),
        (None, "http://example.com", ""),
    ],
)
def test_images_fit_gateways_that_run_them(provider: str | None, url: str, words: str) -> None:
    if not words:
        check_fit(Engine(), provider, Target(url=url))
        return
    with pytest.raises(NotSupported, match=words):
        check_fit(Engine(), provider, Target(url=url))


@pytest.mark.parametrize(
    ("provider", "url", "words"),
    [
        ("penstock-process", "http://127.0.0.1:8080", ""),
        ("penstock-docker", "http://127.0.0.1:8080", "runs images"),
        ("penstock-process", "http://example.com", "is on another"),
    ],
)
def test_native_builds_fit_a_gateway_of_this_machine(provider: str, url: str, words: str) -> None:
    native = Engine()
    native.makes_images = False
    if not words:
        check_fit(native, provider, Target(url=url))
        return
    with pytest.raises(NotSupported, match=words):
        check_fit(native, provider, Target(url=url))


# What runs as it is wanted

PROGRAM = {"name": "f", "envProcess": "cat", "replicas": 1, "availableReplicas": 1, "labels": {"faas_function": "f"}}
PINNED = "acme/f@sha256:" + "0" * 64


def up(gateway: ScriptedGateway, status: dict[str, Any], *, force: bool = False, **keys: Any) -> list[str]:
    """What the gateway is asked for when a function with these keys is brought up, and it has one with that status."""
    gateway.requests.clear()
    gateway.on("GET /system/function/f", answer_json(status))
    gateway.on("PUT /system/functions", Answer(202))
    wanted = StackFunction(name="f", where=Position("stack.yml", 1), **keys)
    delivered = dataclasses.replace(delivery(Engine(), gateway.url), force=force)
    delivered.deliver(Stack(file="stack.yml", functions=(wanted,)))
    return [request.method for request in gateway.requests]


def test_what_runs_as_it_is_wanted_is_left_alone_and_said_so(
    gateway: ScriptedGateway, capsys: pytest.CaptureFixture[str]
) -> None:
    assert up(gateway, PROGRAM, fprocess="cat") == ["GET"]
    told = capsys.readouterr()
    assert told.out == f"Deploying: f.\n\nUnchanged, left as it is.\nURL: {gateway.url}/function/f\n\n"
    assert "0 built, 0 unchanged; 0 deployed, 1 left alone" in told.err
    assert up(gateway, {**PROGRAM, "replicas": 0, "availableReplicas": 0}, fprocess="cat") == ["GET"]
    assert up(gateway, {"name": "f", "image": PINNED, "availableReplicas": 1, "replicas": 1}, image=PINNED) == ["GET"]


@pytest.mark.parametrize(
    "status",
    [
        {**PROGRAM, "envProcess": "tac"},
        {**PROGRAM, "labels": {"more": "1"}},
        {**PROGRAM, "envVars": {"A": "1"}},
        {**PROGRAM, "availableReplicas": 0},
        {**PROGRAM, "instances": [{"id": "1", "state": "backoff", "reason": "it fell over"}]},
    ],
    ids=["program", "label", "variable", "not ready", "in trouble"],
)
def test_what_runs_otherwise_is_deployed(gateway: ScriptedGateway, status: dict[str, Any]) -> None:
    assert up(gateway, status, fprocess="cat") == ["GET", "PUT"]


@pytest.mark.parametrize(
    "keys",
    [{"image": "acme/f:1"}, {"fprocess": "serve", "environment": {"mode": "http"}}],
    ids=["behind a tag", "a program that stays"],
)
def test_what_may_have_changed_unseen_is_deployed(gateway: ScriptedGateway, keys: dict[str, Any]) -> None:
    status = {
        "name": "f", "replicas": 1, "availableReplicas": 1, "image": keys.get("image", ""),
        "envProcess": keys.get("fprocess", ""), "envVars": keys.get("environment", {}),
    }  # fmt: skip
    assert up(gateway, status, **keys) == ["PUT"]


def test_by_force_all_are_deployed(gateway: ScriptedGateway) -> None:
    assert up(gateway, PROGRAM, fprocess="cat", force=True) == ["PUT"]


@pytest.mark.parametrize(
    ("functions", "pipelines", "told"),
    [
        (1, 1, "1 function and 1 pipeline are up at"),
        (2, 3, "2 functions and 3 pipelines are up at"),
        (0, 1, "1 pipeline is up at"),
        (0, 2, "2 pipelines are up at"),
    ],
)
def test_pipelines_are_deployed_after_functions_and_counted(
    gateway: ScriptedGateway, capsys: pytest.CaptureFixture[str], functions: int, pipelines: int, told: str
) -> None:
    gateway.on("PUT /system/functions", Answer(202))
    where = Position("stack.yml", 1)
    stack = Stack(
        file="stack.yml",
        functions=tuple(StackFunction(name=f"f{n}", where=where, fprocess="cat") for n in range(functions)),
        pipelines=tuple(StackPipeline(name=f"p{n}", where=where, stages=("f0",)) for n in range(pipelines)),
    )
    delivery(Engine(), gateway.url).deliver(stack)
    sent = [json.loads(request.body)["service"] for request in gateway.requests if request.method == "PUT"]
    assert sorted(sent[:functions]) == [f"f{n}" for n in range(functions)]
    assert sorted(sent[functions:]) == [f"p{n}" for n in range(pipelines)]
    assert told in capsys.readouterr().err
