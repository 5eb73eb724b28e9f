"""Answers of every form: those of an API server are read, all others end in the one error that says so."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.providers.kubernetes.client.answers import (
    Allowance,
    WatchEvent,
    decoded,
    event_of,
    lines_of,
    object_of,
    page_of,
    version_of,
)
from penstock.providers.kubernetes.client.errors import ApiGone, ApiRefused, ApiTooLong, ApiUnavailable
from penstock.providers.kubernetes.client.kinds import DEPLOYMENT, LEASE, POD, POD_METRICS
from tests.unit.providers.kubernetes.client.scripted_api import kept

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text("ab\x00é", max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "name", "items"]), inner, max_size=3)
    ),
    max_leaves=10,
)
WHOLE = {**kept(), "status": {}, "type": "ADDED", "items": [kept()], "gitVersion": "v1.30.1"}


@st.composite
def documents(draw: st.DrawFn) -> Any:
    """Something like an answer, with one part of another type."""
    whole: dict[str, Any] = {**WHOLE, "object": kept(), "metadata": dict(kept()["metadata"])}
    place = draw(st.sampled_from([whole, whole["metadata"], whole["object"], whole["items"][0]]))
    return _with(whole, place, draw(st.sampled_from(list(place))), draw(VALUES))


def _with(whole: Any, place: Any, name: str, value: Any) -> Any:
    if whole is place:
        return {**whole, name: value}
    if isinstance(whole, dict):
        return {key: _with(inner, place, name, value) for key, inner in whole.items()}
    return [_with(inner, place, name, value) for inner in whole] if isinstance(whole, list) else whole


@given(documents() | VALUES)
def test_whatever_comes_is_read_or_ends_in_errors_of_ours(document: Any) -> None:
    body = msgspec.json.encode(document)
    for kind in (POD, LEASE, POD_METRICS):
        for read in (
            lambda kind=kind: object_of(decoded(body, "x"), kind, "x"),
            lambda kind=kind: page_of(decoded(body, "x"), kind, "x"),
            lambda kind=kind: event_of(body, kind),
            lambda: version_of(decoded(body, "x")),
        ):
            try:
                read()
            except (ApiUnavailable, ApiRefused) as error:
                assert str(error)


@given(st.binary(max_size=50))
def test_whatever_bytes_come_are_an_object_or_unavailable(body: bytes) -> None:
    try:
        assert isinstance(decoded(body, "x"), dict)
    except ApiUnavailable as error:
        assert "what answers for the Kubernetes API sends no" in str(error)


@pytest.mark.parametrize(
    ("document", "missing"),
    [
        ({"metadata": {"name": "a", "resourceVersion": "1"}, "spec": {}}, "without uid"),
        ({"metadata": {"name": "a", "uid": "u"}, "spec": {}}, "without resourceVersion"),
        ({"metadata": {"name": "a"}, "spec": None}, "without uid and resourceVersion and spec"),
        ({"metadata": {"uid": "u", "resourceVersion": "1"}}, "name"),
        ({"metadata": None}, r"metadata"),
        ({"metadata": {"name": "a", "labels": []}}, r"labels"),
        ({"metadata": {"name": "a", "annotations": {"a": 1}}}, r"annotations"),
        ({"metadata": {"name": "a"}, "status": []}, r"status"),
    ],
)
def test_an_object_has_what_everybody_relies_on(document: Any, missing: str) -> None:
    with pytest.raises(ApiUnavailable, match=missing):
        object_of(document, DEPLOYMENT, "get Deployment a")


def test_measured_pods_are_kept_nowhere_and_have_no_version() -> None:
    assert object_of({"metadata": {"name": "a"}, "containers": [{}]}, POD_METRICS, "x")["containers"] == [{}]
    with pytest.raises(ApiUnavailable, match="containers"):
        object_of({"metadata": {"name": "a"}, "containers": 5}, POD_METRICS, "x")


def test_a_list_may_be_empty_in_both_ways_of_go_and_has_no_holes() -> None:
    assert page_of({"items": None}, POD, "x").items == page_of({"items": [], "metadata": {}}, POD, "x").items == []
    holes: list[Any] = [[None], [1], {}, [[]]]
    for items in holes:
        with pytest.raises(ApiUnavailable, match="items"):
            page_of({"items": items}, POD, "x")


def test_an_event_is_of_its_type_and_an_error_is_raised() -> None:
    assert event_of(msgspec.json.encode({"type": "DELETED", "object": kept()}), POD) == WatchEvent("DELETED", kept())
    bookmark = {"metadata": {"resourceVersion": "7", "creationTimestamp": None}, "spec": {"containers": None}}
    assert event_of(msgspec.json.encode({"type": "BOOKMARK", "object": bookmark}), POD).document == bookmark
    gone = {"kind": "Status", "code": 410, "message": "too old resource version"}
    with pytest.raises(ApiGone, match="too old"):
        event_of(msgspec.json.encode({"type": "ERROR", "object": gone}), POD)


async def _of(*texts: bytes) -> AsyncIterator[bytes]:
    for text in texts:
        yield text


@given(st.lists(st.binary(max_size=6).map(lambda text: text.replace(b"\r", b"\n")), max_size=8))
async def test_lines_are_the_same_however_they_are_cut(texts: list[bytes]) -> None:
    whole = b"".join(texts).split(b"\n")
    lines = [line async for line in lines_of(_of(*texts))]
    assert lines == (whole if whole[-1] else whole[:-1])


async def test_several_answers_share_an_allowance() -> None:
    allowance = Allowance(10)
    assert await allowance.read(_of(b"1234", b"56"), "x") == b"123456"
    with pytest.raises(ApiTooLong, match="more than 10 bytes"):
        await allowance.read(_of(b"78901"), "x")
