"""The conventional Dockerfile says the same of itself as the image that we make."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from penstock.image.build import HEALTH_INTERVAL, Request, image_of
from penstock.image.layout import FOLDERS, HOME, USER

TREE = Path(__file__).parents[3]
IMAGE = image_of(Request("penstock:1"), "x86_64")


@pytest.fixture(scope="module")
def last_stage() -> dict[str, str]:
    """The last stage's instructions, each word of an instruction after its name on one line."""
    text = (TREE / "Dockerfile").read_text().replace("\\\n", " ").rpartition("\nFROM ")[2]
    return dict(re.findall(r"^([A-Z]+) +(.*)$", text, re.MULTILINE))


def test_it_serves_as_the_same_user_with_the_same_ports_and_home(last_stage: dict[str, str]) -> None:
    assert last_stage["USER"] == IMAGE.user
    assert last_stage["EXPOSE"].split() == [str(port) for port in IMAGE.ports]
    assert last_stage["VOLUME"] == HOME
    assert json.loads(last_stage["CMD"]) == list(IMAGE.command)


def test_its_variables_are_the_same(last_stage: dict[str, str]) -> None:
    variables = dict(pair.split("=", 1) for pair in last_stage["ENV"].split())
    del variables["PATH"]  # of the virtual environment
    assert variables == {name: value for name, value in IMAGE.environ.items() if name != "SSL_CERT_FILE"}


def test_its_health_is_asked_for_by_the_same_verb(last_stage: dict[str, str]) -> None:
    options, _, command = last_stage["HEALTHCHECK"].partition(" CMD ")
    assert options.split() == [f"--interval={HEALTH_INTERVAL}s", "--timeout=5s"]
    assert json.loads(command)[1:] == list(IMAGE.health[1:])


def test_its_home_has_the_same_owner_and_mode(last_stage: dict[str, str]) -> None:
    [home] = [folder for folder in FOLDERS if folder.name == HOME.strip("/")]
    assert f"install -d -o {USER} -g {home.group} -m {home.mode:04o} {HOME}" in last_stage["RUN"]


def test_what_the_wheel_is_made_of_reaches_the_engine() -> None:
    lines = (TREE / ".dockerignore").read_text().splitlines()
    assert {"!pyproject.toml", "!README.md", "!LICENSE", "!src", "!examples"} <= set(lines)
