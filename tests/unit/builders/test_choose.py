"""Which builder is taken, by what the gateway says and what there is on the machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.builders.choose import PROCESS_PROVIDER, choose, engine_answers


def machine(tmp_path: Path, **programs: str) -> dict[str, str]:
    """An environment whose PATH has these shell scripts alone."""
    for name, script in programs.items():
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
    return {"PATH": str(tmp_path), "HOME": str(tmp_path)}


UP, DOWN = "echo 27.1", "echo 'Cannot connect to the Docker daemon' >&2; exit 1"


@pytest.mark.parametrize(
    ("provider", "programs", "chosen"),
    [
        (PROCESS_PROVIDER, {"docker": UP, "buildah": UP}, "native"),
        ("penstock-docker", {"docker": UP, "buildah": UP}, "docker"),
        ("penstock-docker", {"docker": DOWN, "buildah": UP}, "buildah"),
        (None, {"docker": UP}, "docker"),
        (None, {"docker": DOWN, "buildah": UP}, "buildah"),
        (None, {"docker": DOWN}, "native"),
        (None, {}, "native"),
    ],
)
def test_what_fits(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    provider: str | None,
    programs: dict[str, str],
    chosen: str,
) -> None:
    monkeypatch.setattr("penstock.builders.choose.ANSWER_TIMEOUT", 60.0)  # a busy machine is no engine that is away
    assert choose("auto", provider, machine(tmp_path, **programs)).name == chosen


@pytest.mark.parametrize("wish", ["docker", "buildah", "native"])
def test_who_is_asked_for_is_taken_whatever_there_is(tmp_path: Path, wish: str) -> None:
    builder = choose(wish, PROCESS_PROVIDER, machine(tmp_path))
    assert (builder.name, builder.makes_images) == (wish, wish != "native")


def test_an_engine_that_does_not_answer_counts_as_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penstock.builders.choose.ANSWER_TIMEOUT", 0.1)
    assert not engine_answers(machine(tmp_path, docker="exec /bin/sleep 600"))
