"""Limits and requests as an engine takes them."""

from __future__ import annotations

from typing import Any

import pytest

from penstock.errors import InvalidInput
from penstock.model import FunctionSpec, Resources
from penstock.providers.containers.resources import CORE, Machine, Sizes, container_limits, machine_of, sizes_of, within

MACHINE = Machine(cpus=4)


def spec(limits: Resources | None = None, requests: Resources | None = None, **fields: Any) -> FunctionSpec:
    nothing = Resources()
    return FunctionSpec(name="f", image="i", limits=limits or nothing, requests=requests or nothing, **fields)


def test_nothing_asked_for_limits_processes_only() -> None:
    assert container_limits(spec(), MACHINE) == {"PidsLimit": 1024, "Ulimits": []}


def test_a_memory_limit_allows_no_swap_on_top() -> None:
    limits = container_limits(spec(Resources(memory="64Mi")), MACHINE)
    assert (limits["Memory"], limits["MemorySwap"]) == (64 << 20, 64 << 20)


@pytest.mark.parametrize("memory", ["1", "1Mi", "6Mi"])
def test_memory_below_an_engines_least_is_raised_to_it(memory: str) -> None:
    asked = spec(Resources(memory=memory), Resources(memory=memory))
    limits = container_limits(asked, MACHINE)
    assert (limits["Memory"], limits["MemoryReservation"]) == (6 << 20, 6 << 20)


def test_a_reservation_is_no_more_than_the_limit() -> None:
    assert within(Sizes(memory=7 << 20, memory_reserved=9 << 20), MACHINE).memory_reserved == 7 << 20
    assert within(Sizes(memory_reserved=9 << 20), MACHINE).memory_reserved == 9 << 20


@pytest.mark.parametrize(
    ("text", "amount"),
    [("500m", CORE // 2), ("0.5", CORE // 2), (".25", CORE // 4), ("2", 2 * CORE), ("1m", CORE // 1000)],
)
def test_processors_are_written_in_cores_or_thousandths(text: str, amount: int) -> None:
    assert sizes_of(spec(Resources(cpu=text))).cpu == amount


@pytest.mark.parametrize("text", ["lots", "-1", "0", "0m", "0.0001", "1e3", "1 ", "500M", "\uff11", "9" * 5000, "1\n"])
def test_processors_that_cannot_be_read_are_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"limits\.cpu"):
        sizes_of(spec(Resources(cpu=text)))
    with pytest.raises(InvalidInput, match=r"requests\.cpu"):
        sizes_of(spec(requests=Resources(cpu=text)))


def test_a_request_for_memory_that_cannot_be_read_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"requests\.memory"):
        sizes_of(spec(requests=Resources(memory="much")))


def test_more_processors_than_the_machine_has_are_all_it_has() -> None:
    limits = container_limits(spec(Resources(cpu="64"), Resources(cpu="64")), MACHINE)
    assert (limits["NanoCpus"], limits["CpuShares"]) == (4 * CORE, 4096)


def test_a_kernel_that_cannot_limit_processor_time_is_not_asked_to() -> None:
    machine = machine_of({"NCPU": 2, "CpuCfsQuota": False})
    assert "NanoCpus" not in container_limits(spec(Resources(cpu="1")), machine)


def test_a_small_request_is_the_least_weight() -> None:
    assert container_limits(spec(requests=Resources(cpu="1m")), MACHINE)["CpuShares"] == 2


def test_labels_limit_processes_files_and_processor_seconds() -> None:
    labels = {
        "com.penstock.limit.processes": "7",
        "com.penstock.limit.open-files": "100",
        "com.penstock.limit.cpu-seconds": "3",
    }
    limits = container_limits(spec(labels=labels), MACHINE)
    assert limits["PidsLimit"] == 7
    assert limits["Ulimits"] == [
        {"Name": "nofile", "Soft": 100, "Hard": 100},
        {"Name": "cpu", "Soft": 3, "Hard": 3},
    ]
