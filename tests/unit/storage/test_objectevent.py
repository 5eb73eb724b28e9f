from __future__ import annotations

import uuid

import pytest

from penstock.storage.objectevent import call_id
from tests.unit.storage.support import event


def test_an_event_that_is_told_twice_has_the_same_call_id() -> None:
    assert call_id(event(), "f.openfaas-fn") == call_id(event(), "f.openfaas-fn")


def test_a_call_id_is_a_uuid_of_version_8() -> None:
    identity = uuid.UUID(call_id(event(), "f.openfaas-fn"))
    assert (identity.version, identity.variant) == (8, uuid.RFC_4122)


@pytest.mark.parametrize(
    "other", [event("b.jpg"), event(kind="removed"), event(bucket="out"), event(identity="2")], ids=lambda one: one.key
)
def test_another_event_has_another_call_id(other: object) -> None:
    assert call_id(other, "f.openfaas-fn") != call_id(event(), "f.openfaas-fn")  # type: ignore[arg-type]


def test_another_function_has_another_call_id() -> None:
    assert call_id(event(), "f.openfaas-fn") != call_id(event(), "g.openfaas-fn")


def test_what_nobody_could_tell_apart_is_never_the_same() -> None:
    assert call_id(event(identity=""), "f.openfaas-fn") != call_id(event(identity=""), "f.openfaas-fn")
