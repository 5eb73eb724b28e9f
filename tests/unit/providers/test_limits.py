from __future__ import annotations

import pytest

from penstock.errors import InvalidInput
from penstock.model import FunctionSpec, Resources
from penstock.providers.limits import DEFAULT_LOG_BYTES, limits_of


def test_nothing_asked_for_means_defaults() -> None:
    limits = limits_of(FunctionSpec(name="f"))
    assert (limits.memory, limits.cpu_seconds, limits.open_files, limits.processes) == (0, 0, 0, 0)
    assert (limits.log_bytes, limits.grace, limits.new_privileges) == (DEFAULT_LOG_BYTES, 30.0, False)


def test_everything_asked_for_is_read() -> None:
    labels = {
        "com.penstock.limit.cpu-seconds": "5",
        "com.penstock.limit.open-files": "100",
        "com.penstock.limit.processes": "10",
        "com.penstock.logs.max-bytes": "5000",
        "com.penstock.allow-new-privileges": "true",
    }
    spec = FunctionSpec(name="f", limits=Resources(memory="1Gi"), labels=labels, env_vars={"write_timeout": "2m"})
    limits = limits_of(spec)
    assert (limits.memory, limits.cpu_seconds, limits.open_files, limits.processes) == (1 << 30, 5, 100, 10)
    assert (limits.log_bytes, limits.grace, limits.new_privileges) == (5000, 120.0, True)


@pytest.mark.parametrize("text", ["soon", "-5s", "0", ""])
def test_a_write_timeout_that_the_watchdog_could_not_use_counts_as_its_default(text: str) -> None:
    assert limits_of(FunctionSpec(name="f", env_vars={"write_timeout": text})).grace == 30.0


@pytest.mark.parametrize(
    ("write", "run", "grace"), [("", "10m", 600.0), ("2m", "10s", 120.0), ("1s", "0", 1.0), ("soon", "later", 30.0)]
)
def test_a_drained_replica_has_as_long_as_a_request_may_take(write: str, run: str, grace: float) -> None:
    environ = {"write_timeout": write, "exec_timeout": run}
    assert limits_of(FunctionSpec(name="f", env_vars=environ)).grace == grace


@pytest.mark.parametrize(
    ("label", "value"),
    [
        ("com.penstock.limit.cpu-seconds", "-1"),
        ("com.penstock.limit.cpu-seconds", "0"),
        ("com.penstock.limit.open-files", "3"),
        ("com.penstock.limit.processes", "many"),
        ("com.penstock.limit.processes", "9" * 5000),
        ("com.penstock.logs.max-bytes", "10"),
        ("com.penstock.allow-new-privileges", "yes"),
    ],
)
def test_a_label_that_cannot_be_used_is_named(label: str, value: str) -> None:
    with pytest.raises(InvalidInput, match=label):
        limits_of(FunctionSpec(name="f", labels={label: value}))
