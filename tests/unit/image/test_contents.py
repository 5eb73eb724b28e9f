"""Which files of a package go into the image beside its modules, what is told to be missing, and whose certificates are trusted."""

from __future__ import annotations

import importlib.util
import re
import ssl
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest

from penstock.image import contents as image_contents
from penstock.image.contents import certificates, data, missing
from penstock.watchdog.bundle.collect import LIBRARY


def test_data_is_neither_code_nor_examples_nor_what_starts_bundles(tmp_path: Path) -> None:
    package = tmp_path / "pack"
    for name in (
        "a.py",
        "b.pyc",
        "c.so",
        "page.html",
        "deep/x.json",
        "_examples/stack.yml",
        "w/launcher/l",
        "testing/t.yml",
    ):
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).touch()
    assert dict(data(package)) == {
        f"{LIBRARY}/pack/deep/x.json": package / "deep/x.json",
        f"{LIBRARY}/pack/page.html": package / "page.html",
    }


def test_what_is_optional_and_not_installed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_contents, "OPTIONAL", ("json", "no_such_package"))
    assert missing() == ("no_such_package",)


def test_every_extra_is_optional() -> None:
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
    extras = {name: needs for name, needs in project["optional-dependencies"].items() if name != "dev"}
    needed = {re.split(r"[^\w.-]", need)[0] for needs in extras.values() for need in needs}
    assert needed == set(image_contents.OPTIONAL)


def trusting(monkeypatch: pytest.MonkeyPatch, usual: str | None) -> None:
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: SimpleNamespace(cafile=usual))


def test_the_machines_authorities_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "usual.pem").touch()
    (tmp_path / "other.pem").touch()
    trusting(monkeypatch, str(tmp_path / "usual.pem"))
    assert certificates([str(tmp_path / "other.pem")]) == tmp_path / "usual.pem"
    trusting(monkeypatch, None)
    assert certificates([str(tmp_path / "none.pem"), str(tmp_path / "other.pem")]) == tmp_path / "other.pem"


def test_a_machine_without_authorities_takes_certifis(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trusting(monkeypatch, None)
    (tmp_path / "cacert.pem").touch()
    spec = SimpleNamespace(origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec if name == "certifi" else None)
    assert certificates([]) == tmp_path / "cacert.pem"
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert certificates([]) is None
