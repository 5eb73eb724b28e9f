"""Whole stacks: what each function becomes, and what is told when some fail."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from penstock.builders.model import Built
from penstock.cli.deploying import AT_ONCE, Circumstances, Deployment, deployments
from penstock.stack.load import read_stack
from penstock.stack.payload import Overrides
from tests.unit.cli.support import Answer, Recorded, ScriptedGateway, answer_json, run_cli

FUNCTIONS = "/system/functions"
TEMPLATE = "language: mine\nfprocess: python index.py\n"


class JudgingGateway(ScriptedGateway):
    """Answers a deployment as `judge` says of the function's name."""

    judge: Callable[[str], Answer] | None = None

    def _reply(self, request: Recorded) -> Answer:
        if self.judge is None or request.method != "PUT":
            return super()._reply(request)
        self.requests.append(request)
        return self.judge(request.json["service"])


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch) -> Iterator[JudgingGateway]:
    made = JudgingGateway()
    monkeypatch.setenv("PENSTOCK_URL", made.url)
    yield made
    made.close()


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    directory = tmp_path / "project"
    directory.mkdir()
    monkeypatch.chdir(directory)
    return directory


def planned(keys: str, circumstances: Circumstances | None = None, over: Overrides | None = None) -> Deployment:
    stack = read_stack(f"functions: {{f: {{{keys}}}}}", "s.yml", None, Path())
    [deployment] = deployments(stack, over or Overrides(), circumstances)
    return deployment


def test_a_build_brings_program_and_variables_and_no_image() -> None:
    built = Built(function="f", folder=Path("/b"), fprocess="/b/run", environment={"mode": "http", "A": "built"})
    keys = "lang: go, handler: ./f, image: acme/f, environment: {A: file}"
    spec = planned(keys, Circumstances(native=True, built={"f": built})).spec
    assert spec is not None and (spec.image, spec.env_process) == ("", "/b/run")
    assert spec.env_vars == {"mode": "http", "A": "file"}


def test_a_built_image_takes_the_place_of_the_files() -> None:
    spec = planned("lang: go, image: acme/f", Circumstances(built={"f": Built(function="f", image="acme/f:sha")})).spec
    assert spec is not None and spec.image == "acme/f:sha"


