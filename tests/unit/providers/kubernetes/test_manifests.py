"""The objects of a function, and what is read back from them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from penstock.errors import InvalidInput
from penstock.model import FunctionSpec
from penstock.providers.kubernetes import marks
from penstock.providers.kubernetes.manifests import (
    Shape,
    created_of,
    deployment,
    desired_of,
    floor_of,
    is_ours,
    rollout_of,
    service,
    service_account,
    spec_of,
)
from tests.unit.providers.kubernetes.schemas import check_schemas

SHAPE = Shape(installation="lab", watchdog_image="penstock:1")


def spec(**fields: Any) -> FunctionSpec:
    return FunctionSpec(**{"name": "echo", "image": "registry.example.org/echo:1", "env_process": "cat", **fields})


def test_every_object_is_one_that_the_api_knows() -> None:
    for document in (deployment(spec(), 2, 1, SHAPE), service(spec(), SHAPE), service_account(spec(), SHAPE)):
        check_schemas(document)
        assert is_ours(document, "lab") and not is_ours(document, "other")


def test_a_deployment_is_read_back() -> None:
    wanted = spec(env_vars={"A": "1"}, labels={"team": "blue"}, annotations={"note": "é"})
    made = deployment(wanted, 3, 2, SHAPE, rollout="7")
    made["metadata"]["creationTimestamp"] = "2026-01-02T03:04:05Z"
    assert spec_of(made) == wanted
    assert (desired_of(made), floor_of(made), rollout_of(made)) == (3, 2, "7")
    assert created_of(made) == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.mark.parametrize("text", ["", "{", '{"name": 1}', "[]"])
def test_a_specification_that_cannot_be_read_is_said_so(text: str) -> None:
    made = deployment(spec(), 1, 0, SHAPE)
    made["metadata"]["annotations"][marks.SPEC] = text
    with pytest.raises(InvalidInput, match="openfaas-fn/echo cannot be read"):
        spec_of(made)
