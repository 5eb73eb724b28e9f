"""`penstock deploy` against a scripted gateway: what goes over the wire, in which order, and what is printed."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import cast

import pytest

from penstock.cli.client import Gateway
from penstock.cli.deploying import _reason, wait_until_ready
from penstock.cli.schema import FunctionStatus
from penstock.cli.target import Target
from penstock.errors import PenstockError
from tests.unit.cli.support import Answer, ScriptedGateway, answer_json, run_cli

FUNCTIONS = "/system/functions"
WORDS = ("deploy", "--name", "words", "--fprocess", "wc -w")


def ready(**more: object) -> Answer:
    return answer_json({"name": "words", "replicas": 1, "availableReplicas": 1, **more})


def instance(state: str, reason: str = "", restarts: int = 0) -> dict[str, object]:
    return {"id": "words-1", "state": state, "reason": reason, "restarts": restarts}


def test_new_function_is_put_first_and_posted_after_404(gateway: ScriptedGateway) -> None:
    gateway.on(f"PUT {FUNCTIONS}", Answer(404))
    gateway.on(f"POST {FUNCTIONS}", Answer(202))
    result = run_cli(*WORDS, "--no-wait")
    assert result.exit_code == 0
    assert gateway.lines == [f"PUT {FUNCTIONS}", f"POST {FUNCTIONS}"]
    assert gateway.requests[0].body == gateway.requests[1].body


def test_existing_function_is_only_put(gateway: ScriptedGateway) -> None:
    gateway.on(f"PUT {FUNCTIONS}", Answer(202))
    assert run_cli(*WORDS, "--no-wait").exit_code == 0
    assert gateway.lines == [f"PUT {FUNCTIONS}"]


def test_output_has_the_layout_that_scripts_read(gateway: ScriptedGateway) -> None:
    gateway.on(f"PUT {FUNCTIONS}", Answer(202))
    result = run_cli(*WORDS, "--no-wait")
    assert result.stdout == f"\nDeployed. 202 Accepted.\nURL: {gateway.url}/function/words\n\n"
    assert result.stderr == ""


def test_url_carries_the_namespace_only_when_one_was_given(gateway: ScriptedGateway) -> None:
    gateway.on(f"PUT {FUNCTIONS}", Answer(202))
    result = run_cli(*WORDS, "--no-wait", "-n", "staging")
    assert f"URL: {gateway.url}/function/words.staging\n" in result.stdout
    assert gateway.requests[0].json["namespace"] == "staging"


def test_smallest_body_has_name_program_and_two_empty_objects(gateway: ScriptedGateway) -> None:
    gateway.on(f"PUT {FUNCTIONS}", Answer(202))
    run_cli(*WORDS, "--no-wait")
    assert gateway.requests[0].json == {"service": "words", "envProcess": "wc -w", "labels": {}, "annotations": {}}
    assert gateway.requests[0].headers["Content-Type"] == "application/json"


def test_every_flag_reaches_its_field(gateway: ScriptedGateway) -> None:
    gateway.on(f"PUT {FUNCTIONS}", Answer(202))
    flags = "--image img:1 --mode streaming -e A=1 -e B=x=y -l l=1 --annotation a=2 --secret s1 --secret s2 --readonly"
    limits = "--constraint zone=a --cpu-limit 500m --memory-limit 128Mi --cpu-request 100m --memory-request 64Mi"
    run_cli(*WORDS, *flags.split(), *limits.split(), "--no-wait")
    assert gateway.requests[0].json == {
        "service": "words",
        "image": "img:1",
        "envProcess": "wc -w",
        "envVars": {"A": "1", "B": "x=y", "mode": "streaming"},
        "labels": {"l": "1"},
        "annotations": {"a": "2"},
        "secrets": ["s1", "s2"],
        "constraints": ["zone=a"],
        "limits": {"cpu": "500m", "memory": "128Mi"},
        "requests": {"cpu": "100m", "memory": "64Mi"},
        "readOnlyRootFilesystem": True,
    }


@pytest.mark.parametrize("flags", [("--replace", "--update=false"), ("--replace",)])
def test_replace_deletes_and_then_posts(gateway: ScriptedGateway, flags: tuple[str, ...]) -> None:
    gateway.on(f"DELETE {FUNCTIONS}", Answer(202))
    gateway.on(f"POST {FUNCTIONS}", Answer(202))
    assert run_cli(*WORDS, *flags, "--no-wait", "-n", "staging").exit_code == 0
    assert gateway.lines == [f"DELETE {FUNCTIONS}", f"POST {FUNCTIONS}"]
    assert gateway.requests[0].json == {"functionName": "words", "namespace": "staging"}


def test_replace_of_a_function_that_is_not_there_creates_it(gateway: ScriptedGateway) -> None:
    gateway.on(f"POST {FUNCTIONS}", Answer(202))
    assert run_cli(*WORDS, "--replace", "--no-wait").exit_code == 0


def test_update_false_only_posts(gateway: ScriptedGateway) -> None:
    gateway.on(f"POST {FUNCTIONS}", Answer(202))
    assert run_cli(*WORDS, "--update=false", "--no-wait").exit_code == 0
    assert gateway.lines == [f"POST {FUNCTIONS}"]


def test_asking_for_update_and_replace_is_refused_before_any_request(gateway: ScriptedGateway) -> None:
    result = run_cli(*WORDS, "--update", "--replace")
    assert (result.exit_code, gateway.requests) == (2, [])
    assert "exclude each other" in result.stderr


def test_refusal_shows_the_gateways_words_and_posts_nothing(gateway: ScriptedGateway) -> None:
    gateway.on(f"PUT {FUNCTIONS}", Answer(400, b"memory: '1x' is no quantity"))
    result = run_cli(*WORDS, "--memory-limit", "1x")
    assert result.exit_code == 2
    assert "memory: '1x' is no quantity" in result.stderr
    assert result.stdout == ""
    assert gateway.lines == [f"PUT {FUNCTIONS}"]


def test_201_counts_as_success(gateway: ScriptedGateway) -> None:
    gateway.on(f"PUT {FUNCTIONS}", Answer(201))
    assert run_cli(*WORDS, "--no-wait").exit_code == 0


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--name", "Upper", "--fprocess", "cat"), "Upper"),
        (("--name", "../up", "--fprocess", "cat"), "../up"),
        (("--name", "a"), "nothing to run"),
        (("--name", "a", "--fprocess", "cat", "-e", "novalue"), "KEY=VALUE"),
        (("--name", "a", "--fprocess", "cat", "-l", "=x"), "KEY=VALUE"),
        (("--name", "a", "--fprocess", "cat", "--mode", "warp"), "warp"),
        (("--fprocess", "cat"), "--name"),
        (("--name", "a", "--fprocess", "cat", "--timeout", "soon"), "soon"),
    ],
)
def test_bad_flags_are_refused_before_any_request(gateway: ScriptedGateway, flags: tuple[str, ...], words: str) -> None:
    result = run_cli("deploy", *flags)
    assert (result.exit_code, gateway.requests) == (2, [])
    assert words in result.stderr


def test_an_empty_value_is_a_value(gateway: ScriptedGateway) -> None:
    gateway.on(f"PUT {FUNCTIONS}", Answer(202))
    run_cli(*WORDS, "--no-wait", "-e", "EMPTY=")
    assert gateway.requests[0].json["envVars"] == {"EMPTY": ""}


def test_static_mode_needs_no_program(gateway: ScriptedGateway) -> None:
    gateway.on(f"PUT {FUNCTIONS}", Answer(202))
    assert run_cli("deploy", "--name", "site", "--mode", "static", "--no-wait").exit_code == 0


def test_waits_until_no_replica_is_on_its_way(gateway: ScriptedGateway) -> None:
    gateway.on(f"PUT {FUNCTIONS}", Answer(202))
    starting = answer_json({"name": "words", "replicas": 1, "instances": [instance("starting")]})
    gateway.on("GET /system/function/words", Answer(404), starting, ready(instances=[instance("ready")]))
    result = run_cli(*WORDS)
    assert result.exit_code == 0
    assert gateway.lines.count("GET /system/function/words") == 4


def test_an_old_replica_that_still_drains_is_not_waited_for(gateway: ScriptedGateway) -> None:
    gateway.on(f"PUT {FUNCTIONS}", Answer(202))
    gateway.on("GET /system/function/words", ready(instances=[instance("ready"), instance("draining")]))
    assert run_cli(*WORDS).exit_code == 0


def test_a_function_that_wants_no_replicas_is_ready(gateway: ScriptedGateway) -> None:
    gateway.on(f"PUT {FUNCTIONS}", Answer(202))
    gateway.on("GET /system/function/words", answer_json({"name": "words"}))
    assert run_cli(*WORDS).exit_code == 0


@pytest.mark.parametrize(
    "replica", [instance("failed", "no such program: wcc"), instance("backoff", "no such program: wcc", 3)]
)
def test_a_replica_that_cannot_start_ends_the_wait_with_its_reason(
    gateway: ScriptedGateway, replica: dict[str, object]
) -> None:
    gateway.on(f"PUT {FUNCTIONS}", Answer(202))
    gateway.on("GET /system/function/words", answer_json({"name": "words", "replicas": 1, "instances": [replica]}))
    result = run_cli(*WORDS)
    assert result.exit_code == 1
    assert "Deployed. 202 Accepted." in result.stdout
    assert "cannot start: no such program: wcc" in result.stderr


IMAGE = ("deploy", "--name", "words", "--image", "img:1", "--no-wait")


@pytest.mark.parametrize(
    ("flags", "labels"),
    [
        (("--watchdog", "inject"), {"com.penstock.watchdog": "inject"}),
        (("--watchdog", "image"), {"com.penstock.watchdog": "image"}),
        (("--http-port", "80"), {"com.penstock.http-port": "80"}),
        (
            ("--http-port", "80", "--watchdog", "image"),
            {"com.penstock.http-port": "80", "com.penstock.watchdog": "image"},
        ),
        (("--zero", "pause", "-l", "a=b"), {"a": "b", "com.penstock.zero": "pause"}),
        (("--zero", "stop", "-l", "com.penstock.zero=stop"), {"com.penstock.zero": "stop"}),
        (("--capability", "chown", "--capability", "CAP_KILL"), {"com.penstock.capabilities": "chown,CAP_KILL"}),
    ],
)
def test_flags_of_images_become_labels(
    gateway: ScriptedGateway, flags: tuple[str, ...], labels: dict[str, str]
) -> None:
    gateway.on(f"PUT {FUNCTIONS}", Answer(202))
    assert run_cli(*IMAGE, *flags).exit_code == 0
    assert gateway.requests[0].json["labels"] == labels


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--http-port", "80", "--fprocess", "cat"), "leave it out to run a program under the watchdog"),
        (("--http-port", "80", "--watchdog", "inject"), "serves HTTP by itself"),
        (("--http-port", "0"), "1<=x<=65535"),
        (("--http-port", "65536"), "1<=x<=65535"),
        (("--http-port", "http"), "http"),
        (("--watchdog", "none"), "none"),
        (("--zero", "freeze"), "freeze"),
        (("--zero", "stop", "-l", "com.penstock.zero=pause"), "exclude each other"),
        (("--image", "", "--http-port", "80"), "--image"),
        (("--image", "", "--fprocess", "cat", "--zero", "stop"), "--image"),
        (("--capability", "CHOWN", "-l", "com.penstock.capabilities=KILL"), "exclude each other"),
        (("--image", "", "--fprocess", "cat", "--capability", "CHOWN"), "--image"),
    ],
)
def test_flags_of_images_that_cannot_be_meant_are_refused(
    gateway: ScriptedGateway, flags: tuple[str, ...], words: str
) -> None:
    result = run_cli(*IMAGE, *flags)
    assert (result.exit_code, gateway.requests) == (2, [])
    assert words in result.stderr


def take_time() -> None:
    """Let 40 s of the loop's time pass, and none of ours."""
    loop = asyncio.get_running_loop()
    before = loop.time
    loop.time = lambda: before() + 40.0  # type: ignore[method-assign]