def test_programs_of_the_machine_need_a_build(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_BUILDS", str(here / "builds"))
    (here / "f").mkdir()
    (here / "f" / "handler.py").write_text("def handle(event, context): ...\n")
    keys = "lang: python3-http, handler: ./f, image: acme/f"
    fault = planned(keys, Circumstances(native=True)).fault
    assert fault is not None and str(fault).startswith("s.yml:1: is not built yet")
    assert planned(keys).fault is None, "where images run the image is enough"
    assert planned(f"{keys}, fprocess: cat", Circumstances(native=True)).fault is None


def test_the_program_line_of_a_template_on_disk(here: Path) -> None:
    (here / "template" / "mine").mkdir(parents=True)
    (here / "template" / "mine" / "template.yml").write_text(TEMPLATE)

    def program(lang: str, read_template: bool = True) -> str:
        spec = planned(f"lang: {lang}, image: x", Circumstances(read_template=read_template)).spec
        assert spec is not None
        return spec.env_process

    assert program("mine") == "python index.py"
    assert program("mine", read_template=False) == ""
    assert program("absent") == program("dockerfile") == program("python3-http") == ""


def test_nothing_to_run_is_a_fault_of_that_function() -> None:
    fault = planned("labels: {a: b}").fault
    assert fault is not None and "s.yml:1: nothing to run" in str(fault)


# The verb

FIVE = "functions:\n" + "".join(f"  f{number}: {{fprocess: cat}}\n" for number in range(5))


def accepted(gateway: ScriptedGateway, *answers: Answer) -> None:
    gateway.on(f"PUT {FUNCTIONS}", *(answers or (Answer(202),)))


def test_a_stack_file_is_used_when_no_name_is_given(gateway: ScriptedGateway) -> None:
    Path("stack.yml").write_text(FIVE)
    accepted(gateway)
    result = run_cli("deploy", "--no-wait", "-e", "A=1", "-l", "l=1", "--cpu-limit", "1", "-n", "staging")
    assert result.exit_code == 0
    bodies = sorted((request.json for request in gateway.requests), key=lambda body: str(body["service"]))
    assert [body["service"] for body in bodies] == ["f0", "f1", "f2", "f3", "f4"]
    assert bodies[0] == {
        "service": "f0",
        "namespace": "staging",
        "envProcess": "cat",
        "envVars": {"A": "1"},
        "labels": {"l": "1"},
        "annotations": {},
        "limits": {"cpu": "1"},
    }
    assert f"Deploying: f4.\n\nDeployed. 202 Accepted.\nURL: {gateway.url}/function/f4.staging\n" in result.stdout


def test_a_name_or_an_image_is_meant_without_the_stack_file(gateway: ScriptedGateway) -> None:
    Path("stack.yml").write_text(FIVE)
    accepted(gateway)
    assert run_cli("deploy", "--no-wait", "--name", "one", "--fprocess", "cat").exit_code == 0
    assert [request.json["service"] for request in gateway.requests] == ["one"]
    result = run_cli("deploy", "--image", "x")
    assert result.exit_code == 2 and "--image: which function is it for?" in result.stderr


@pytest.mark.parametrize("flags", [("--name", "x"), ("--image", "x"), ("--fprocess", "cat"), ("--handler", "h")])
def test_flags_of_one_function_do_not_go_with_a_stack_file(gateway: ScriptedGateway, flags: tuple[str, ...]) -> None:
    Path("s.yml").write_text(FIVE)
    result = run_cli("deploy", "-f", "s.yml", *flags)
    assert result.exit_code == 2 and f"{flags[0]}: for a function without a stack file" in result.stderr
    assert gateway.requests == []


def test_nothing_to_deploy(gateway: ScriptedGateway) -> None:
    result = run_cli("deploy")
    assert result.exit_code == 2 and "nothing to deploy: give a --name, or a stack file with -f" in result.stderr


def test_one_of_five_fails_and_the_others_are_deployed(gateway: JudgingGateway) -> None:
    Path("stack.yml").write_text(FIVE)
    gateway.judge = lambda name: Answer(500, b"no room") if name == "f2" else Answer(202)
    result = run_cli("deploy", "--no-wait")
    assert result.exit_code == 1
    assert len(gateway.requests) == 5
    assert result.stdout.count("Deployed. 202") == 4
    first, last = result.stderr.strip().splitlines()
    assert first == "Error: function 'f2': the gateway answered 500 Internal Server Error: no room"
    assert last == "Error: 1 of 5 functions failed (deployed: f0, f1, f3, f4; failed: f2)"


def test_what_is_wrong_with_one_before_anything_is_sent_keeps_none_of_the_others(gateway: ScriptedGateway) -> None:
    Path("stack.yml").write_text("functions:\n  a: {fprocess: cat}\n  b: {labels: {x: y}}\n  c: {fprocess: cat}\n")
    accepted(gateway)
    result = run_cli("deploy", "--no-wait")
    assert result.exit_code == 1
    assert "function 'b': stack.yml:3: nothing to run" in result.stderr and "deployed: a, c; failed: b" in result.stderr


def test_one_that_does_not_become_ready_has_failed(gateway: ScriptedGateway) -> None:
    Path("stack.yml").write_text("functions:\n  a: {fprocess: cat}\n  b: {fprocess: nosuch}\n")
    accepted(gateway)
    good = answer_json({"name": "a", "replicas": 1, "availableReplicas": 1})
    bad = answer_json(
        {"name": "b", "replicas": 1, "instances": [{"id": "b-1", "state": "failed", "reason": "no nosuch"}]}
    )
    gateway.on("GET /system/function/a", good)
    gateway.on("GET /system/function/b", bad)
    result = run_cli("deploy")
    assert result.exit_code == 1
    assert "function 'b': 'b' was accepted but cannot start: no nosuch" in result.stderr
    assert "deployed: a; failed: b" in result.stderr


def test_a_login_that_is_asked_for_midway_says_what_was_done(gateway: JudgingGateway) -> None:
    Path("stack.yml").write_text(FIVE)
    gateway.judge = lambda name: Answer(401) if name in ("f1", "f3") else Answer(202)
    result = run_cli("deploy", "--no-wait")
    assert result.exit_code == 4
    assert "penstock login" in result.stderr and "(deployed: f0, f2, f4; failed: f1, f3)" in result.stderr


def test_a_gateway_that_goes_away_midway_has_those_named_that_it_may_have_taken(gateway: JudgingGateway) -> None:
    Path("stack.yml").write_text("functions:\n  a: {fprocess: cat}\n  b: {fprocess: cat}\n")

    def judge(name: str) -> Answer:
        if name == "b":
            raise ConnectionAbortedError("the connection is closed without an answer")
        return Answer(202)

    gateway.judge = judge
    result = run_cli("deploy", "--no-wait")
    assert result.exit_code == 3
    assert "(deployed: a; perhaps deployed, since there was no answer: b)" in result.stderr


def test_functions_are_sent_at_once_and_told_of_in_their_order(gateway: JudgingGateway) -> None:
    Path("stack.yml").write_text(FIVE)
    last = threading.Event()

    def judge(name: str) -> Answer:
        if name == "f4":
            last.set()
        return (
            Answer(202) if name == "f4" or last.wait(60) else Answer(500, b"f4 is not sent before this one is answered")
        )

    gateway.judge = judge
    result = run_cli("deploy", "--no-wait")
    assert result.exit_code == 0, result.stderr
    assert re.findall(r"Deploying: (\w+)\.\n\nDeployed\. 202", result.stdout) == ["f0", "f1", "f2", "f3", "f4"]


def test_only_so_many_are_sent_at_once(gateway: JudgingGateway) -> None:
    count = 3 * AT_ONCE
    Path("stack.yml").write_text("functions:\n" + "".join(f"  f{n}: {{fprocess: cat}}\n" for n in range(count)))
    together = threading.Barrier(AT_ONCE)
    lock = threading.Lock()
    here, most = 0, 0

    def judge(name: str) -> Answer:
        nonlocal here, most
        with lock:
            here += 1
            most = max(most, here)
        together.wait(120)
        with lock:
            here -= 1
        return Answer(202)

    gateway.judge = judge
    result = run_cli("deploy", "--no-wait")
    assert result.exit_code == 0, result.stderr
    assert (most, result.stdout.count("Deployed. 202")) == (AT_ONCE, count)


def test_ctrl_c_says_what_is_deployed_and_what_is_not(gateway: JudgingGateway) -> None:
    count = AT_ONCE + 3
    Path("stack.yml").write_text("functions:\n" + "".join(f"  f{n}: {{fprocess: cat}}\n" for n in range(count)))
    release = threading.Event()

    def judge(name: str) -> Answer:
        if name != "f0":
            release.wait(240)
        return Answer(202)

    gateway.judge = judge
    command = [sys.executable, "-m", "penstock", "deploy", "-f", "stack.yml", "--no-wait", "--gateway", gateway.url]
    with (
        Path("out").open("wb") as out,
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.PIPE, text=True) as process,
    ):
        try:
            wait_until(lambda: len(gateway.requests) == AT_ONCE + 1, process)
            process.send_signal(signal.SIGINT)
            told = process.communicate(timeout=120)[1]
        finally:
            release.set()
            if process.poll() is None:
                process.kill()
    between = ", ".join(f"f{n}" for n in range(1, AT_ONCE + 1))
    left = ", ".join(f"f{n}" for n in range(AT_ONCE + 1, count))
    assert process.returncode == 130, told
    assert told.strip() == (
        f"Interrupted (deployed: f0; perhaps deployed, since no answer was waited for: {between}; not tried: {left})"
    )


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)


