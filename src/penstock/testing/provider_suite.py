"""The meaning of the Provider protocol as runnable checks: give it a provider and it tries every rule, verb by verb.

Authors of providers call `run_suite` or hand `CHECKS` to their test runner; no test framework is needed. Each check gets a
started provider of its own without functions, and ends with ConformanceFailure where a rule is broken.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, aclosing
from datetime import UTC, datetime, timedelta

from penstock.errors import (
    AlreadyExists,
    FunctionExists,
    FunctionNotFound,
    InvalidInput,
    NamespaceNotFound,
    NotFound,
    SecretNotFound,
)
from penstock.model import (
    DEFAULT_NAMESPACE,
    LogLine,
    LogQuery,
    Namespace,
    Resources,
    Secret,
)
from penstock.testing import pipeline_rules
from penstock.testing.kit import Check, ConformanceFailure, Kit, Watch, expect, expect_error

HOSTILE_NAMES = (
    "",
    "..",
    "../x",
    "a/b",
    "a%2fb",
    "A",
    "-a",
    "a-",
    "a.b",
    "a b",
    "a\nb",
    "a\x00b",
    "näme",
    "a" * 64,
    "x" * 100_000,
)


CHECKS: list[Check] = []
"""All rules, in the order of the protocol's verbs."""


def run_suite(factory: Callable[[], AbstractAsyncContextManager[Kit]]) -> dict[str, ConformanceFailure | None]:
    """Run every check, each with a fresh kit from `factory`; the failure of each by name, None where the rule is kept."""
    return {check.__name__: asyncio.run(_run_one(check, factory)) for check in CHECKS}


async def _run_one(check: Check, factory: Callable[[], AbstractAsyncContextManager[Kit]]) -> ConformanceFailure | None:
    async with factory() as kit:
        try:
            await check(kit)
        except ConformanceFailure as failure:
            return failure
    return None


def _check(function: Check) -> Check:
    CHECKS.append(function)
    return function


async def _gather(stream: AsyncIterator[LogLine]) -> list[LogLine]:
    return [line async for line in stream]


# Who runs the functions


@_check
async def info_names_provider_orchestration_and_release(kit: Kit) -> None:
    info = kit.provider.info()
    expect(bool(info.provider and info.orchestration and info.release), "info has no empty field; clients print them")


@_check
async def a_started_provider_is_healthy(kit: Kit) -> None:
    await kit.provider.health()


@_check
async def who_is_alone_leads_for_as_long_as_it_asks(kit: Kit) -> None:
    for _ in range(3):
        expect(await kit.provider.lead("alone", 10.0), "a control process that has no rival leads")


# Deploy


@_check
async def a_deployed_function_becomes_ready_with_addresses(kit: Kit) -> None:
    function = await kit.deploy("alpha")
    expect(function.desired == 1, "one replica is wanted unless the specification says otherwise")
    expect(all(address for address in function.endpoints), "a ready replica has an address")
    expect(function.created_at.tzinfo is not None, "created_at has a time zone")


@_check
async def a_specification_is_reported_as_given(kit: Kit) -> None:
    spec = kit.spec(
        "echoed",
        env_vars={"A": "1", "unicode": "日本 ✓", "empty": ""},
        labels={"team": "x", "com.openfaas.scale.min": "1"},
        annotations={"note": "words with = and spaces"},
        limits=Resources(memory="512Mi", cpu="500m"),
    )
    await kit.provider.deploy(spec)
    expect((await kit.provider.get("echoed", DEFAULT_NAMESPACE)).spec == spec, "the specification comes back unchanged")


@_check
async def the_scale_min_label_sets_the_first_replica_count(kit: Kit) -> None:
    await kit.deploy("two", labels={"com.openfaas.scale.min": "2"})
    await kit.provider.deploy(kit.spec("none", labels={"com.openfaas.scale.min": "0"}))
    function = await kit.provider.get("none", DEFAULT_NAMESPACE)
    expect(function.desired == 0 and not function.replicas, "a minimum of zero starts nothing")


@_check
async def deploying_a_name_twice_is_refused(kit: Kit) -> None:
    await kit.provider.deploy(kit.spec("twice"))
    await expect_error(FunctionExists, kit.provider.deploy(kit.spec("twice")), "a second deployment of the same name")


