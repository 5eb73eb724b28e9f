"""The command that runs one function in the foreground."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from penstock.builders.model import Built
from penstock.cli.localrun import Command, command_for
from penstock.errors import InvalidInput
from penstock.model import Resources
from penstock.stack.model import Position, StackFunction


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PRIVATE_TOKEN", "t")
    return tmp_path


def function(**fields: Any) -> StackFunction:
    return StackFunction(name="fn", where=Position("stack.yml", 3), **fields)


def test_a_program_runs_under_the_watchdog_without_our_variables() -> None:
    made = command_for(function(fprocess="wc -w", environment={"A": "file"}), None, {"A": "flag"}, 9000)
    assert made.arguments[1:] == ["-m", "penstock", "watchdog"]
    wanted = {
        "fprocess": "wc -w",
        "A": "flag",
        "port": "9000",
        "OPENFAAS_NAME": "fn",
        "OPENFAAS_NAMESPACE": "openfaas-fn",
    }
    assert wanted.items() <= made.full_environ().items()
    assert "PRIVATE_TOKEN" not in made.full_environ()


def test_a_native_build_brings_its_variables_and_the_file_wins() -> None:
    built = Built(function="fn", folder=Path("/b"), environment={"mode": "python", "handler": "/b/h.py", "x": "1"})
    made = command_for(function(lang="t", handler="fn", environment={"x": "2"}), built, {}, 0)
    assert {"mode": "python", "handler": "/b/h.py", "x": "2", "port": "0"}.items() <= made.environ.items()


def test_an_image_runs_in_a_container(here: Path) -> None:
    (here / ".secrets").mkdir()
    (here / ".secrets/key").touch()
    wish = function(
        image="fn:1",
        secrets=("key",),
        limits=Resources(memory="128Mi", cpu="500m"),
        read_only_root=True,
        fprocess="cat",
    )
    made = command_for(wish, None, {}, 8080)
    assert made.arguments == [
        "docker", "run", "--name", "fn", "--rm", "-i", "-p=8080:8080",
        "-e=OPENFAAS_NAME=fn", "-e=OPENFAAS_NAMESPACE=openfaas-fn", "-e=fprocess=cat", "-e=jwt_auth_local=true",
        f"-v={here}/.secrets:/var/openfaas/secrets:ro",
        "--memory-reservation=134217728", "--cpus=0.5", "--read-only", "fn:1",
    ]  # fmt: skip


def test_small_reservations_are_what_an_engine_accepts() -> None:
    made = command_for(function(image="fn", limits=Resources(memory="1Mi", cpu="2")), None, {}, 0)
    assert {"--memory-reservation=6291456", "--cpus=2", "-p=8080"} <= set(made.arguments)


def test_what_is_shown_can_be_typed() -> None:
    assert Command(["docker", "run", "x"], {}, whole=False).shown() == "docker run x"
    assert Command(["w"], {"B": "two words", "A": "1"}, whole=True).shown() == "env -i A=1 'B=two words' w"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "has nothing to run"),
        (
            {"fprocess": "cat", "secrets": ("a", "b")},
            "wants the secrets a, b: write each to a file of that name in .secrets",
        ),
        ({"image": "x", "limits": Resources(cpu="many")}, "'many' is no number of processors"),
    ],
)
def test_what_cannot_be_run(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        command_for(function(**fields), None, {}, 8080)