def test_what_replace_has_deleted_and_not_made_again_is_told(gateway: ScriptedGateway) -> None:
    Path("stack.yml").write_text("functions:\n  a: {fprocess: cat}\n")
    gateway.on(f"DELETE {FUNCTIONS}", Answer(202))
    gateway.on(f"POST {FUNCTIONS}", Answer(400, b"no such label"))
    result = run_cli("deploy", "--replace", "--update=false", "--no-wait")
    assert result.exit_code == 1
    assert "no such label; what was there before is deleted, as --replace asks" in result.stderr


def test_no_gateway_ends_with_3(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("stack.yml").write_text(FIVE)
    monkeypatch.setenv("PENSTOCK_URL", "http://127.0.0.1:1")
    result = run_cli("deploy", "--no-wait")
    assert result.exit_code == 3 and "cannot reach a gateway" in result.stderr


def test_each_function_has_its_namespace(gateway: ScriptedGateway) -> None:
    Path("stack.yml").write_text("functions:\n  a: {fprocess: cat, namespace: one}\n  b: {fprocess: cat}\n")
    accepted(gateway)
    ready = answer_json({"name": "a", "replicas": 1, "availableReplicas": 1})
    gateway.on("GET /system/function/a?namespace=one", ready)
    gateway.on("GET /system/function/b", ready)
    assert run_cli("deploy").exit_code == 0
    sent = {
        request.json["service"]: request.json.get("namespace")
        for request in gateway.requests
        if request.method == "PUT"
    }
    assert sent == {"a": "one", "b": None}


def test_the_provider_is_asked_only_where_sources_are_meant(gateway: ScriptedGateway) -> None:
    Path("stack.yml").write_text("functions:\n  a: {lang: go, handler: ./a, image: acme/a}\n")
    gateway.on("GET /system/info", answer_json({"provider": {"provider": "faas-netes"}}))
    accepted(gateway)
    assert run_cli("deploy", "--no-wait").exit_code == 0
    assert gateway.lines == ["GET /system/info", f"PUT {FUNCTIONS}"]
    assert gateway.requests[1].json["image"] == "acme/a:latest"
    gateway.routes.pop("GET /system/info")
    assert run_cli("deploy", "--no-wait").exit_code == 0, "a gateway that does not say what it is runs images"
