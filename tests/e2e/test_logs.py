"""What functions write to stderr, read over /system/logs: all of it, the end of it, and as it comes."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.e2e.programs import Workshop
from tests.e2e.serving import Penstock, serving, wait_until

WRITER = """
import sys
text = sys.stdin.buffer.read().decode()
sys.stderr.write(text + "\\n")
print("written")
"""


@pytest.fixture(scope="module")
def server(workshop: Workshop) -> Iterator[Penstock]:
    with serving() as running:
        running.deploy("writer", workshop.python("writer", WRITER), combine_output="false")
        yield running


def lines(server: Penstock, query: str) -> list[dict[str, Any]]:
    answer = server.request("GET", f"/system/logs?{query}", admin=True)
    assert answer.status == 200, answer.text
    assert answer.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in answer.text.splitlines()]


def texts(server: Penstock, query: str) -> list[str]:
    return [line["text"] for line in lines(server, query)]


def write(server: Penstock, text: str, name: str = "writer") -> None:
    assert server.invoke(name, text.encode()).text == "written\n"
    wait_until(lambda: any(text in line for line in texts(server, f"name={name}")), f"the line {text!r}", 60.0)


def test_lines_of_a_function_carry_its_name_instance_and_time(server: Penstock) -> None:
    write(server, "first of all")
    [line] = [line for line in lines(server, "name=writer") if "first of all" in line["text"]]
    assert (line["name"], line["namespace"]) == ("writer", "openfaas-fn")
    assert line["instance"]
    written = datetime.fromisoformat(line["timestamp"])
    assert abs(datetime.now(UTC) - written) < timedelta(minutes=5)


def test_tail_gives_the_last_lines_in_order(server: Penstock) -> None:
    for number in range(5):
        write(server, f"tail line {number}")
    got = texts(server, "name=writer&tail=2")
    assert len(got) == 2
    assert "tail line 3" in got[0]
    assert "tail line 4" in got[1]


def test_since_leaves_out_what_is_older(server: Penstock) -> None:
    write(server, "before the moment")
    time.sleep(0.01)  # the moment lies between two lines whatever the clock's step
    moment = quote(datetime.now(UTC).isoformat())
    write(server, "after the moment")
    got = texts(server, f"name=writer&since={moment}")
    assert any("after the moment" in text for text in got)
    assert not any("before the moment" in text for text in got)


def test_following_gives_new_lines_as_they_are_written(server: Penstock) -> None:
    connection = http.client.HTTPConnection(*server.address, timeout=60)
    connection.request("GET", "/system/logs?name=writer&follow=1&tail=1", headers=server.admin)
    response = connection.getresponse()
    assert response.status == 200
    for number in range(3):
        server.invoke("writer", f"followed {number}".encode())
        while f"followed {number}" not in json.loads(response.readline())["text"]:
            pass
    connection.close()


def test_lines_of_an_earlier_replica_are_kept(server: Penstock) -> None:
    write(server, "of an earlier replica")
    for replicas in (0, 1):
        body = json.dumps({"serviceName": "writer", "replicas": replicas}).encode()
        server.request("POST", "/system/scale-function/writer", body, admin=True)
    wait_until(lambda: server.function("writer").get("availableReplicas", 0) == 1, "the new replica", 60.0)
    write(server, "of a later replica")
    got = lines(server, "name=writer")
    instances = {line["instance"] for line in got if "replica" in line["text"]}
    assert any("of an earlier replica" in line["text"] for line in got)
    assert len(instances) >= 2


@pytest.mark.parametrize("query", ["", "name=", "name=..", "name=writer&tail=x", "name=writer&since=yesterday"])
def test_a_query_that_cannot_be_read_is_refused(server: Penstock, query: str) -> None:
    assert server.request("GET", f"/system/logs?{query}", admin=True).status in (400, 404, 422)


def test_logs_of_an_unknown_function_are_not_found(server: Penstock) -> None:
    assert server.request("GET", "/system/logs?name=nosuch", admin=True).status == 404


def test_a_talkative_function_keeps_bounded_files(server: Penstock, workshop: Workshop) -> None:
    program = workshop.python(
        "talks", "import sys\nfor i in range(20000): sys.stderr.write('line %06d ' % i + 'x' * 100 + '\\n')"
    )
    spec = {
        "service": "talks",
        "envProcess": program,
        "envVars": {"combine_output": "false"},
        "labels": {"com.penstock.logs.max-bytes": "200000"},
    }
    assert server.request("POST", "/system/functions", json.dumps(spec).encode(), admin=True).status == 202
    server.wait_ready("talks")
    assert server.invoke("talks").status == 200

    def all_told() -> bool:
        return any("line 019999" in last or "log lines dropped" in last for last in texts(server, "name=talks&tail=1"))

    wait_until(all_told, "the last line, or word of those that were dropped", 60.0)
    assert 0 < sum(size(path) for path in (server.home / "logs").rglob("*talks*")) < 1_000_000


def size(path: Path) -> int:
    """Bytes of a file; 0 for what was rotated away."""
    try:
        return path.stat().st_size if path.is_file() else 0
    except FileNotFoundError:
        return 0


def test_binary_lines_and_control_characters_stay_json(server: Penstock, workshop: Workshop) -> None:
    program = workshop.python(
        "binary", "import sys; sys.stderr.buffer.write(b'\\xff\\xfe\\x00 \\x1b[31m \"quoted\" \\\\ end-of-it\\n')"
    )
    server.deploy("binary", program, combine_output="false")
    assert server.invoke("binary").status == 200
    wait_until(lambda: any("end-of-it" in text for text in texts(server, "name=binary")), "the line", 60.0)
