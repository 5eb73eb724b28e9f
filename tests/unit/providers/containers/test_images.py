"""Making images present, against an engine of which only the answers about images are played."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from collections.abc import AsyncGenerator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest

from penstock.errors import InvalidInput, ProviderUnavailable
from penstock.providers.containers.engine import Engine, EngineRefused
from penstock.providers.containers.images import Images, ImageUnavailable, PullPolicy

NAME = "r:5000/echo:1"
DIGEST = "sha256:" + "0" * 64
NOWHERE = {"DOCKER_CONFIG": "/nonexistent"}
Document = dict[str, Any]


class Registry:
    """An engine that has some images, and gets one by a pull that goes on when the test says so."""

    def __init__(
        self, *present: str, answer: list[Document] | EngineRefused | ProviderUnavailable | None = None
    ) -> None:
        self.present = set(present)
        self.answer = [] if answer is None else answer
        self.pulls: list[dict[str, Any]] = []
        self.ended = 0
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def get(self, path: str, **params: Any) -> Any:
        if path == "/version":
            return {"Os": "linux", "Arch": "amd64"}
        name = path.removeprefix("/images/").removesuffix("/json")
        if name not in self.present:
            raise EngineRefused(404, f"No such image: {name}")
        return {"Id": "sha256:1", "Os": "linux", "Architecture": "amd64", "Config": {"Cmd": ["cat"]}}

    async def documents(
        self, path: str, method: str = "GET", *, auth: str = "", **params: Any
    ) -> AsyncGenerator[Document, None]:
        self.pulls.append({"path": path, "method": method, "auth": auth, **params})
        try:
            yield {"status": "Pulling fs layer", "id": "a"}
            await self.go_on.wait()
            if isinstance(self.answer, Exception):
                raise self.answer
            for document in self.answer:
                yield document
            separator = "@" if params["tag"].startswith("sha256:") else ":"
            self.present.add(f"{params['fromImage']}{separator}{params['tag']}")
        finally:
            self.ended += 1


class Hasty:
    """A clock on which every sleep is over at once."""

    def __init__(self) -> None:
        self.slept = list[float]()

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return sum(self.slept)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await asyncio.sleep(0)


def images_of(
    registry: Registry, policy: PullPolicy = "missing", environ: dict[str, str] | None = None, **given: Any
) -> Images:
    return Images(cast("Engine", registry), policy, NOWHERE if environ is None else environ, **given)


def silent(words: str) -> None:
    pass


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - states of several parts are waited for, not events
            await asyncio.sleep(0)


# Policies


@pytest.mark.parametrize("policy", ["missing", "never"])
async def test_an_image_that_is_present_is_not_pulled(policy: PullPolicy) -> None:
    registry = Registry(NAME)
    facts = await images_of(registry, policy).ensure(NAME, silent)
    assert (facts.reference, facts.command, registry.pulls) == (NAME, ("cat",), [])


async def test_an_image_that_is_missing_is_pulled() -> None:
    registry = Registry()
    assert (await images_of(registry).ensure(NAME, silent)).command == ("cat",)
    assert registry.pulls == [
        {"path": "/images/create", "method": "POST", "auth": "", "fromImage": "r:5000/echo", "tag": "1"}
    ]


async def test_a_name_without_a_tag_means_one_image_and_not_all_of_them() -> None:
    registry = Registry()
    await images_of(registry).ensure("echo", silent)
    assert registry.pulls[0]["tag"] == "latest"


async def test_never_means_never() -> None:
    registry = Registry()
    with pytest.raises(ImageUnavailable, match=r"image r:5000/echo:1 is not on the engine.*--pull missing") as error:
        await images_of(registry, "never").ensure(NAME, silent)
    assert (error.value.cause, registry.pulls) == ("missing", [])


async def test_always_pulls_what_is_present() -> None:
    registry = Registry(NAME)
    await images_of(registry, "always").ensure(NAME, silent)
    assert len(registry.pulls) == 1


async def test_what_is_named_by_its_digest_is_pulled_once() -> None:
    registry, name = Registry(), f"r:5000/echo:1@{DIGEST}"
    images = images_of(registry, "always")
    await images.ensure(name, silent)
    await images.ensure(name, silent)
    assert [pull["tag"] for pull in registry.pulls] == [DIGEST]


@pytest.mark.parametrize("message", ["dial tcp: connection refused", "toomanyrequests: limit"])
async def test_always_uses_the_present_image_when_the_registry_is_out_of_reach(
    message: str, caplog: pytest.LogCaptureFixture
) -> None:
    registry = Registry(NAME, answer=EngineRefused(500, message))
    with caplog.at_level(logging.WARNING):
        assert (await images_of(registry, "always").ensure(NAME, silent)).reference == NAME
    assert "the image that is present is used" in caplog.text


async def test_always_does_not_use_the_present_image_when_the_registry_refuses() -> None:
    registry = Registry(NAME, answer=EngineRefused(500, "unauthorized: authentication required"))
    with pytest.raises(ImageUnavailable):
        await images_of(registry, "always").ensure(NAME, silent)


@pytest.mark.parametrize("name", ["", "../info", "a b", "http://x/y"])
async def test_what_cannot_name_an_image_reaches_no_engine(name: str) -> None:
    registry = Registry()
    with pytest.raises(InvalidInput):
        await images_of(registry).ensure(name, silent)
    assert registry.pulls == []


# Failures


@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        (EngineRefused(404, "manifest for r:5000/echo:1 not found: manifest unknown"), "missing"),
        (EngineRefused(500, 'Get "http://r:5000/v2/": dial tcp: connect: connection refused'), "unreachable"),
        ([{"errorDetail": {}, "error": "write /x: no space left on device"}], "space"),
        ([{"error": "no matching manifest for linux/amd64 in the manifest list entries"}], "platform"),
        ([{"error": {"odd": 1}}], "other"),
    ],
)
async def test_a_pull_fails_in_words(answer: Any, cause: str) -> None:
    registry = Registry(answer=answer)
    with pytest.raises(ImageUnavailable, match=r"^image r:5000/echo:1 cannot be pulled: ") as error:
        await images_of(registry).ensure(NAME, silent)
    assert error.value.cause == cause


async def test_the_machines_platform_is_told_when_the_image_is_for_others() -> None:
    registry = Registry(answer=[{"error": "no matching manifest for linux/amd64"}])
    with pytest.raises(ImageUnavailable, match="build it for linux/amd64"):
        await images_of(registry).ensure(NAME, silent)


async def test_an_engine_that_goes_away_is_no_fault_of_the_image() -> None:
    registry = Registry(answer=ProviderUnavailable("gone"))
    with pytest.raises(ProviderUnavailable):
        await images_of(registry).ensure(NAME, silent)


async def test_an_image_that_is_removed_at_once_is_told() -> None:
    class Forgetful(Registry):
        async def get(self, path: str, **params: Any) -> Any:
            raise EngineRefused(404, "No such image")

    with pytest.raises(ImageUnavailable, match="was removed"):
        await images_of(Forgetful()).ensure(NAME, silent)


async def test_trouble_of_the_engine_is_not_taken_for_a_missing_image() -> None:
    class Broken(Registry):
        async def get(self, path: str, **params: Any) -> Any:
            raise EngineRefused(500, "layer does not exist")

    registry = Broken()
    with pytest.raises(EngineRefused):
        await images_of(registry).ensure(NAME, silent)
    assert registry.pulls == []


async def test_a_pull_that_says_nothing_any_more_is_given_up() -> None:
    registry = Registry()
    registry.go_on.clear()
    with pytest.raises(ImageUnavailable, match=r"no progress for 0\.05 s"):
        await images_of(registry, silence=0.05).ensure(NAME, silent)
    assert registry.ended == 1


async def test_a_failed_pull_is_tried_anew_by_the_next_who_asks() -> None:
    registry = Registry(answer=EngineRefused(500, "connection refused"))
    images = images_of(registry)
    with pytest.raises(ImageUnavailable):
        await images.ensure(NAME, silent)
    registry.answer = []
    assert (await images.ensure(NAME, silent)).reference == NAME


# Waiting together


async def test_all_who_want_an_image_share_one_pull() -> None:
    registry = Registry()
    registry.go_on.clear()
    images, said = images_of(registry, clock=Hasty()), [list[str](), list[str]()]
    waiting = [asyncio.create_task(images.ensure(NAME, words.append)) for words in said]
    await until(lambda: all(words and "layers" in words[-1] for words in said))
    registry.go_on.set()
    assert [facts.reference for facts in await asyncio.gather(*waiting)] == [NAME, NAME]
    assert len(registry.pulls) == 1
    assert said[0][-1] == said[1][-1] == "pulling r:5000/echo:1: 0 of 1 layers"


async def test_different_images_are_pulled_at_the_same_time() -> None:
    registry = Registry()
    registry.go_on.clear()
    images = images_of(registry)
    waiting = [asyncio.create_task(images.ensure(name, silent)) for name in ("a:1", "b:1")]
    await until(lambda: len(registry.pulls) == 2)
    registry.go_on.set()
    await asyncio.gather(*waiting)


async def test_who_comes_late_is_told_at_once_how_far_it_is() -> None:
    registry = Registry()
    registry.go_on.clear()
    images, said = images_of(registry, clock=Hasty()), list[str]()
    first = asyncio.create_task(images.ensure(NAME, said.append))
    await until(lambda: bool(said) and "layers" in said[-1])
    late = list[str]()
    second = asyncio.create_task(images.ensure(NAME, late.append))
    await until(lambda: bool(late))
    assert late == ["pulling r:5000/echo:1: 0 of 1 layers"]
    registry.go_on.set()
    await asyncio.gather(first, second)


async def test_one_who_gives_up_leaves_the_pull_to_the_others() -> None:
    registry = Registry()
    registry.go_on.clear()
    images = images_of(registry)
    impatient, patient = (asyncio.create_task(images.ensure(NAME, silent)) for _ in range(2))
    await until(lambda: len(registry.pulls) == 1)
    impatient.cancel()
    await asyncio.wait([impatient])
    assert registry.ended == 0
    registry.go_on.set()
    assert (await patient).reference == NAME


async def test_a_pull_that_nobody_waits_for_ends() -> None:
    registry = Registry()
    registry.go_on.clear()
    images = images_of(registry)
    waiting = [asyncio.create_task(images.ensure(NAME, silent)) for _ in range(2)]
    await until(lambda: len(registry.pulls) == 1)
    for task in waiting:
        task.cancel()
    await asyncio.wait(waiting)
    assert registry.ended == 1


async def test_who_comes_after_a_pull_was_given_up_begins_anew() -> None:
    registry = Registry()
    registry.go_on.clear()
    images = images_of(registry)
    impatient = asyncio.create_task(images.ensure(NAME, silent))
    await until(lambda: len(registry.pulls) == 1)
    impatient.cancel()
    patient = asyncio.create_task(images.ensure(NAME, silent))
    registry.go_on.set()
    assert (await patient).reference == NAME
    assert (len(registry.pulls), impatient.cancelled()) == (2, True)


async def test_a_failure_reaches_all_who_wait() -> None:
    registry = Registry(answer=EngineRefused(404, "manifest unknown"))
    registry.go_on.clear()
    images = images_of(registry)
    waiting = [asyncio.create_task(images.ensure(NAME, silent)) for _ in range(3)]
    await until(lambda: len(registry.pulls) == 1)
    registry.go_on.set()
    ended = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(error) for error in ended] == [ImageUnavailable] * 3


async def test_progress_is_told_once_a_second() -> None:
    registry, clock, said = Registry(), Hasty(), list[str]()
    registry.go_on.clear()
    waiting = asyncio.create_task(images_of(registry, clock=clock).ensure(NAME, said.append))
    await until(lambda: len(clock.slept) > 3)
    registry.go_on.set()
    await waiting
    assert set(clock.slept) == {1.0}
    assert said[-1] == "pulling r:5000/echo:1: 0 of 1 layers"
    assert len(said) == len(set(said))


async def test_nothing_is_told_any_more_when_a_pull_has_ended() -> None:
    clock, said = Hasty(), list[str]()
    await images_of(Registry(), clock=clock).ensure(NAME, said.append)
    slept, told = len(clock.slept), len(said)
    for _ in range(5):
        await asyncio.sleep(0)
    assert (len(clock.slept), len(said)) == (slept, told)


# Registries


async def test_a_login_is_sent_with_the_pull(tmp_path: Path) -> None:
    auth = base64.b64encode(b"ann:x").decode()
    (tmp_path / "config.json").write_text(json.dumps({"auths": {"r:5000": {"auth": auth}}}))
    registry = Registry()
    images = images_of(registry, environ={"DOCKER_CONFIG": str(tmp_path)})
    await images.ensure(NAME, silent)
    assert registry.pulls[0]["auth"] == await images.auth_for(NAME) != ""
    assert await images.auth_for("ghcr.io/a/b") == ""


async def test_facts_are_those_of_what_is_present() -> None:
    images = images_of(Registry(NAME))
    present = await images.facts(NAME)
    assert present is not None
    assert present.id == "sha256:1"
    assert await images.facts("other") is None
