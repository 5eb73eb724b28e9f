"""Named pipelines on a running gateway, as a user types it: in a stack file, by a flag, called, compared, and after a restart."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.programs import Workshop
from tests.e2e.serving import Penstock, serving, wait_until

STACK = """\
functions:
  sort: {fprocess: sort}
  uniq: {fprocess: uniq -c}
  upper: {fprocess: tr a-z A-Z}
pipelines:
  count:
    stages: sort | uniq
    labels: {com.penstock.timeout: 100s}
  shout:
    stages: [count, upper]
"""
TEXT = b"pear\napple\npear\n"


@pytest.fixture(scope="module")
def server() -> Iterator[Penstock]:
    with serving() as running:
        yield running


@pytest.fixture
def project(workshop: Workshop) -> Path:
    folder = workshop.file("project")
    folder.mkdir(exist_ok=True)
    (folder / "stack.yml").write_text(STACK)
    return folder


def ok(server: Penstock, project: Path, *arguments: str, stdin: bytes = b"") -> bytes:
    done = server.cli(*arguments, stdin=stdin, folder=project, PENSTOCK_HOME=str(server.home))
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def refused(server: Penstock, project: Path, *arguments: str) -> str:
    done = server.cli(*arguments, folder=project, PENSTOCK_HOME=str(server.home))
    assert done.returncode == 2, done.stderr.decode()
    return done.stderr.decode()


def test_pipelines_live_their_life_by_their_file(server: Penstock, project: Path) -> None:
    ok(server, project, "up")
    piped = TEXT
    for function in ("sort", "uniq", "upper"):
        piped = ok(server, project, "invoke", function, stdin=piped)
    assert piped.split() == [b"1", b"APPLE", b"2", b"PEAR"]
    assert ok(server, project, "invoke", "shout", stdin=TEXT) == piped
    assert ok(server, project, "invoke", "sort | uniq | upper", stdin=TEXT) == piped
    assert ok(server, project, "invoke", "count|upper", stdin=TEXT) == piped
    assert b"no differences found" in ok(server, project, "diff")
    ok(server, project, "ready", "shout")

    listed = {function["name"]: function for function in json.loads(ok(server, project, "list", "--json"))}
    assert listed["shout"]["pipeline"] == ["count", "upper"]
    assert "replicas" not in listed["shout"]
    assert listed["shout"]["invocationCount"] == 1
    described = json.loads(ok(server, project, "describe", "shout", "--output", "json"))
    assert described["Status"] == "Ready"
    assert [(stage["function"], stage["ready"]) for stage in described["Stages"]] == [
        ("count.openfaas-fn", True),
        ("upper.openfaas-fn", True),
    ]

    (project / "stack.yml").write_text(STACK.replace("[count, upper]", "[upper, count]"))
    changed = server.cli("diff", folder=project, PENSTOCK_HOME=str(server.home))
    assert changed.returncode == 1 and b"upper | count" in changed.stdout
    ok(server, project, "deploy", "--filter", "shout")
    other = ok(server, project, "invoke", "upper|sort|uniq", stdin=TEXT)
    wait_until(lambda: ok(server, project, "invoke", "shout", stdin=TEXT) == other, "the update")

    ok(server, project, "remove")
    wait_until(lambda: not json.loads(ok(server, project, "list", "--json")), "the end of all")
    assert server.invoke("shout", TEXT).status == 404


def test_what_a_pipeline_has_not_is_refused_and_says_where_it_is(server: Penstock, project: Path) -> None:
    ok(server, project, "deploy")
    stages = "count.openfaas-fn, upper.openfaas-fn"
    assert f"has no replicas of its own; scale {stages}" in refused(server, project, "scale", "shout", "2")
    assert f"writes no logs; read those of {stages}" in refused(server, project, "logs", "shout", "--tail=false")
    cycle = "count.openfaas-fn → shout.openfaas-fn → count.openfaas-fn"
    assert cycle in refused(server, project, "deploy", "--name", "count", "--pipeline", "sort | shout")
    assert "is a function" in refused(server, project, "deploy", "--name", "sort", "--pipeline", "upper")
    assert "is a pipeline" in refused(server, project, "deploy", "--name", "count", "--fprocess", "cat")
    assert ok(server, project, "invoke", "count", stdin=TEXT).split() == [b"1", b"apple", b"2", b"pear"]
    ok(server, project, "remove")


def test_a_stage_that_is_not_deployed_yet_is_told_of_and_found_once_it_is(server: Penstock, project: Path) -> None:
    flags = ("--name", "early", "--pipeline", "late | late")
    done = server.cli("deploy", *flags, folder=project, PENSTOCK_HOME=str(server.home))
    assert done.returncode == 0
    assert done.stderr.decode().count("late.openfaas-fn, a stage of early, is not deployed") == 1
    answer = server.invoke("early", TEXT)
    assert (answer.status, "late.openfaas-fn" in answer.text) == (404, True)
    server.deploy("late", "rev")
    assert server.invoke("early", TEXT).body == TEXT
    ok(server, project, "remove", "early", "late")


def test_functions_at_rest_are_woken_by_a_call_of_their_pipeline(server: Penstock, project: Path) -> None:
    ok(server, project, "deploy")
    for function in ("sort", "uniq", "upper"):
        ok(server, project, "scale", function, "0")
        wait_until(lambda name=function: not server.function(name).get("availableReplicas"), f"{function} to rest")  # type: ignore[misc]
    ok(server, project, "ready", "shout")
    assert ok(server, project, "invoke", "shout", stdin=TEXT).split() == [b"1", b"APPLE", b"2", b"PEAR"]
    ok(server, project, "remove")


def test_a_pipeline_is_there_again_after_a_restart() -> None:
    with tempfile.TemporaryDirectory(prefix="ps-") as home:
        body = json.dumps({"service": "flow", "pipeline": ["rev", "rev"], "annotations": {"a": "b"}}).encode()
        first = Penstock(home=Path(home))
        try:
            first.deploy("rev", "rev")
            assert first.request("POST", "/system/functions", body, admin=True).status == 202
            before = first.function("flow")
            assert first.stop() == 0
        finally:
            first.kill()
        second = Penstock(home=Path(home))
        try:
            second.wait_ready("rev")
            assert second.function("flow") == before
            assert second.invoke("flow", TEXT).body == TEXT
            assert second.stop() == 0
        finally:
            second.kill()
