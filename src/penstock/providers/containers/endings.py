"""Why a container ended, in words that a user can act on: its exit code, its memory limit, the last words of its log.

Called by the docker runtime with what the engine says of the container after its end.
"""

from __future__ import annotations

import signal
from typing import Any

from penstock.providers.containers.capabilities import advice
from penstock.providers.containers.engine import Engine
from penstock.providers.containers.logs import last_words

REMOVED = "its container was removed by somebody else"
DISCONNECTED = "its container was disconnected from its network by somebody else"
_SIGNALS = 128


async def reason_of(engine: Engine, container: str) -> str:
    """Of a container that is still there. Raises EngineRefused when it is not, ProviderUnavailable."""
    document = await engine.get(f"/containers/{container}/json")
    state, config = document["State"], document["HostConfig"]
    reason = words_for(state, config.get("Memory") or 0)
    said = await last_words(engine, f"/containers/{container}/logs")
    if not said:
        return reason
    user, given = (document.get("Config") or {}).get("User") or "", config.get("CapAdd") or ()
    hint = advice(int(state.get("ExitCode") or 0), said, user, given)
    return f"{reason}: {said}; {hint}" if hint else f"{reason}: {said}"


def words_for(state: dict[str, Any], memory: int) -> str:
    """For a container's state and its limit in bytes, 0 for none."""
    if state.get("OOMKilled"):
        return f"out of memory, its limit is {readable(memory)}" if memory else "out of memory, the machine has no more"
    if state.get("Error"):
        return str(state["Error"])
    code = int(state.get("ExitCode") or 0)
    if _SIGNALS < code < _SIGNALS + signal.NSIG:
        number = code - _SIGNALS
        return f"ended by signal {number} ({signal.strsignal(number) or 'unknown'})"
    return f"exit code {code}"


def readable(size: int) -> str:
    """Bytes in the largest unit that needs no fraction."""
    for unit in ("", "Ki", "Mi", "Gi"):
        if size % 1024 or size == 0 or unit == "Gi":
            return f"{size}{unit}" if unit else f"{size} bytes"
        size //= 1024
    return f"{size}"
