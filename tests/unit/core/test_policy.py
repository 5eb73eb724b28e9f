from __future__ import annotations

import re

import pytest

from penstock.core.policy import AS_STAGES_SAY, WATCHDOG_GRACE, Policy, policy_of
from penstock.errors import InvalidInput
from penstock.model import FunctionSpec

DEFAULT = Policy(timeout=60.0, max_inflight=7, queue_length=8, queue_timeout=9.0)


def spec(labels: dict[str, str] | None = None, env: dict[str, str] | None = None) -> FunctionSpec:
    return FunctionSpec(name="f", labels=labels or {}, env_vars=env or {})


def test_what_a_function_does_not_say_comes_from_the_default() -> None:
    assert policy_of(spec(), DEFAULT) == DEFAULT


def test_labels_say_everything() -> None:
    labels = {
        "com.penstock.timeout": "1m30s",
        "com.penstock.max-inflight": "2",
        "com.penstock.queue.length": "0",
        "com.penstock.queue.timeout": "500ms",
    }
    assert policy_of(spec(labels), DEFAULT) == Policy(timeout=90.0, max_inflight=2, queue_length=0, queue_timeout=0.5)


def test_a_timeout_of_zero_is_no_limit() -> None:
    assert policy_of(spec({"com.penstock.timeout": "0"}), DEFAULT).timeout == 0


def test_the_gateway_waits_a_little_longer_than_a_watchdog_with_a_long_limit() -> None:
    assert policy_of(spec(env={"exec_timeout": "2m"}), DEFAULT).timeout == 120 + WATCHDOG_GRACE
    assert policy_of(spec(env={"exec_timeout": "2s"}), DEFAULT).timeout == 60
    assert policy_of(spec(env={"exec_timeout": "what"}), DEFAULT).timeout == 60
    assert policy_of(spec({"com.penstock.timeout": "5"}, {"exec_timeout": "2m"}), DEFAULT).timeout == 5


@pytest.mark.parametrize("text", ["-1s", "soon", "1 s", "1d", "٣", "1s\n", "9" * 400])
@pytest.mark.parametrize("label", ["com.penstock.timeout", "com.penstock.queue.timeout"])
def test_a_label_that_is_no_duration_is_refused_by_name(label: str, text: str) -> None:
    with pytest.raises(InvalidInput, match=re.escape(label)):
        policy_of(spec({label: text}), DEFAULT)


@pytest.mark.parametrize("text", ["-1", "1.5", "many", " 1", "1\n", "٣", "²", "0x1", "1_0", "+1", "9" * 5000])
@pytest.mark.parametrize("label", ["com.penstock.max-inflight", "com.penstock.queue.length"])
def test_a_label_that_is_no_whole_number_is_refused_by_name(label: str, text: str) -> None:
    with pytest.raises(InvalidInput, match=re.escape(label)):
        policy_of(spec({label: text}), DEFAULT)


# Buckets


def test_a_function_that_names_no_buckets_may_use_all_that_the_settings_allow() -> None:
    assert policy_of(spec(), DEFAULT).buckets is None


def test_buckets_are_named_by_label_or_annotation_and_the_label_counts() -> None:
    annotated = FunctionSpec(name="f", annotations={"com.penstock.storage.buckets": "notes"})
    both = FunctionSpec(
        name="f", labels={"com.penstock.storage.buckets": " a-1, b.2 ,"}, annotations=annotated.annotations
    )
    assert policy_of(annotated, DEFAULT).buckets == ("notes",)
    assert policy_of(both, DEFAULT).buckets == ("a-1", "b.2")


def test_an_empty_list_of_buckets_allows_none() -> None:
    assert policy_of(spec({"com.penstock.storage.buckets": ""}), DEFAULT).buckets == ()


@pytest.mark.parametrize("text", ["UPPER", "a", "x/y", "a b", "é-é", "-x-", "a" * 64, "*", "..\n"])
def test_what_is_no_bucket_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"com\.penstock\.storage\.buckets"):
        policy_of(spec({"com.penstock.storage.buckets": f"good-one,{text}"}), DEFAULT)


def test_a_pipeline_is_as_patient_as_its_stages_unless_it_says_otherwise() -> None:
    stages = FunctionSpec(name="p", stages=("a", "b"))
    assert policy_of(stages, DEFAULT).timeout == AS_STAGES_SAY
    limited = FunctionSpec(name="p", stages=("a", "b"), labels={"com.penstock.timeout": "5s"})
    assert policy_of(limited, DEFAULT).timeout == 5.0