class SlowGateway:
    """A gateway where every look at the function takes 40 s of the loop's time, and none of ours."""

    def __init__(self, *looks: dict[str, object]) -> None:
        self.target = Target(url="http://127.0.0.1:1", timeout=60.0)
        self._looks = list(looks)

    async def function(self, name: str) -> dict[str, object]:
        take_time()
        await asyncio.sleep(0)
        return {
            "name": name,
            "replicas": 1,
            "instances": [self._looks.pop(0)],
            "availableReplicas": int(len(self._looks) < 2),
        }


def wait_for_looks(*looks: dict[str, object]) -> list[str]:
    """What is shown while deploy waits for a function that looks like this, one after the other."""
    shown: list[str] = []
    asyncio.run(wait_until_ready(cast(Gateway, SlowGateway(*looks)), "words", shown.append))
    return shown


def test_a_pull_that_gets_on_is_shown_and_may_take_longer_than_the_timeout() -> None:
    pulling = [instance("starting", f"pulling img: {done} of 9 MB") for done in range(6)]
    shown = wait_for_looks(*pulling, instance("ready"), instance("ready"))
    assert shown[:6] == [f"Waiting for words to be ready: pulling img: {done} of 9 MB" for done in range(6)]


def test_a_pull_that_stands_still_is_given_up() -> None:
    with pytest.raises(PenstockError, match="not ready after 60 s: pulling img: 3 of 9 MB"):
        wait_for_looks(*[instance("starting", "pulling img: 3 of 9 MB")] * 6, instance("ready"), instance("ready"))


