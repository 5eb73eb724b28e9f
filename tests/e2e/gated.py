"""Functions whose calls last until a test lets them through, and what the gateway tells of their scaling."""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.e2e.programs import Workshop
from tests.e2e.serving import START_DEADLINE, Answer, Penstock, wait_until

LONGEST = 600.0
"""Seconds that a call may take."""

IN_FLIGHT = {
    "com.openfaas.scale.type": "capacity",
    "com.openfaas.scale.target": "2",
    "com.openfaas.scale.target-proportion": "1",
    "com.openfaas.scale.down.window": "5s",
}
"""A replica for each two requests in flight."""


def deploy(server: Penstock, name: str, workshop: Workshop, labels: dict[str, str]) -> Path:
    """A function whose calls last until the file that is returned exists. One that rests when nobody calls it may do so already."""
    gate = workshop.file(f"{name}-gate")
    handler = gate.with_name(f"{name}.py")
    handler.write_text(
        "import asyncio, os\n\n"
        "async def handle(event, context):\n"
        f"    while not os.path.exists({str(gate)!r}):\n"
        "        await asyncio.sleep(0.02)\n"
        "    return 'through'\n"
    )
    environment = {"mode": "python", "handler": str(handler), "exec_timeout": f"{LONGEST:g}s"}
    spec = {"service": name, "image": "", "envVars": environment, "labels": labels}
    answer = server.request("POST", "/system/functions", json.dumps(spec).encode(), admin=True)
    assert answer.status == 202, answer
    if "com.openfaas.scale.zero" not in labels:
        server.wait_ready(name)
    return gate


def scaling(server: Penstock, name: str) -> Any:
    """What the gateway tells of a function's scaling."""
    answer = server.request("GET", f"/system/function/{name}/scaling", admin=True)
    assert answer.status == 200, answer
    return answer.json()


def wait_replicas(server: Penstock, name: str, replicas: int, deadline: float = START_DEADLINE) -> None:
    """Until so many are wanted and ready."""

    def settled() -> bool:
        status = server.function(name) or {}
        return bool(status.get("replicas", 0) == status.get("availableReplicas", 0) == replicas)

    try:
        wait_until(settled, f"{replicas} replicas of {name}", deadline)
    except TimeoutError as error:
        raise TimeoutError(f"{error}: {server.function(name)}\n{scaling(server, name)}") from error


def wait_told(server: Penstock, name: str, rule: str) -> None:
    """Until a decision by this rule is told: what it changes may be seen a moment sooner."""
    try:
        wait_until(lambda: told(server, name, rule), f"a decision about {name} by {rule}")
    except TimeoutError as error:
        raise TimeoutError(f"{error}: {scaling(server, name)}") from error


def call(server: Penstock, name: str) -> Answer:
    """As `Penstock.invoke`, with more patience than any test has."""
    connection = http.client.HTTPConnection(*server.address, timeout=LONGEST)
    try:
        connection.request("POST", f"/function/{name}", b"x")
        response = connection.getresponse()
        return Answer(response.status, dict(response.getheaders()), response.read())
    finally:
        connection.close()


@contextlib.contextmanager
def held(server: Penstock, name: str, count: int, gate: Path) -> Iterator[list[Answer]]:
    """So many requests in flight at once; at the end they are let through, and their answers are in the list."""
    answers: list[Answer] = []
    callers = [threading.Thread(target=lambda: answers.append(call(server, name))) for _ in range(count)]
    for caller in callers:
        caller.start()
    try:
        yield answers
    finally:
        gate.touch()
        for caller in callers:
            caller.join()


def most_wanted(server: Penstock, name: str) -> int:
    """The highest number that any decision about a function asked for."""
    return max(int(one["after"]) for one in scaling(server, name)["decisions"])


def told(server: Penstock, name: str, rule: str) -> bool:
    return any(one["rule"] == rule for one in scaling(server, name)["decisions"])