@_check
async def two_deployments_of_one_name_at_once_give_one_function(kit: Kit) -> None:
    tries = [kit.provider.deploy(kit.spec("race")) for _ in range(5)]
    answers = await asyncio.gather(*tries, return_exceptions=True)
    expect(answers.count(None) == 1, "exactly one of several deployments at once succeeds")
    expect(all(a is None or isinstance(a, FunctionExists) for a in answers), "the others raise FunctionExists")
    await kit.until_ready("race")


@_check
async def hostile_function_names_are_refused(kit: Kit) -> None:
    for name in HOSTILE_NAMES:
        await expect_error(InvalidInput, kit.provider.deploy(kit.spec(name)), f"deploying {name[:20]!r}")
        await expect_error(
            (InvalidInput, FunctionNotFound), kit.provider.get(name, DEFAULT_NAMESPACE), f"get {name[:20]!r}"
        )
        await expect_error(
            (InvalidInput, FunctionNotFound), kit.provider.delete(name, DEFAULT_NAMESPACE), f"delete {name[:20]!r}"
        )


@_check
async def hostile_environments_are_refused(kit: Kit) -> None:
    for variables in (
        {"": "x"},
        {"A=B": "x"},
        {"A\x00": "x"},
        {"A": "x\x00y"},
        {"A": "\udcff"},
        {"A": "x" * 3_000_000},
    ):
        await expect_error(
            InvalidInput, kit.provider.deploy(kit.spec("env", env_vars=variables)), "a hostile environment"
        )
    await expect_error(InvalidInput, kit.provider.deploy(kit.spec("env", env_process="cat\x00")), "NUL in the program")
    expect(not await kit.provider.list(DEFAULT_NAMESPACE), "a refused deployment leaves nothing")


@_check
async def unreadable_limits_and_labels_are_refused(kit: Kit) -> None:
    for memory in ("lots", "-1", "0", "1e99", "12XB", "9" * 5000, "\uff11\uff12Mi"):
        limits = Resources(memory=memory)
        message = await expect_error(
            InvalidInput, kit.provider.deploy(kit.spec("limit", limits=limits)), f"a memory limit of {memory[:20]!r}"
        )
        expect("memory" in message, "the message names the field")
    for labels in ({"com.penstock.timeout": "soon"}, {"com.penstock.max-inflight": "-1"}):
        await expect_error(
            InvalidInput, kit.provider.deploy(kit.spec("label", labels=labels)), f"labels {list(labels)}"
        )


@_check
async def hostile_health_annotations_are_refused(kit: Kit) -> None:
    for family in ("com.openfaas.health.http.", "com.openfaas.ready.http."):
        for name, text in (
            ("path", "no-slash"),
            ("path", "/x y"),
            ("path", "/x\r\nHost: elsewhere"),
            ("path", "/" * 100_000),
            ("periodSeconds", "-1"),
            ("periodSeconds", "9" * 5000),
            ("initialDelay", "soon"),
            ("timeoutSeconds", "0"),
            ("failureThreshold", "0"),
            ("failureThreshold", "many"),
            ("paht", "/x"),
        ):
            message = await expect_error(
                InvalidInput,
                kit.provider.deploy(kit.spec("ill", annotations={family + name: text})),
                f"{family}{name}={text[:20]!r}",
            )
            expect(family + name in message, "the message names the annotation")
    expect(not await kit.provider.list(DEFAULT_NAMESPACE), "a refused deployment leaves nothing")


@_check
async def a_function_with_health_annotations_becomes_ready_and_stays(kit: Kit) -> None:
    annotations = {
        "com.openfaas.health.http.path": "/_/health",
        "com.openfaas.health.http.initialDelay": "100ms",
        "com.openfaas.health.http.period": "200ms",
        "com.openfaas.health.http.timeout": "30s",
        "com.openfaas.ready.http.path": "/_/ready",
        "com.openfaas.ready.http.period": "200ms",
        "com.openfaas.ready.http.timeout": "30s",
    }
    await kit.deploy("well", annotations=annotations)
    await asyncio.sleep(1.0)  # several checks
    function = await kit.until_ready("well")
    expect(all(replica.restarts == 0 for replica in function.replicas), "a replica that is well is not restarted")


