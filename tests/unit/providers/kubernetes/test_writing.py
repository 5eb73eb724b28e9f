"""Making a Deployment what is wanted, whatever it was."""

from __future__ import annotations

from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.providers.kubernetes.client.api import Api
from penstock.providers.kubernetes.client.errors import ApiConflict, ApiInvalid
from penstock.providers.kubernetes.client.kinds import DEPLOYMENT, Kind
from penstock.providers.kubernetes.manifests import HANDOVER, deployment
from penstock.providers.kubernetes.writing import replacing, write_deployment
from tests.unit.providers.kubernetes.objects import SHAPE, spec


def of_uid(document: dict[str, Any], uid: str = "one", **metadata: str) -> dict[str, Any]:
    return {**document, "metadata": {**document["metadata"], "uid": uid, **metadata}}


WANTED = deployment(spec(), 2, 0, SHAPE)
LIVE = of_uid(deployment(spec(env_process="wc"), 3, 0, SHAPE))
HANDED = deployment(spec(labels={"com.penstock.kubernetes.hpa": "true"}), 2, 0, SHAPE)


class FakeApi:
    """An API server that refuses to apply so many times, and what it was asked."""

    def __init__(self, refusals: int = 0, code: int = 422, live: dict[str, Any] = LIVE) -> None:
        self._live = live
        self.asked: list[tuple[str, Any]] = []
        self._refusals, self._code = refusals, code

    async def get(self, kind: Kind, name: str, namespace: str) -> dict[str, Any]:
        assert (kind, name, namespace) == (DEPLOYMENT, "echo", "openfaas-fn")
        return self._live

    async def apply(self, kind: Kind, document: dict[str, Any], manager: str = "penstock") -> dict[str, Any]:
        assert kind == DEPLOYMENT
        self.asked.append((manager, document))
        if self._refusals:
            self._refusals -= 1
            raise ApiInvalid("must specify a handler type", self._code, "Invalid")
        return document

    async def merge(self, kind: Kind, name: str, namespace: str, patch: dict[str, Any]) -> dict[str, Any]:
        assert (kind, name, namespace) == (DEPLOYMENT, "echo", "openfaas-fn")
        self.asked.append(("merge", patch))
        return {}


async def write(api: FakeApi, live: dict[str, Any] | None, wanted: dict[str, Any]) -> dict[str, Any]:
    return await write_deployment(cast(Api, api), live, wanted)


async def test_usually_it_is_applied_once() -> None:
    for live, written in ((None, WANTED), (LIVE, of_uid(WANTED))):
        api = FakeApi()
        assert await write(api, live, WANTED) == written
        assert api.asked == [("penstock", written)]


async def test_over_one_version_only() -> None:
    api = FakeApi()
    await write_deployment(cast(Api, api), LIVE, WANTED, "7")
    assert api.asked == [("penstock", of_uid(WANTED, resourceVersion="7"))]


async def test_one_that_was_deployed_anew_is_left_alone() -> None:
    api = FakeApi(refusals=1, live=of_uid(LIVE, "another"))
    with pytest.raises(ApiConflict, match="deployed anew"):
        await write(api, LIVE, WANTED)
    assert len(api.asked) == 1


async def test_what_is_refused_over_an_earlier_one_is_written_as_a_whole() -> None:
    api = FakeApi(refusals=1)
    assert await write(api, LIVE, WANTED) == of_uid(WANTED)
    assert api.asked == [
        ("penstock", of_uid(WANTED)),
        ("merge", {"spec": replacing(LIVE["spec"], WANTED["spec"])}),
        ("penstock", of_uid(WANTED)),
    ]


async def test_what_is_refused_where_nothing_was_is_wrong_itself() -> None:
    api = FakeApi(refusals=1)
    with pytest.raises(ApiInvalid):
        await write(api, None, WANTED)
    assert len(api.asked) == 1


async def test_a_refusal_of_another_kind_is_told_at_once() -> None:
    api = FakeApi(refusals=1, code=403)
    with pytest.raises(ApiInvalid):
        await write(api, LIVE, WANTED)
    assert len(api.asked) == 1


async def test_what_is_refused_again_is_told() -> None:
    with pytest.raises(ApiInvalid):
        await write(FakeApi(refusals=2), LIVE, WANTED)


async def test_a_number_that_nobody_would_say_is_said_first() -> None:
    api = FakeApi()
    await write(api, LIVE, HANDED)
    [(manager, first), (_, second)] = api.asked
    assert (manager, first["spec"], second) == (HANDOVER, {"replicas": 3}, of_uid(HANDED))
    assert first["metadata"]["uid"] == "one"


def patched(live: Any, patch: Any) -> Any:
    """A JSON merge patch (RFC 7396)."""
    if not isinstance(patch, dict):
        return patch
    result = dict(live) if isinstance(live, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = patched(result.get(name), value)
    return result


DOCUMENTS = st.recursive(
    st.integers() | st.text(max_size=3) | st.lists(st.integers(), max_size=2),
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=12,
)
MAPPINGS = st.dictionaries(st.sampled_from(["a", "b", "template"]), DOCUMENTS, max_size=3)


@given(MAPPINGS, MAPPINGS)
def test_the_patch_makes_one_the_other(live: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert patched(live, replacing(live, wanted)) == wanted


def test_replicas_that_are_not_said_stay() -> None:
    assert replacing({"replicas": 3, "paused": True}, {"a": {"replicas": 1}}) == {"paused": None, "a": {"replicas": 1}}
    assert replacing({"a": {"replicas": 3}}, {"a": {}}) == {"a": {"replicas": None}}
    assert replacing({"replicas": 3}, {"replicas": 1}) == {"replicas": 1}
