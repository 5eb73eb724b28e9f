"""`/system/alert`, with notifications as Alertmanager sends them."""

from __future__ import annotations

from typing import Any

import pytest

from penstock.errors import ProviderUnavailable
from penstock.providers.memory import MemoryProvider
from tests.unit.control.support import Answer, Client

FIRING: dict[str, Any] = {
    "version": "4",
    "receiver": "scale-up",
    "status": "firing",
    "groupKey": '{}/{service="gateway"}:{alertname="APIHighInvocationRate"}',
    "alerts": [
        {
            "status": "firing",
            "labels": {
                "alertname": "APIHighInvocationRate",
                "function_name": "cat.openfaas-fn",
                "service": "gateway",
                "severity": "major",
            },
            "annotations": {"description": "High invocation total on cat.openfaas-fn"},
            "startsAt": "2026-05-01T12:00:00.000Z",
            "endsAt": "0001-01-01T00:00:00Z",
            "generatorURL": "http://prometheus:9090/graph",
        }
    ],
}


def alerts(*each: tuple[str, str]) -> dict[str, Any]:
    return {"alerts": [{"status": status, "labels": {"function_name": name}} for name, status in each]}


async def notify(client: Client, body: object) -> Answer:
    return await client.call("POST", "/system/alert", body)


async def replicas(client: Client, name: str = "cat", namespace: str = "openfaas-fn") -> int:
    return int((await client.get(f"/system/function/{name}?namespace={namespace}")).json.get("replicas", 0))


async def deploy(client: Client, name: str = "cat", **labels: str) -> None:
    answer = await client.deploy(name, labels={f"com.openfaas.scale.{label}": text for label, text in labels.items()})
    assert answer.status == 202


async def test_each_notification_of_a_firing_alert_adds_a_step_until_the_most(client: Client) -> None:
    await deploy(client, max="5", factor="40")
    seen = []
    for _ in range(3):
        answer = await notify(client, FIRING)
        assert (answer.status, answer.body) == (200, b"")
        seen.append(await replicas(client))
    assert seen == [3, 5, 5]


@pytest.mark.parametrize("status", ["resolved", "Firing", ""])
async def test_whatever_is_not_firing_leaves_the_least(client: Client, status: str) -> None:
    await deploy(client, min="2")
    await notify(client, FIRING)
    assert await replicas(client) == 4
    assert (await notify(client, {**alerts(("cat.openfaas-fn", status)), "status": "firing"})).status == 200
    assert await replicas(client) == 2


async def test_alerts_of_one_notification_are_followed_one_by_one(client: Client) -> None:
    await deploy(client)
    await deploy(client, "other", max="10", factor="50")
    await notify(client, alerts(("cat", "firing"), ("other", "firing"), ("cat", "firing")))
    assert (await replicas(client), await replicas(client, "other")) == (5, 6)


async def test_the_last_dot_parts_name_and_namespace(client: Client) -> None:
    await client.call("POST", "/system/namespace/", {"name": "team"})
    await client.deploy("cat", namespace="team")
    await deploy(client)
    await notify(client, alerts(("cat.team", "firing")))
    assert (await replicas(client, namespace="team"), await replicas(client)) == (3, 1)


@pytest.mark.parametrize("name", ["", "unknown", "cat.nowhere", "../cat", "cat\n", "ö", "a" * 300, ".", "cat."])
async def test_an_alert_about_no_function_is_answered_200_and_changes_nothing(client: Client, name: str) -> None:
    await deploy(client)
    answer = await notify(client, alerts((name, "firing"), ("cat", "firing")))
    assert (answer.status, answer.body) == (200, b"")
    assert await replicas(client) == 3


@pytest.mark.parametrize(
    "body",
    [
        {"alerts": [{"labels": {"alertname": "service_down", "instance": 3}, "status": "firing"}]},
        {"alerts": [{}, None]},
        {"alerts": []},
        {"alerts": None},
        {},
        b"null",
        {"Alerts": [{"Status": "firing", "Labels": {"Function_Name": ""}}]},
    ],
)
async def test_a_notification_without_functions_is_answered_200(client: Client, body: object) -> None:
    answer = await notify(client, body)
    assert (answer.status, answer.body) == (200, b"")


async def test_keys_match_in_any_letter_case(client: Client) -> None:
    await deploy(client)
    await notify(client, {"ALERTS": [{"Status": "firing", "Labels": {"FUNCTION_NAME": "cat"}}]})
    assert await replicas(client) == 3


async def test_a_body_is_required(client: Client) -> None:
    answer = await notify(client, None)
    assert (answer.status, answer.body) == (400, b"A body is required for this endpoint")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"


@pytest.mark.parametrize(
    "body",
    [
        b" ",
        b"{",
        b"[]",
        b'"firing"',
        b"\xff",
        b"[" * 100_000,
        {"alerts": {}},
        {"alerts": ["firing"]},
        {"alerts": [{"labels": []}]},
        {"alerts": [{"labels": {"function_name": 1}}]},
        {"alerts": [{"status": True}]},
    ],
)
async def test_what_is_no_notification_is_400_and_changes_nothing(client: Client, body: object) -> None:
    await deploy(client)
    answer = await notify(client, body)
    assert (answer.status, answer.body) == (400, b"Unable to parse alert, bad format.")
    assert await replicas(client) == 1


async def test_functions_that_cannot_be_scaled_are_500_with_a_line_for_each(
    client: Client, provider: MemoryProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    await deploy(client)
    await deploy(client, "other")
    works = provider.scale

    async def scale(name: str, namespace: str, replicas: int) -> None:
        if name == "cat":
            raise ProviderUnavailable("the engine does not answer")
        await works(name, namespace, replicas)

    monkeypatch.setattr(provider, "scale", scale)
    answer = await notify(client, alerts(("cat", "firing"), ("other", "firing"), ("cat", "firing")))
    assert answer.status == 500
    assert answer.text == "[0] the engine does not answer\n[1] the engine does not answer\n"
    assert await replicas(client, "other") == 3


async def test_it_is_behind_the_password(client: Client) -> None:
    client.authorization = None
    assert (await notify(client, FIRING)).status == 401


@pytest.mark.parametrize("status", ["firing", "resolved"])
async def test_a_pipeline_is_left_alone(client: Client, status: str) -> None:
    await client.deploy("flow", envProcess="", pipeline=["cat"])
    await deploy(client)
    answer = await notify(client, alerts((status, "flow.openfaas-fn")))
    assert (answer.status, answer.body) == (200, b"")
    assert (await replicas(client, "flow"), await replicas(client)) == (0, 1)