@_check
async def a_missing_secret_is_named_when_deployment_is_refused(kit: Kit) -> None:
    message = await expect_error(
        InvalidInput, kit.provider.deploy(kit.spec("wants", secrets=("absent",))), "deploying with an unknown secret"
    )
    expect("absent" in message, "the message names the secret")
    await expect_error(InvalidInput, kit.provider.deploy(kit.spec("wants", secrets=("../x",))), "a secret named ../x")


@_check
async def an_unknown_namespace_is_refused(kit: Kit) -> None:
    await expect_error(
        NamespaceNotFound, kit.provider.deploy(kit.spec("f", namespace="nowhere")), "an unknown namespace"
    )


@_check
async def an_image_alone_runs_or_is_refused_as_declared(kit: Kit) -> None:
    if kit.provider.capabilities.runs_images:
        return
    message = await expect_error(
        InvalidInput,
        kit.provider.deploy(kit.spec("img", env_process="", image="figlet:latest")),
        "an image without program",
    )
    expect("envProcess" in message, "the message says which field is missing")


# Update


@_check
async def updating_an_unknown_function_is_refused(kit: Kit) -> None:
    await expect_error(FunctionNotFound, kit.provider.update(kit.spec("ghost")), "updating what is not deployed")


@_check
async def an_update_replaces_specification_and_replicas(kit: Kit) -> None:
    before = await kit.deploy("changing")
    await kit.provider.update(kit.spec("changing", env_vars={"V": "2"}))
    old = {replica.id for replica in before.replicas}

    async def replaced() -> bool:
        function = await kit.provider.get("changing", DEFAULT_NAMESPACE)
        return function.available == 1 and not old & {replica.id for replica in function.replicas}

    await kit.until("a replica of the new specification has taken the place of the old one", replaced)
    function = await kit.provider.get("changing", DEFAULT_NAMESPACE)
    expect(function.spec.env_vars == {"V": "2"}, "the new specification is reported")
    expect(function.created_at == before.created_at, "an update keeps created_at")


@_check
async def a_ready_function_keeps_an_endpoint_during_an_update(kit: Kit) -> None:
    before = await kit.deploy("rolling")
    async with aclosing(Watch(kit)) as watch:
        await watch.until(lambda event: event.kind == "synced")
        await kit.provider.update(kit.spec("rolling", env_vars={"V": "2"}))
        await watch.until(
            lambda event: bool(event.function and not set(event.function.endpoints) & set(before.endpoints))
        )
    counts = [event.function.available for event in watch.events if event.function]
    expect(0 not in counts, "at every moment some replica was ready")


@_check
async def an_update_keeps_the_replica_count(kit: Kit) -> None:
    await kit.deploy("counted")
    await kit.provider.scale("counted", DEFAULT_NAMESPACE, 2)
    await kit.until_ready("counted", 2)
    await kit.provider.update(kit.spec("counted", env_vars={"V": "2"}))
    expect((await kit.provider.get("counted", DEFAULT_NAMESPACE)).desired == 2, "the wanted number is kept")
    await kit.until_ready("counted", 2)


@_check
async def a_refused_update_changes_nothing(kit: Kit) -> None:
    before = await kit.deploy("steady")
    bad = kit.spec("steady", env_vars={"A=B": "x"})
    await expect_error(InvalidInput, kit.provider.update(bad), "an update with a bad environment")
    after = await kit.provider.get("steady", DEFAULT_NAMESPACE)
    expect(after.spec == before.spec and after.endpoints == before.endpoints, "nothing changed")


# Delete


@_check
async def a_deleted_function_is_gone(kit: Kit) -> None:
    await kit.deploy("doomed")
    await kit.provider.delete("doomed", DEFAULT_NAMESPACE)
    await expect_error(FunctionNotFound, kit.provider.get("doomed", DEFAULT_NAMESPACE), "get after delete")
    await expect_error(FunctionNotFound, kit.provider.delete("doomed", DEFAULT_NAMESPACE), "a second delete")
    expect(not await kit.provider.list(DEFAULT_NAMESPACE), "it is not listed")


@_check
async def a_name_can_be_deployed_again_after_deletion(kit: Kit) -> None:
    first = await kit.deploy("phoenix")
    await kit.provider.delete("phoenix", DEFAULT_NAMESPACE)
    second = await kit.deploy("phoenix")
    expect(not set(first.endpoints) & set(second.endpoints), "the new function has replicas of its own")


