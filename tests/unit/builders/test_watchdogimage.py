"""What builds are given of the watchdog's image."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from penstock.builders import watchdogimage
from penstock.errors import NotSupported
from penstock.templates.catalogue import SHIPPED, find_template
from tests.unit.builders.requests import request, template

THIS_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


def given(name: str, here: Path) -> dict[str, str]:
    chosen = find_template(name, here)
    return watchdogimage.arguments(request(chosen), chosen.dockerfile.read_text())


@pytest.mark.parametrize("name", ["python3", "python3-http"])
def test_templates_of_python_get_the_version_that_runs_their_handlers(name: str, tmp_path: Path) -> None:
    assert given(name, tmp_path) == {"WATCHDOG": watchdogimage.reference(), "PYTHON_VERSION": THIS_PYTHON}


def test_others_get_the_image_alone(tmp_path: Path) -> None:
    assert given("bash", tmp_path) == {"WATCHDOG": watchdogimage.reference()}


def test_a_template_that_was_pulled_means_its_own_default(tmp_path: Path) -> None:
    chosen = template(tmp_path / "python3")
    dockerfile = (SHIPPED / "python3/Dockerfile").read_text()
    assert "PYTHON_VERSION" not in watchdogimage.arguments(request(chosen), dockerfile)


def test_an_image_of_somebody_elses_and_other_machines() -> None:
    assert not watchdogimage.wanted(request(None, build_args={"WATCHDOG": "x"}), "ARG WATCHDOG\n")
    with pytest.raises(NotSupported, match="not for linux/riscv64"):
        watchdogimage.wanted(request(None, platforms=("linux/riscv64",)), "ARG WATCHDOG\n")
