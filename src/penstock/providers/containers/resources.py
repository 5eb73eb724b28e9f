"""What a container may use: the limits and requests of a specification as an engine wants them.

Pure. Called by `body`, and by runtimes to refuse quantities that cannot be read. What is below an engine's minimum or above the
machine is brought within it here; what is reported to users stays as they wrote it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from penstock.core.quantity import parse_bytes
from penstock.errors import InvalidInput
from penstock.model import FunctionSpec
from penstock.providers.limits import limits_of

LEAST_MEMORY = 6 << 20
"""Bytes; engines refuse less."""
DEFAULT_PROCESSES = 1024
"""Processes and threads in one container. Engines set no limit, so that one function could fill the machine's table."""
CORE = 1_000_000_000
"""Billionths, the engine's unit, in one core."""
SHARES = 1024
"""Weight of one core; cgroups take 2 and more."""
LEAST_CPU, MOST_CPU = 1_000_000, 1_000_000 * CORE
"""A thousandth of a core is the smallest share that kernels enforce."""

_CPU = re.compile(r"(\d{1,9}(?:\.\d{1,9})?|\.\d{1,9})(m?)", re.ASCII)


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """What the engine's machine has, and whether its kernel can limit processor time."""

    cpus: int = 0
    cpu_quota: bool = True


class Sizes(msgspec.Struct, frozen=True, kw_only=True):
    """As asked for; 0 where nothing was. Memory in bytes, processor in billionths of a core."""

    memory: int = 0
    memory_reserved: int = 0
    cpu: int = 0
    cpu_reserved: int = 0


def machine_of(info: Mapping[str, Any]) -> Machine:
    """From the engine's `GET /info`."""
    return Machine(cpus=int(info.get("NCPU") or 0), cpu_quota=info.get("CpuCfsQuota") is not False)


def sizes_of(spec: FunctionSpec) -> Sizes:
    """The quantities of limits and requests. Raises InvalidInput naming the field that cannot be read."""
    return Sizes(
        memory=_memory("limits.memory", spec.limits.memory),
        memory_reserved=_memory("requests.memory", spec.requests.memory),
        cpu=_cpu("limits.cpu", spec.limits.cpu),
        cpu_reserved=_cpu("requests.cpu", spec.requests.cpu),
    )


def within(sizes: Sizes, machine: Machine) -> Sizes:
    """What an engine on this machine takes: at least its minimum of memory, at most the machine's processors, and a
    reservation that is no more than the limit."""
    memory = max(sizes.memory, LEAST_MEMORY) if sizes.memory else 0
    reserved = max(sizes.memory_reserved, LEAST_MEMORY) if sizes.memory_reserved else 0
    most = machine.cpus * CORE or MOST_CPU
    return Sizes(
        memory=memory,
        memory_reserved=min(reserved, memory) if memory else reserved,
        cpu=min(sizes.cpu, most),
        cpu_reserved=min(sizes.cpu_reserved, most),
    )


def container_limits(spec: FunctionSpec, machine: Machine) -> dict[str, Any]:
    """Those of a container's HostConfig. Raises InvalidInput."""
    sizes, limits = within(sizes_of(spec), machine), limits_of(spec)
    document: dict[str, Any] = {"PidsLimit": limits.processes or DEFAULT_PROCESSES}
    if sizes.memory:
        # As much swap as memory would let a function be twice as large as its limit says, and slow instead of ended.
        document["Memory"] = document["MemorySwap"] = sizes.memory
    if sizes.memory_reserved:
        document["MemoryReservation"] = sizes.memory_reserved
    if sizes.cpu and machine.cpu_quota:
        document["NanoCpus"] = sizes.cpu
    if sizes.cpu_reserved:
        document["CpuShares"] = max(2, sizes.cpu_reserved * SHARES // CORE)
    ulimits = {"nofile": limits.open_files, "cpu": limits.cpu_seconds}
    document["Ulimits"] = [{"Name": name, "Soft": number, "Hard": number} for name, number in ulimits.items() if number]
    return document


def _memory(field: str, text: str) -> int:
    try:
        return parse_bytes(text) if text else 0
    except InvalidInput as error:
        raise InvalidInput(f"{field}: {error}") from error


def _cpu(field: str, text: str) -> int:
    if not text:
        return 0
    found = _CPU.fullmatch(text)
    amount = round(float(found.group(1)) * (CORE // 1000 if found.group(2) else CORE)) if found else 0
    if not LEAST_CPU <= amount <= MOST_CPU:
        raise InvalidInput(f"{field}: {text[:64]!r} is not an amount of processors: use 500m, 0.5 or 2, at least 1m")
    return amount