@_check
async def deleting_while_waking_leaves_nothing(kit: Kit) -> None:
    await kit.provider.deploy(kit.spec("sleeper", labels={"com.openfaas.scale.min": "0"}))
    await kit.provider.scale("sleeper", DEFAULT_NAMESPACE, 1)
    await kit.provider.delete("sleeper", DEFAULT_NAMESPACE)
    await expect_error(FunctionNotFound, kit.provider.get("sleeper", DEFAULT_NAMESPACE), "get after delete")


# Scale


@_check
async def scaling_up_and_down_reaches_the_number(kit: Kit) -> None:
    await kit.deploy("elastic")
    for replicas in (3, 1, 0, 2):
        await kit.provider.scale("elastic", DEFAULT_NAMESPACE, replicas)
        expect(
            (await kit.provider.get("elastic", DEFAULT_NAMESPACE)).desired == replicas,
            "the wanted number is reported at once",
        )
        function = await kit.until_ready("elastic", replicas)
        expect(len(set(function.endpoints)) == replicas, "each replica has an address of its own")


@_check
async def scaling_down_keeps_the_oldest_ready_replica(kit: Kit) -> None:
    before = await kit.deploy("senior")
    await kit.provider.scale("senior", DEFAULT_NAMESPACE, 3)
    await kit.until_ready("senior", 3)
    await kit.provider.scale("senior", DEFAULT_NAMESPACE, 1)
    after = await kit.until_ready("senior", 1)
    expect(after.endpoints == before.endpoints, "a replica that serves well is not replaced")


@_check
async def bad_replica_counts_are_refused(kit: Kit) -> None:
    await kit.deploy("fixed")
    for replicas in (-1, -(2**70), 2**70):
        await expect_error(
            InvalidInput, kit.provider.scale("fixed", DEFAULT_NAMESPACE, replicas), f"{replicas} replicas"
        )
    expect((await kit.provider.get("fixed", DEFAULT_NAMESPACE)).desired == 1, "a refused number changes nothing")
    await expect_error(
        FunctionNotFound, kit.provider.scale("ghost", DEFAULT_NAMESPACE, 1), "scaling an unknown function"
    )


# Get and list


@_check
async def list_is_sorted_by_name_and_kept_apart_by_namespace(kit: Kit) -> None:
    await kit.provider.create_namespace(Namespace(name="other"))
    for name in ("b", "a"):
        await kit.provider.deploy(kit.spec(name))
    await kit.provider.deploy(kit.spec("a", namespace="other"))
    expect([f.spec.name for f in await kit.provider.list(DEFAULT_NAMESPACE)] == ["a", "b"], "names are sorted")
    expect([f.key for f in await kit.provider.list("other")] == ["a.other"], "a namespace lists its own functions only")
    await expect_error(NamespaceNotFound, kit.provider.list("nowhere"), "listing an unknown namespace")


@_check
async def usage_is_reported_where_it_is_declared(kit: Kit) -> None:
    await kit.deploy("busy")
    expect((await kit.provider.get("busy", DEFAULT_NAMESPACE)).usage is None, "usage is not gathered unasked")

    async def told() -> bool:
        function = await kit.provider.get("busy", DEFAULT_NAMESPACE, usage=True)
        return function.usage is not None or not kit.provider.capabilities.usage

    await kit.until("usage is gathered when asked for", told)


# Watch


@_check
async def a_watch_begins_with_every_function_and_synced(kit: Kit) -> None:
    await kit.provider.create_namespace(Namespace(name="other"))
    await kit.deploy("one")
    await kit.deploy("two", namespace="other")
    async with aclosing(Watch(kit)) as watch:
        await watch.until(lambda event: event.kind == "synced")
        keys = {event.key for event in watch.events if event.kind == "changed"}
        expect(keys == {f"one.{DEFAULT_NAMESPACE}", "two.other"}, "the snapshot has all functions of all namespaces")


@_check
async def a_watch_tells_deploy_scale_and_delete(kit: Kit) -> None:
    key = f"seen.{DEFAULT_NAMESPACE}"
    async with aclosing(Watch(kit)) as watch:
        expect((await watch.next()).kind == "synced", "without functions a watch begins with synced")
        await kit.provider.deploy(kit.spec("seen"))
        await watch.until_ready(key, 1)
        await kit.provider.scale("seen", DEFAULT_NAMESPACE, 2)
        await watch.until_ready(key, 2)
        await kit.provider.scale("seen", DEFAULT_NAMESPACE, 0)
        await watch.until_ready(key, 0)
        await kit.provider.delete("seen", DEFAULT_NAMESPACE)
        await watch.until(lambda event: event.kind == "removed" and event.key == key)


