from __future__ import annotations

import pytest

from penstock.storage.objectevent import ObjectEvent
from penstock.storage.subscriptions import Subscriptions
from tests.unit.storage.support import by_key, event, function


def told(subscriptions: Subscriptions, one: ObjectEvent) -> list[str]:
    [(_, functions)] = subscriptions.to_tell([one])
    return functions


def test_those_are_told_whose_topics_cover_the_event() -> None:
    functions = by_key(
        function("all"),
        function("jpg", "s3:photos::.jpg"),
        function("png", "s3:photos::.png"),
        function("gone", events="removed"),
        function("cron", "cron-function"),
    )
    subscriptions = Subscriptions(functions)
    assert told(subscriptions, event("a.jpg")) == ["all.openfaas-fn", "jpg.openfaas-fn"]
    assert told(subscriptions, event("a.jpg", "removed")) == ["gone.openfaas-fn"]
    assert subscriptions.buckets() == {"photos"}


def test_changed_annotations_count_at_once_and_a_function_that_is_gone_does_not() -> None:
    functions = by_key(function("f"))
    subscriptions = Subscriptions(functions)
    assert told(subscriptions, event())
    functions |= by_key(function("f", "s3:other"))
    assert not told(subscriptions, event())
    functions.clear()
    assert subscriptions.of("f.openfaas-fn") is None
    assert subscriptions.buckets() == set()


def test_annotations_that_came_by_other_means_and_cannot_be_read_are_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    subscriptions = Subscriptions(by_key(function("f", "s3:photos", events="nonsense")))
    for _ in range(3):
        assert told(subscriptions, event()) == []
    assert len(caplog.records) == 1
    assert "f.openfaas-fn hears of no objects" in caplog.text
