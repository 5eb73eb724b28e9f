"""Importing the function: every form of `handler`, and a sentence for whatever goes wrong."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from penstock.watchdog.importing import Application, load_application, own_files, reload_application, watched_files
from penstock.watchdog.settings import load_settings

Load = Callable[..., Application]


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Load]:
    """Imports in `tmp_path`; what that changes in this process is undone."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)

    def begin(handler: str = "", mode: str = "python", **variables: str) -> Application:
        return load_application(load_settings({"mode": mode, "handler": handler, **variables}))

    yield begin
    for name in set(sys.modules) - before:
        del sys.modules[name]


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


HANDLE = "def handle(event, context):\n    return __name__\n"


def test_a_module_in_the_working_directory(load: Load, tmp_path: Path) -> None:
    write(tmp_path / "zz_plain.py", HANDLE)
    assert load("zz_plain").target(None, None) == "zz_plain"


def test_a_module_and_an_attribute(load: Load, tmp_path: Path) -> None:
    write(tmp_path / "zz_two.py", "class inner:\n    def other():\n        return 1\n")
    assert load("zz_two:inner.other").target() == 1


def test_the_path_of_a_file_with_any_name(load: Load, tmp_path: Path) -> None:
    write(tmp_path / "some" / "my-function.py", "import zz_beside\n" + HANDLE)
    write(tmp_path / "some" / "zz_beside.py", "")
    assert load("some/my-function.py").failure == ""


@pytest.mark.parametrize("handler", ["fn", "./fn/", "fn/handler.py", "fn:handle", "fn/handler.py:handle"])
def test_a_folder_is_the_package_function_as_in_the_templates(load: Load, tmp_path: Path, handler: str) -> None:
    write(
        tmp_path / "fn" / "handler.py",
        "from .zz_near import x\nimport zz_near\nfrom function import zz_near\n" + HANDLE,
    )
    write(tmp_path / "fn" / "zz_near.py", "x = 1\n")
    application = load(handler)
    assert application.failure == ""
    assert application.target(None, None) == "function.handler"


def test_a_folders_init_is_executed(load: Load, tmp_path: Path) -> None:
    write(tmp_path / "fn" / "__init__.py", "word = 'init'\n")
    write(tmp_path / "fn" / "handler.py", "from . import word\ndef handle(req):\n    return word\n")
    assert load("fn").target("") == "init"


def test_the_layout_of_the_template_is_the_default(load: Load, tmp_path: Path) -> None:
    write(tmp_path / "handler.py", "def handle(event, context):\n    return 'beside'\n")
    assert load().target(None, None) == "beside"
    write(tmp_path / "function" / "handler.py", HANDLE)
    assert load().target(None, None) == "function.handler"


def test_a_class_stands_for_an_object_of_it(load: Load, tmp_path: Path) -> None:
    write(tmp_path / "zz_class.py", "class handle:\n    def __call__(self, event, context):\n        return 'called'\n")
    assert load("zz_class").target(None, None) == "called"


@pytest.mark.parametrize("name", ["app", "application"])
def test_asgi_and_wsgi_look_for_an_application(load: Load, tmp_path: Path, name: str) -> None:
    write(tmp_path / f"zz_{name}.py", f"def {name}(scope, receive, send):\n    pass\n")
    assert load(f"zz_{name}", "asgi").failure == ""
    assert load(f"zz_{name}", "wsgi").failure == ""


def test_python_path_comes_first_and_pth_files_count(load: Load, tmp_path: Path) -> None:
    write(tmp_path / "zz_lib.py", "word = 'wrong'\n")
    write(tmp_path / "site-packages" / "more.pth", f"{tmp_path}/extra\n")
    write(tmp_path / "site-packages" / "zz_lib.py", "word = 'right'\n")
    write(tmp_path / "extra" / "zz_extra.py", "word = 'extra'\n")
    write(
        tmp_path / "zz_main.py",
        "import zz_lib, zz_extra\ndef handle(req):\n    return zz_lib.word, zz_extra.word\n",
    )
    application = load("zz_main", python_path=f"{tmp_path}/site-packages")
    assert application.target("") == ("right", "extra")


def sentence(application: Application) -> str:
    assert application.target is None
    return application.failure.partition("\n")[0]


def test_a_missing_module_is_told_with_the_places_searched(load: Load, tmp_path: Path) -> None:
    assert sentence(load("zz_missing")).startswith(f"there is no module 'zz_missing' (looked in {tmp_path}")
    assert sentence(load("zz_missing.inner")).startswith("there is no module 'zz_missing'")