@_check
async def each_watcher_has_a_stream_of_its_own(kit: Kit) -> None:
    async with aclosing(Watch(kit)) as first, aclosing(Watch(kit)) as second:
        await first.next()
        await second.next()
        await kit.provider.deploy(kit.spec("shared"))
        key = f"shared.{DEFAULT_NAMESPACE}"
        await first.until_ready(key, 1)
        await second.until_ready(key, 1)


@_check
async def a_slow_watcher_gets_one_event_with_the_latest_state(kit: Kit) -> None:
    await kit.deploy("folded")
    async with aclosing(Watch(kit)) as watch:
        await watch.until(lambda event: event.kind == "synced")
        for replicas in (2, 3, 2, 1, 0):
            await kit.provider.scale("folded", DEFAULT_NAMESPACE, replicas)
        await kit.until_ready("folded", 0)
        event = await watch.next()
        expect(bool(event.function and event.function.available == 0), "changes while busy are folded into the latest")


# Logs


@_check
async def logs_of_an_unknown_function_are_refused(kit: Kit) -> None:
    await expect_error(
        FunctionNotFound, _gather(kit.provider.logs(LogQuery(name="ghost"))), "logs of what is not deployed"
    )


@_check
async def logs_end_without_follow_and_keep_to_the_query(kit: Kit) -> None:
    await kit.deploy("talker")
    lines = await asyncio.wait_for(_gather(kit.provider.logs(LogQuery(name="talker"))), kit.timeout)
    expect(
        all(line.name == "talker" and line.namespace == DEFAULT_NAMESPACE for line in lines),
        "lines name their function",
    )
    expect([line.timestamp for line in lines] == sorted(line.timestamp for line in lines), "lines come by time")
    expect(all(line.timestamp.tzinfo for line in lines), "timestamps have a zone")
    expect(all("\n" not in line.text for line in lines), "a line has no line end")
    expect(len(await _gather(kit.provider.logs(LogQuery(name="talker", tail=1)))) <= 1, "tail bounds the lines")
    future = datetime.now(UTC) + timedelta(days=365)
    expect(
        not await _gather(kit.provider.logs(LogQuery(name="talker", since=future))), "nothing is newer than the future"
    )
    expect(
        not await _gather(kit.provider.logs(LogQuery(name="talker", instance="no-such"))),
        "instance selects one replica",
    )


@_check
async def following_logs_ends_when_the_function_is_deleted(kit: Kit) -> None:
    await kit.deploy("followed")
    following = asyncio.create_task(_gather(kit.provider.logs(LogQuery(name="followed", follow=True))))
    await asyncio.sleep(0.05)
    expect(not following.done(), "following does not end by itself")
    await kit.provider.delete("followed", DEFAULT_NAMESPACE)
    try:
        await asyncio.wait_for(following, kit.timeout)
    except TimeoutError:
        raise ConformanceFailure("following ends when the function is gone") from None


# Secrets


@_check
async def secrets_are_listed_by_name_and_never_shown(kit: Kit) -> None:
    await kit.provider.create_secret(Secret(name="b-key", value=b"\x00\xff binary"))
    await kit.provider.create_secret(Secret(name="a.key", value=b""))
    names = await kit.provider.list_secrets(DEFAULT_NAMESPACE)
    expect(names == ["a.key", "b-key"], "names only, sorted")
    await kit.deploy("uses", secrets=("b-key",))


@_check
async def secrets_are_created_once_updated_and_deleted(kit: Kit) -> None:
    await kit.provider.create_secret(Secret(name="key", value=b"1"))
    await expect_error(
        AlreadyExists, kit.provider.create_secret(Secret(name="key", value=b"2")), "creating a secret twice"
    )
    await kit.provider.update_secret(Secret(name="key", value=b"2"))
    await kit.provider.delete_secret("key", DEFAULT_NAMESPACE)
    expect(not await kit.provider.list_secrets(DEFAULT_NAMESPACE), "a deleted secret is not listed")
    await expect_error(
        SecretNotFound, kit.provider.update_secret(Secret(name="key", value=b"3")), "updating an absent secret"
    )
    await expect_error(
        SecretNotFound, kit.provider.delete_secret("key", DEFAULT_NAMESPACE), "deleting an absent secret"
    )


