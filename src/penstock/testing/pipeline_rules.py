"""What every provider does with named pipelines: it keeps them like functions, and runs nothing for them.

Part of `penstock.testing.provider_suite`.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Any

from penstock.errors import FunctionExists, FunctionNotFound, InvalidInput, NamespaceNotFound
from penstock.model import DEFAULT_NAMESPACE, FunctionSpec, LogQuery, Namespace, Resources
from penstock.providers.base import Holding
from penstock.testing.kit import Check, Kit, Watch, expect, expect_error


def _pipeline(name: str, *stages: str, **fields: Any) -> FunctionSpec:
    return FunctionSpec(name=name, stages=stages, **fields)


async def a_pipeline_is_reported_as_given_and_has_no_replicas(kit: Kit) -> None:
    spec = _pipeline(
        "flow",
        "sort/a?b=c",
        "uniq.elsewhere",
        labels={"com.penstock.timeout": "5s", "com.openfaas.scale.min": "2"},
        annotations={"note": "日本 ✓"},
    )
    await kit.provider.deploy(spec)
    for function in (await kit.provider.get("flow", DEFAULT_NAMESPACE), *await kit.provider.list(DEFAULT_NAMESPACE)):
        expect(function.spec == spec, "a pipeline comes back unchanged, alone and in lists")
        expect(function.desired == 0 and not function.replicas, "a pipeline has no replicas, whatever its labels say")
        expect(function.created_at.tzinfo is not None, "created_at has a time zone")
    measured = await kit.provider.get("flow", DEFAULT_NAMESPACE, usage=True)
    expect(measured.usage is None, "a pipeline uses nothing of its own")


async def a_watch_tells_of_pipelines_as_of_functions(kit: Kit) -> None:
    await kit.provider.deploy(_pipeline("before", "sort"))
    watch = Watch(kit)
    await watch.until(lambda event: event.kind == "synced")
    expect([event.key for event in watch.events[:-1]] == ["before.openfaas-fn"], "a watch begins with every pipeline")
    await kit.provider.deploy(_pipeline("flow", "sort"))
    await watch.until(lambda event: event.key == "flow.openfaas-fn" and event.kind == "changed")
    await kit.provider.update(_pipeline("flow", "uniq"))
    await watch.until(lambda event: event.function is not None and event.function.spec.stages == ("uniq",))
    await kit.provider.delete("flow", DEFAULT_NAMESPACE)
    await watch.until(lambda event: event.key == "flow.openfaas-fn" and event.kind == "removed")
    await watch.aclose()


async def an_updated_pipeline_keeps_its_age(kit: Kit) -> None:
    await kit.provider.deploy(_pipeline("flow", "sort"))
    born = (await kit.provider.get("flow", DEFAULT_NAMESPACE)).created_at
    spec = _pipeline("flow", "uniq", "wc", annotations={"a": "b"})
    await kit.provider.update(spec)
    function = await kit.provider.get("flow", DEFAULT_NAMESPACE)
    expect(function.spec == spec, "an update replaces the stages and all else")
    expect(function.created_at == born, "an update keeps created_at")
    await expect_error(FunctionNotFound, kit.provider.update(_pipeline("none", "a")), "updating an unknown pipeline")


async def a_deleted_pipeline_is_gone_and_its_name_is_free(kit: Kit) -> None:
    await kit.provider.deploy(_pipeline("flow", "sort"))
    await kit.provider.delete("flow", DEFAULT_NAMESPACE)
    await expect_error(FunctionNotFound, kit.provider.get("flow", DEFAULT_NAMESPACE), "get after delete")
    await expect_error(FunctionNotFound, kit.provider.delete("flow", DEFAULT_NAMESPACE), "a second delete")
    expect(not await kit.provider.list(DEFAULT_NAMESPACE), "a deleted pipeline is in no list")
    await kit.deploy("flow")


async def a_name_is_either_a_function_or_a_pipeline(kit: Kit) -> None:
    await kit.provider.deploy(_pipeline("flow", "sort"))
    await kit.provider.deploy(kit.spec("work", labels={"com.openfaas.scale.min": "0"}))
    await expect_error(FunctionExists, kit.provider.deploy(kit.spec("flow")), "a function of a pipeline's name")
    await expect_error(FunctionExists, kit.provider.deploy(_pipeline("work", "a")), "a pipeline of a function's name")
    await expect_error(FunctionExists, kit.provider.deploy(_pipeline("flow", "a")), "a second pipeline of the name")
    await expect_error(InvalidInput, kit.provider.update(kit.spec("flow")), "a pipeline turned into a function")
    await expect_error(InvalidInput, kit.provider.update(_pipeline("work", "a")), "a function turned into a pipeline")
    expect((await kit.provider.get("flow", DEFAULT_NAMESPACE)).spec.stages == ("sort",), "refusals change nothing")


async def two_deployments_of_one_pipeline_at_once_give_one(kit: Kit) -> None:
    tries = [kit.provider.deploy(_pipeline("race", "sort")) for _ in range(5)]
    answers = await asyncio.gather(*tries, return_exceptions=True)
    expect(answers.count(None) == 1, "exactly one of several deployments at once succeeds")
    expect(all(a is None or isinstance(a, FunctionExists) for a in answers), "the others raise FunctionExists")


async def what_only_replicas_have_is_refused_of_a_pipeline(kit: Kit) -> None:
    given: dict[str, dict[str, Any]] = {
        "image": {"image": "x"},
        "envProcess": {"env_process": "cat"},
        "envVars": {"env_vars": {"A": "1"}},
        "constraints": {"constraints": ("node.role==worker",)},
        "secrets": {"secrets": ("key",)},
        "limits": {"limits": Resources(memory="1Mi")},
        "requests": {"requests": Resources(cpu="1m")},
        "readOnlyRootFilesystem": {"read_only_root": True},
    }
    for field, fields in given.items():
        message = await expect_error(
            InvalidInput, kit.provider.deploy(_pipeline("flow", "sort", **fields)), f"a pipeline with {field}"
        )
        expect(message.startswith(f"{field}:"), "the message names the field")
    labels = {"com.penstock.timeout": "soon"}
    await expect_error(InvalidInput, kit.provider.deploy(_pipeline("flow", "sort", labels=labels)), f"labels {labels}")
    expect(not await kit.provider.list(DEFAULT_NAMESPACE), "a refused pipeline leaves nothing")


async def hostile_stages_are_refused(kit: Kit) -> None:
    for stage in (
        "",
        "..",
        "/x",
        "?x",
        "a b",
        "a|b",
        "a.b.c",
        "A",
        "a/\r\nx",
        "a?\x00",
        "a/ü",
        "a/\udcff",
        "a/" + "x" * 100_000,
    ):
        await expect_error(
            InvalidInput, kit.provider.deploy(_pipeline("flow", "sort", stage)), f"a stage {stage[:20]!r}"
        )
    await expect_error(InvalidInput, kit.provider.deploy(_pipeline("flow", *["a"] * 51)), "51 stages")
    await expect_error(InvalidInput, kit.provider.deploy(_pipeline("A/b", "sort")), "a hostile name")
    expect(not await kit.provider.list(DEFAULT_NAMESPACE), "a refused pipeline leaves nothing")


async def a_cycle_of_pipelines_is_refused(kit: Kit) -> None:
    await expect_error(InvalidInput, kit.provider.deploy(_pipeline("a", "a")), "a pipeline of itself")
    await kit.provider.deploy(_pipeline("a", "b"))
    message = await expect_error(InvalidInput, kit.provider.deploy(_pipeline("b", "a")), "a cycle of two")
    expect("b.openfaas-fn → a.openfaas-fn → b.openfaas-fn" in message, "the message shows the cycle")
    await kit.provider.deploy(_pipeline("b", "c"))
    await expect_error(InvalidInput, kit.provider.update(_pipeline("b", "a")), "a cycle by an update")
    expect((await kit.provider.get("b", DEFAULT_NAMESPACE)).spec.stages == ("c",), "a refused update changes nothing")


async def two_updates_at_once_make_no_cycle(kit: Kit) -> None:
    for name in ("a", "b"):
        await kit.provider.deploy(_pipeline(name, "sort"))
    tries = [kit.provider.update(_pipeline("a", "b")), kit.provider.update(_pipeline("b", "a"))]
    answers = await asyncio.gather(*tries, return_exceptions=True)
    expect(answers.count(None) == 1, "one of two updates that make a cycle together succeeds")
    expect(any(isinstance(answer, InvalidInput) for answer in answers), "the other raises InvalidInput")


async def stages_may_name_what_is_not_there_yet(kit: Kit) -> None:
    await kit.provider.deploy(_pipeline("flow", "later", "later.nowhere"))
    await expect_error(
        NamespaceNotFound, kit.provider.deploy(_pipeline("flow", "a", namespace="nowhere")), "an unknown namespace"
    )


async def a_pipeline_is_neither_scaled_nor_woken(kit: Kit) -> None:
    await kit.provider.deploy(_pipeline("flow", "sort", "uniq.dev"))
    message = await expect_error(InvalidInput, kit.provider.scale("flow", DEFAULT_NAMESPACE, 1), "scaling a pipeline")
    expect("sort.openfaas-fn, uniq.dev" in message, "the message names the stages")
    if isinstance(kit.provider, Holding):
        await expect_error(InvalidInput, kit.provider.hold("flow", DEFAULT_NAMESPACE, 2, 2), "a floor of a pipeline")
    expect((await kit.provider.get("flow", DEFAULT_NAMESPACE)).desired == 0, "a pipeline wants no replicas")


async def logs_of_a_pipeline_are_refused_with_the_names_of_its_stages(kit: Kit) -> None:
    await kit.provider.deploy(_pipeline("flow", "sort", "uniq.dev"))

    async def read() -> None:
        async with aclosing(kit.provider.logs(LogQuery(name="flow"))) as lines:  # type: ignore[type-var]
            async for _ in lines:
                pass

    message = await expect_error(InvalidInput, read(), "logs of a pipeline")
    expect("sort.openfaas-fn, uniq.dev" in message, "the message names the stages")


async def a_namespace_with_a_pipeline_stays(kit: Kit) -> None:
    await kit.provider.create_namespace(Namespace(name="side"))
    await kit.provider.deploy(_pipeline("flow", "sort", namespace="side"))
    expect([f.key for f in await kit.provider.list("side")] == ["flow.side"], "a pipeline is in its namespace's list")
    expect(not await kit.provider.list(DEFAULT_NAMESPACE), "and in no other")
    await expect_error(InvalidInput, kit.provider.delete_namespace("side"), "deleting a namespace in use")
    await kit.provider.delete("flow", "side")
    await kit.provider.delete_namespace("side")


RULES: list[Check] = [
    a_pipeline_is_reported_as_given_and_has_no_replicas,
    a_watch_tells_of_pipelines_as_of_functions,
    an_updated_pipeline_keeps_its_age,
    a_deleted_pipeline_is_gone_and_its_name_is_free,
    a_name_is_either_a_function_or_a_pipeline,
    two_deployments_of_one_pipeline_at_once_give_one,
    what_only_replicas_have_is_refused_of_a_pipeline,
    hostile_stages_are_refused,
    a_cycle_of_pipelines_is_refused,
    two_updates_at_once_make_no_cycle,
    stages_may_name_what_is_not_there_yet,
    a_pipeline_is_neither_scaled_nor_woken,
    logs_of_a_pipeline_are_refused_with_the_names_of_its_stages,
    a_namespace_with_a_pipeline_stays,
]
"""All rules, in the order of the protocol's verbs."""