def test_a_missing_file_folder_or_default_is_told(load: Load, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert sentence(load("x/y.py")) == f"handler 'x/y.py': there is no file {tmp_path}/x/y.py"
    assert sentence(load("empty")) == f"handler 'empty': the folder {tmp_path}/empty has no handler.py"
    assert sentence(load()).startswith("there is no handler: neither function/handler.py nor handler.py is in")


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("import zz_absent\n", "ModuleNotFoundError: No module named 'zz_absent'"),
        ("raise ValueError('line\\nfeed')\n", "ValueError: line feed"),
        ("def broken(:\n", "SyntaxError: invalid syntax"),
        ("import sys; sys.exit(3)\n", "it called sys.exit(3)"),
        ("raise KeyboardInterrupt\n", "KeyboardInterrupt"),
        ("open('/nonexistent')\n", "FileNotFoundError"),
        ("def f():\n    f()\nf()\n", "RecursionError"),
        ("class E(Exception):\n    def __str__(self):\n        raise self\nraise E\n", "E"),
    ],
)
def test_a_module_whose_own_import_fails_is_told_with_its_frames_only(
    load: Load, tmp_path: Path, source: str, said: str
) -> None:
    write(tmp_path / "zz_bad.py", source)
    application = load("zz_bad")
    assert sentence(application).startswith(f"importing module 'zz_bad' failed: {said}")
    assert "importlib" not in application.failure
    assert "penstock" not in application.failure
    assert "zz_bad" not in sys.modules


def test_a_missing_or_useless_attribute_is_told(load: Load, tmp_path: Path) -> None:
    write(tmp_path / "zz_attr.py", "handle = 1\n")
    assert sentence(load("zz_attr")) == "module 'zz_attr': handle is not callable, it is an int"
    assert sentence(load("zz_attr:other")) == "module 'zz_attr' has no other"
    assert sentence(load("zz_attr", "wsgi")) == "module 'zz_attr' has no app or application"
    assert sentence(load("zz_attr:1x")) == "handler 'zz_attr:1x': '1x' is not the name of an attribute"


def test_a_class_that_cannot_be_made_is_told(load: Load, tmp_path: Path) -> None:
    write(tmp_path / "zz_made.py", "class handle:\n    def __init__(self):\n        raise OSError('no disk')\n")
    assert sentence(load("zz_made")) == "module 'zz_made': making a handle failed: OSError: no disk"


def test_a_missing_working_directory_is_told(load: Load, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    import os

    os.chdir(gone)
    gone.rmdir()
    assert sentence(load("zz_x")).startswith("the handler cannot be looked up: FileNotFoundError")


def test_threads_of_the_import_are_noticed_and_another_import_starts_them_again(load: Load, tmp_path: Path) -> None:
    source = (
        "import threading\nover = threading.Event()\n"
        "thread = threading.Thread(target=over.wait, name='zz-thread')\nthread.start()\ndef handle(req):\n    return over\n"
    )
    write(tmp_path / "zz_threads.py", source)
    first = load("zz_threads")
    second = reload_application(load_settings({"mode": "python", "handler": "zz_threads"}), first)
    overs: list[Any] = [first.target(""), second.target("")]
    assert (first.threads, second.threads) == (("zz-thread",), ("zz-thread",))
    assert overs[0] is not overs[1]
    for over in overs:
        over.set()
    for thread in threading.enumerate():
        if thread.name == "zz-thread":
            thread.join()


def test_own_files_are_those_of_the_function(load: Load, tmp_path: Path) -> None:
    write(tmp_path / "zz_own.py", "import json, click, zz_part\n" + HANDLE)
    write(tmp_path / "zz_part.py", "")
    load("zz_own")
    assert {str(tmp_path / "zz_own.py"), str(tmp_path / "zz_part.py")} <= set(own_files())
    assert not [path for path in own_files() if "click" in path or "json" in path or "penstock/watchdog/app" in path]


def test_after_a_failure_the_files_beside_are_watched(load: Load, tmp_path: Path) -> None:
    write(tmp_path / "zz_bad2.py", "import zz_part2\n")
    write(tmp_path / "zz_part2.py", "x = \n")
    application = load("zz_bad2")
    assert {str(tmp_path / "zz_bad2.py"), str(tmp_path / "zz_part2.py")} <= set(watched_files(application))