@_check
async def secrets_are_kept_apart_by_namespace(kit: Kit) -> None:
    await kit.provider.create_namespace(Namespace(name="other"))
    await kit.provider.create_secret(Secret(name="key", namespace="other", value=b"1"))
    expect(not await kit.provider.list_secrets(DEFAULT_NAMESPACE), "another namespace's secret is not listed")
    await expect_error(InvalidInput, kit.provider.deploy(kit.spec("f", secrets=("key",))), "another namespace's secret")
    await expect_error(NamespaceNotFound, kit.provider.list_secrets("nowhere"), "secrets of an unknown namespace")
    await expect_error(
        NamespaceNotFound, kit.provider.create_secret(Secret(name="k", namespace="nowhere")), "a secret in no namespace"
    )


@_check
async def hostile_secrets_are_refused(kit: Kit) -> None:
    for name in ("", "..", "../x", "/etc/passwd", "a/b", "A", ".hidden", "a..b", "a\x00", "ключ", "a" * 254):
        secret = Secret(name=name, value=b"x")
        await expect_error(InvalidInput, kit.provider.create_secret(secret), f"a secret named {name[:20]!r}")
        await expect_error((InvalidInput, NotFound), kit.provider.update_secret(secret), f"updating {name[:20]!r}")
        await expect_error(
            (InvalidInput, NotFound), kit.provider.delete_secret(name, DEFAULT_NAMESPACE), f"deleting {name[:20]!r}"
        )
    huge = Secret(name="huge", value=b"x" * (8 << 20))
    await expect_error(InvalidInput, kit.provider.create_secret(huge), "a secret of 8 MiB")
    expect(not await kit.provider.list_secrets(DEFAULT_NAMESPACE), "nothing was stored")


# Namespaces


@_check
async def the_default_namespace_comes_first(kit: Kit) -> None:
    for name in ("zeta", "alpha"):
        await kit.provider.create_namespace(Namespace(name=name))
    names = [namespace.name for namespace in await kit.provider.list_namespaces()]
    expect(names == [DEFAULT_NAMESPACE, "alpha", "zeta"], "the default namespace, then the others by name")


@_check
async def namespaces_are_created_once_updated_and_deleted(kit: Kit) -> None:
    team = Namespace(name="team", labels={"openfaas": "1"}, annotations={"a": "b"})
    await kit.provider.create_namespace(team)
    expect(team in await kit.provider.list_namespaces(), "labels and annotations come back")
    await expect_error(AlreadyExists, kit.provider.create_namespace(team), "creating a namespace twice")
    await kit.provider.update_namespace(Namespace(name="team", labels={"x": "y"}))
    expect(Namespace(name="team", labels={"x": "y"}) in await kit.provider.list_namespaces(), "an update replaces both")
    await kit.provider.delete_namespace("team")
    await expect_error(NamespaceNotFound, kit.provider.delete_namespace("team"), "deleting an absent namespace")
    await expect_error(NamespaceNotFound, kit.provider.update_namespace(team), "updating an absent namespace")


@_check
async def a_namespace_in_use_and_the_default_one_stay(kit: Kit) -> None:
    await kit.provider.create_namespace(Namespace(name="used"))
    await kit.deploy("tenant", namespace="used")
    await expect_error(InvalidInput, kit.provider.delete_namespace("used"), "deleting a namespace with functions")
    await expect_error(InvalidInput, kit.provider.delete_namespace(DEFAULT_NAMESPACE), "deleting the default namespace")
    await kit.provider.delete("tenant", "used")
    await kit.provider.delete_namespace("used")


@_check
async def hostile_namespaces_are_refused(kit: Kit) -> None:
    for name in HOSTILE_NAMES:
        await expect_error(
            InvalidInput, kit.provider.create_namespace(Namespace(name=name)), f"a namespace named {name[:20]!r}"
        )
        await expect_error(
            (InvalidInput, NamespaceNotFound), kit.provider.delete_namespace(name), f"deleting namespace {name[:20]!r}"
        )
        await expect_error(
            (InvalidInput, NamespaceNotFound),
            kit.provider.deploy(kit.spec("f", namespace=name)),
            f"deploying to {name[:20]!r}",
        )


CHECKS += pipeline_rules.RULES
