"""Amounts as Kubernetes has them."""

from __future__ import annotations

from fractions import Fraction

import pytest

from penstock.core.quantity import parse_bytes
from penstock.errors import InvalidInput
from penstock.model import Resources
from penstock.providers.kubernetes.quantities import check_resources, for_copying, memory_text, resources_of, value_of
from tests.unit.providers.kubernetes.objects import container, spec


def test_amounts_are_passed_on_as_they_were_written() -> None:
    wanted = spec(limits=Resources(memory="128Mi", cpu="0.5"), requests=Resources(memory="1e6", cpu="100m"))
    assert container(wanted)["resources"] == {
        "limits": {"cpu": "0.5", "memory": "128Mi"},
        "requests": {"cpu": "100m", "memory": "1000000"},
    }


def test_without_amounts_there_is_no_field() -> None:
    assert resources_of(spec()) == {}
    assert resources_of(spec(limits=Resources(cpu="1"))) == {"limits": {"cpu": "1"}}


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ("128Mi", "128Mi"),
        ("1.5Gi", "1.5Gi"),
        ("64M", "64M"),
        ("1048577", "1048577"),
        ("128m", "128Mi"),
        ("1g", "1Gi"),
        ("64k", "64Ki"),
        ("64K", "64000"),
        ("512mb", "512Mi"),
        ("100b", "100"),
        ("1e9", "1000000000"),
        (".5Gi", "512Mi"),
    ],
)
def test_memory_means_what_it_means_to_every_provider(written: str, text: str) -> None:
    assert memory_text(written) == text
    assert value_of(text) == parse_bytes(written)


@pytest.mark.parametrize("text", ["128Q", "-1", "lots", "1 Gi", "1e99", "0", "٣Mi", "1Gi\n"])
def test_memory_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"^limits.memory"):
        check_resources(spec(limits=Resources(memory=text)))


@pytest.mark.parametrize("text", ["half", "-1", "0", "0.1m", "1e3", "²"])
def test_processors_that_cannot_be_read_are_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"^requests.cpu"):
        check_resources(spec(requests=Resources(cpu=text)))


@pytest.mark.parametrize(
    ("requests", "limits"),
    [
        (Resources(memory="2Gi"), Resources(memory="1Gi")),
        (Resources(cpu="2"), Resources(cpu="1999m")),
    ],
)
def test_a_request_above_its_limit_is_refused(requests: Resources, limits: Resources) -> None:
    with pytest.raises(InvalidInput, match=r"is more than limits\."):
        check_resources(spec(requests=requests, limits=limits))
    check_resources(spec(requests=limits, limits=requests))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1), ("0.5", Fraction(1, 2)), ("500m", Fraction(1, 2)), ("1Gi", 1 << 30), ("1.5Ki", 1536), ("1k", 1000),
        ("2E", 2 * 10**18), ("1e3", 1000), ("1E-3", Fraction(1, 1000)), ("100n", Fraction(1, 10**7)), (1, 1), (0.5, Fraction(1, 2)),
    ],
)  # fmt: skip
def test_the_number_of_a_quantity(text: object, value: Fraction | int) -> None:
    assert value_of(text) == value


@pytest.mark.parametrize("text", ["", "Mi", "1KiB", "x", None, "1" * 65, "1e9999", "٣", "nan"])
def test_what_is_no_quantity_has_no_number(text: object) -> None:
    assert value_of(text) is None


def test_copying_has_memory_enough_and_nothing_but_processors_and_memory() -> None:
    given = {
        "limits": {"memory": "1Gi", "cpu": "1", "nvidia.com/gpu": "1"},
        "requests": {"memory": "32Mi"},
        "claims": [],
    }
    assert for_copying(given) == {"limits": {"memory": "1Gi", "cpu": "1"}, "requests": {"memory": "64Mi"}}
    assert for_copying({}) == {}