def test_a_replica_that_keeps_ending_for_changing_reasons_makes_no_progress() -> None:
    with pytest.raises(PenstockError, match="not ready after 60 s: look"):
        wait_for_looks(*[instance("starting", f"look {number}", 1) for number in range(6)], instance("ready"))


def test_wait_ends_with_what_was_seen_last(gateway: ScriptedGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    def slowly(function: FunctionStatus) -> str:
        take_time()
        return _reason(function)

    monkeypatch.setattr("penstock.cli.deploying._reason", slowly)
    gateway.on(f"PUT {FUNCTIONS}", Answer(202))
    slow = answer_json({"name": "words", "replicas": 1, "instances": [instance("starting", "waiting for port 8080")]})
    gateway.on("GET /system/function/words", slow)
    result = run_cli(*WORDS, "--timeout", "1m")
    assert result.exit_code == 1
    assert "not ready after 60 s: waiting for port 8080" in result.stderr


def test_a_handler_becomes_an_absolute_path_and_mode_python(gateway: ScriptedGateway, tmp_path: Path) -> None:
    (tmp_path / "main.py").touch()
    gateway.on(f"PUT {FUNCTIONS}", Answer(202))
    for words in ([os.path.relpath(tmp_path)], ["shop:app"], [f"{tmp_path}/main.py:app", "--mode", "asgi"]):
        assert run_cli("deploy", "--name", "hello", "--no-wait", "--handler", *words).exit_code == 0
    assert [request.json["envVars"] for request in gateway.requests] == [
        {"handler": str(tmp_path), "mode": "python"},
        {"handler": "shop:app", "mode": "python"},
        {"handler": f"{tmp_path}/main.py:app", "mode": "asgi"},
    ]


def test_a_handler_that_is_not_here_is_refused(gateway: ScriptedGateway) -> None:
    result = run_cli("deploy", "--name", "hello", "--handler", "./no-such-folder")
    assert result.exit_code == 2 and "no file or folder './no-such-folder'" in result.stderr


def test_a_failed_import_ends_the_wait_with_its_traceback(gateway: ScriptedGateway) -> None:
    gateway.on(f"PUT {FUNCTIONS}", Answer(202))
    reason = "importing /srv/hello failed: ValueError: x\n  Traceback\n  ValueError: x"
    gateway.on("GET /system/function/words", ready(availableReplicas=0, instances=[instance("failed", reason)]))
    result = run_cli(*WORDS)
    assert result.exit_code == 1 and "Traceback\n  ValueError: x" in result.stderr


FLOW = ("deploy", "--name", "flow", "--pipeline", "sort/a?b=c | uniq.other|gone")


def test_a_pipeline_is_deployed_by_its_stages(gateway: ScriptedGateway) -> None:
    gateway.on(f"PUT {FUNCTIONS}", Answer(202))
    gateway.on("GET /system/function/sort?namespace=dev", answer_json({"name": "sort"}))
    gateway.on("GET /system/function/uniq?namespace=other", answer_json({"name": "uniq"}))
    result = run_cli(*FLOW, "-n", "dev", "-l", "l=1", "--annotation", "a=2")
    assert result.exit_code == 0, result.stderr
    assert gateway.requests[0].json == {
        "service": "flow",
        "namespace": "dev",
        "pipeline": ["sort/a?b=c", "uniq.other", "gone"],
        "labels": {"l": "1"},
        "annotations": {"a": "2"},
    }
    assert result.stdout == f"\nDeployed. 202 Accepted.\nURL: {gateway.url}/function/flow.dev\n\n"
    note = "Note: gone.dev, a stage of flow, is not deployed; until it is, calls are answered with 404.\n"
    assert result.stderr == note


@pytest.mark.parametrize(
    ("flags", "fault"),
    [
        (("--pipeline", "a |"), "stage 2 of 'a |' is empty"),
        (("--pipeline", "a | wc -l"), "stage 'wc -l' does not begin with the name of a function"),
        (("--pipeline", "a", "--image", "x"), "--image: a pipeline has none"),
        (("--pipeline", "a", "--fprocess", "x"), "--fprocess: a pipeline has none"),
        (("--pipeline", "a", "--memory-limit", "1Mi"), "--memory-limit: a pipeline has none"),
        (("--pipeline", "a", "-e", "A=1"), "--env: a pipeline has none"),
        (("--pipeline", "a", "--zero", "pause"), "--zero: a pipeline has none"),
    ],
)
def test_a_pipeline_that_cannot_be_meant_reaches_no_gateway(
    gateway: ScriptedGateway, flags: tuple[str, ...], fault: str
) -> None:
    result = run_cli("deploy", "--name", "flow", *flags)
    assert (result.exit_code, gateway.requests) == (2, [])
    assert fault in result.stderr


def test_pipelines_of_a_stack_file_are_deployed_after_its_functions(
    gateway: ScriptedGateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("stack.yml").write_text(
        "pipelines:\n  flow: {stages: words | gone, labels: {l: file}}\nfunctions:\n  words: {fprocess: wc -w}\n"
    )
    gateway.on(f"PUT {FUNCTIONS}", Answer(202))
    gateway.on("GET /system/function/words", ready())
    gateway.on("GET /system/function/words?namespace=openfaas-fn", ready())
    gateway.on("GET /system/function/flow", answer_json({"name": "flow", "pipeline": ["words", "gone"]}))
    result = run_cli("deploy", "-e", "A=1", "-l", "m=flag")
    assert result.exit_code == 0, result.stderr
    first, second = (request.json for request in gateway.requests if request.method == "PUT")
    assert (first["service"], first["envVars"]) == ("words", {"A": "1"})
    assert second == {
        "service": "flow",
        "pipeline": ["words", "gone"],
        "labels": {"l": "file", "m": "flag"},
        "annotations": {},
    }
    assert "Note: gone.openfaas-fn, a stage of flow, is not deployed" in result.stderr


def test_a_pipeline_flag_does_not_go_with_a_stack_file(
    gateway: ScriptedGateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("stack.yml").write_text("functions:\n  words: {fprocess: wc -w}\n")
    result = run_cli("deploy", "--pipeline", "a | b")
    assert (result.exit_code, gateway.requests) == (2, [])
    assert "--pipeline: for a function without a stack file" in result.stderr
