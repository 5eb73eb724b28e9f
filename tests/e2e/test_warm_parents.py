"""Python functions as users deploy them: one import for all replicas, and failures that say what is wrong."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.serving import Penstock, serving, wait_until

HANDLER = """
import os, time
time.sleep(0.3)
with open({marks!r}, "a") as file:
    file.write(str(os.getpid()) + chr(10))

def handle(event, context):
    return {{"statusCode": 200, "body": os.environ["PENSTOCK_REPLICA"]}}
"""


@pytest.fixture
def penstock() -> Iterator[Penstock]:
    with serving() as server:
        login = server.cli("login", "--username", server.user, "--password-stdin", stdin=server.password.encode())
        assert login.returncode == 0, login.stderr
        yield server


def write(folder: Path, text: str = HANDLER) -> Path:
    (folder / "handler.py").write_text(text.format(marks=str(folder / "marks")))
    (folder / "marks").touch()
    return folder


def imports(folder: Path) -> int:
    return len((folder / "marks").read_text().splitlines())


def scale(penstock: Penstock, name: str, replicas: int) -> None:
    body = json.dumps({"serviceName": name, "replicas": replicas}).encode()
    assert penstock.request("POST", f"/system/scale-function/{name}", body, admin=True).status == 202
    penstock.wait_ready(name, replicas)


def test_three_replicas_are_one_import_until_the_function_is_deployed_again(penstock: Penstock, tmp_path: Path) -> None:
    write(tmp_path)
    result = penstock.cli("deploy", "--name", "hello", "--handler", str(tmp_path))
    assert result.returncode == 0, result.stderr
    scale(penstock, "hello", 3)
    wait_until(lambda: len({penstock.invoke("hello").body for _ in range(10)}) == 3, "all three to answer")
    assert imports(tmp_path) == 1
    assert penstock.cli("deploy", "--name", "hello", "--handler", str(tmp_path)).returncode == 0
    assert imports(tmp_path) == 2
    assert penstock.cli("remove", "hello").returncode == 0
    replicas = penstock.home / "run" / "replicas"
    wait_until(lambda: not list(replicas.iterdir()), "its directories to be gone")


def test_a_failed_import_ends_the_deployment_with_its_traceback(penstock: Penstock, tmp_path: Path) -> None:
    write(tmp_path, "import os\nraise ValueError('the table is missing')\n")
    patience = ("--label", "com.penstock.queue.timeout=1s")
    result = penstock.cli("deploy", "--name", "broken", "--handler", str(tmp_path), "--timeout", "100s", *patience)
    assert result.returncode == 1
    assert b"Traceback" in result.stderr and b"the table is missing" in result.stderr
    described = penstock.cli("describe", "broken").stdout.decode()
    assert "Not Ready" in described and "handler.py" in described and "Traceback" in described
    assert penstock.invoke("broken").status == 503
    write(tmp_path)
    assert penstock.cli("deploy", "--name", "broken", "--handler", str(tmp_path)).returncode == 0
    assert penstock.invoke("broken").status == 200
