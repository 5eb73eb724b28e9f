"""A real bundle as a process of this machine: its environment, its users, as process 1, and how it is made."""

from __future__ import annotations

import json
import os
import py_compile
import shutil
import signal
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

import penstock
from tests.engines.waiting import wait_until
from tests.integration.watchdog.conftest import make
from tests.integration.watchdog.running import SETTINGS, Answer, Running, ask, children, is_root

Start = Callable[..., Running]

HOSTILE = {
    "PYTHONHOME": "/nowhere",
    "PYTHONPATH": "/nowhere",
    "PYTHONSTARTUP": "/nowhere",
    "LD_LIBRARY_PATH": "/nowhere",
    "LC_ALL": "xx_XX.UTF-8",
    "LOCPATH": "/nowhere",
}
"""What an image may have for its own programs."""


@pytest.fixture
def start(bundle: Path) -> Iterator[Start]:
    """Starts the bundle by one of its names; ends it again."""
    started: list[Running] = []

    def run(environ: Mapping[str, str], name: str = "fwatchdog", before: tuple[str, ...] = ()) -> Running:
        started.append(Running([*before, bundle / name], environ))
        return started[-1]

    yield run
    for running in started:
        running.close()


def test_what_is_said_of_it_is_true(made: dict[str, Any], bundle: Path) -> None:
    files = [path for path in bundle.rglob("*") if path.is_symlink() or path.is_file()]
    assert made["files"] == len(files)
    assert made["bytes"] == sum(path.lstat().st_size for path in files)
    assert made["entrypoint"] == [str(bundle / "fwatchdog")]
    assert 0 < made["privateBytes"] < made["residentBytes"] < made["bytes"]


def test_a_program_gets_the_environment_of_the_container_and_its_request(start: Start) -> None:
    running = start({"fprocess": "env", **HOSTILE})
    seen = ask(running.port, "/path").variables
    own = {name: value for name, value in seen.items() if not name.startswith(("Http_", "PENSTOCK_INVOCATION"))}
    assert own == {
        "fprocess": "env", "port": "0", "PATH": "/usr/bin:/bin", "TMPDIR": str(running.folder), **HOSTILE,
    }  # fmt: skip
    assert seen["Http_Path"] == "/path"


def test_without_a_locale_none_is_added(start: Start) -> None:
    seen = ask(start({"fprocess": "env"}).port).variables
    assert {name for name in seen if name.startswith(("LC_", "LANG", "LD_", "PYTHON"))} == set()


def test_the_name_decides_the_mode(start: Start) -> None:
    assert ": streaming 'cat' on port" in start({"fprocess": "cat"}, "of-watchdog").log
    assert ": classic 'cat' on port" in start({"fprocess": "cat"}, "penstock-watchdog").log


def test_a_copy_serves_from_where_it_was_put(bundle: Path, tmp_path: Path) -> None:
    copied = tmp_path / "copy"
    subprocess.run([bundle / "penstock-watchdog", "--copy-to", copied], check=True, env={}, cwd="/")
    assert {path.relative_to(copied) for path in copied.rglob("*")} == {
        path.relative_to(bundle) for path in bundle.rglob("*")
    }
    running = Running([copied / "penstock-watchdog", "--give-way"], {"fprocess": "env", **HOSTILE})
    try:
        assert HOSTILE.items() <= ask(running.port).variables.items()
    finally:
        running.close()


def test_it_becomes_the_watchdog_that_an_image_has(bundle: Path, tmp_path: Path) -> None:
    own = tmp_path / "fwatchdog"
    own.write_text("#!/bin/sh\nexec env\n")
    own.chmod(0o755)
    environ = {"PATH": f"{tmp_path}:/usr/bin:/bin", "LC_ALL": "xx_XX.UTF-8", "PYTHONHOME": "/nowhere", "fprocess": "x"}
    done = subprocess.run(
        [bundle / "penstock-watchdog", "--give-way"], check=True, env=environ, capture_output=True, text=True
    )
    seen = dict(line.split("=", 1) for line in done.stdout.splitlines())
    assert {name: value for name, value in seen.items() if name not in ("PWD", "_", "SHLVL")} == environ


@pytest.mark.parametrize("mode", ["classic", "serializing", "streaming"])
def test_bodies_pass_through(start: Start, mode: str) -> None:
    body = os.urandom(300_000)
    assert ask(start({"fprocess": "cat", "mode": mode}).port, body=body).body == body


def test_it_ends_well_on_sigterm(start: Start) -> None:
    running = start({"fprocess": "cat"})
    assert (running.folder / ".lock").exists()
    assert running.end() == 0
    assert not (running.folder / ".lock").exists()


@pytest.mark.parametrize(
    ("flag", "code", "shown"),
    [
        ("--version", 0, f"penstock watchdog {penstock.__version__}\n"),
        ("-run-healthcheck", 1, "unhealthy: no lock file at /nowhere/.lock\n"),
        ("--nonsense", 2, "Usage: fwatchdog [--version | --run-healthcheck |"),
    ],
)
def test_flags(bundle: Path, flag: str, code: int, shown: str) -> None:
    done = subprocess.run(
        [bundle / "fwatchdog", flag], env={"TMPDIR": "/nowhere"}, capture_output=True, text=True, check=False
    )
    assert (done.returncode, (done.stdout + done.stderr)[: len(shown)]) == (code, shown)


FUNCTION = """
import concurrent.futures, ctypes, decimal, json, multiprocessing, sqlite3, ssl, subprocess, sys, xml.etree.ElementTree


def double(number):
    return 2 * number


def handle(event, context):
    code = "import sys; print(sys.prefix, sys.flags.isolated)"
    child = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True)
    with concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        doubled = pool.submit(double, 21).result()
    return {"child": child.stdout, "doubled": doubled, "path": sys.path, "exit": callable(exit)}
"""


def test_python_functions_have_the_standard_library_and_an_interpreter(
    start: Start, bundle: Path, tmp_path: Path
) -> None:
    (tmp_path / "doubling.py").write_text(FUNCTION)
    running = start({"mode": "python", "handler": "doubling:handle", "python_path": str(tmp_path), **HOSTILE})
    answer = ask(running.port)
    assert answer.status == 200, running.log
    told = json.loads(answer.body)
    assert (told["child"], told["doubled"], told["exit"]) == (f"{bundle} 1\n", 42, True)
    assert "/nowhere" not in told["path"]
    assert all(entry.startswith((str(bundle), str(tmp_path), "/")) for entry in told["path"])


ASGI = """
async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"asgi"})
"""
WSGI = """
def app(environ, start_response):
    start_response("200 OK", [])
    return [b"wsgi"]
"""


@pytest.mark.parametrize(("mode", "source"), [("asgi", ASGI), ("wsgi", WSGI)])
def test_python_applications(start: Start, tmp_path: Path, mode: str, source: str) -> None:
    (tmp_path / "site.py").write_text(source)
    running = start({"mode": mode, "handler": str(tmp_path / "site.py")})
    assert ask(running.port).body == mode.encode()


def test_files(start: Start, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("static")
    assert ask(start({"mode": "static", "static_path": str(tmp_path)}).port, "/file").body == b"static"


def test_tokens_can_be_asked_for(start: Start) -> None:
    function = {"OPENFAAS_NAME": "words", "OPENFAAS_NAMESPACE": "openfaas-fn"}
    running = start({"fprocess": "cat", "jwt_auth": "true", "jwt_authority": "http://127.0.0.1:9", **function})
    assert ask(running.port, "/_/health").status == 200
    assert ask(running.port) == Answer(503, b"tokens cannot be checked yet\n")  # nobody is at that address


def test_failures_show_the_functions_frames_only(start: Start, tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("import json\n\n\ndef handle(event, context):\n    raise ValueError('mine')\n")
    running = start({"mode": "python", "handler": str(tmp_path / "broken.py")})
    assert ask(running.port).status == 500
    wait_until(lambda: "ValueError: mine" in running.log, "the traceback")
    frames = [line for line in running.log.splitlines() if ", line " in line]
    assert len(frames) == 1, running.log


@pytest.mark.service("setpriv")
@pytest.mark.skipif(not is_root(), reason="only root can become another user")
def test_any_user_may_run_it_where_nothing_can_be_written(start: Start) -> None:
    user = ("setpriv", "--reuid", "54321", "--regid", "54321", "--clear-groups", "--no-new-privs")
    running = start({"fprocess": "id -u", "suppress_lock": "true", "TMPDIR": "/proc"}, before=user)
    assert ask(running.port).body == b"54321\n"


NAMESPACE = ("unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc", "--kill-child")


def namespaces_allowed() -> bool:
    return subprocess.run([*NAMESPACE, "true"], capture_output=True, check=False).returncode == 0


@pytest.fixture
def in_namespace(start: Start) -> Start:
    """Starts the bundle as process 1."""
    if not namespaces_allowed():
        pytest.skip("this machine allows no namespaces to its users")
    return lambda environ: start(environ, before=NAMESPACE)


def enter(running: Running, *command: str) -> str:
    """The output of a command in the namespace of process 1."""
    [first] = children(running.process.pid)
    done = subprocess.run(
        ["nsenter", "--target", str(first), "--user", "--preserve-credentials", "--pid", "--mount", *command],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def test_as_process_1_it_reaps_orphans(in_namespace: Start) -> None:
    running = in_namespace({"fprocess": "cat"})
    [first] = children(running.process.pid)
    enter(running, "sh", "-c", "sleep 300 >/dev/null 2>&1 &")
    [orphan] = wait_until(lambda: children(first), "the orphan's adoption")
    os.kill(orphan, signal.SIGKILL)
    wait_until(lambda: not children(first), "the orphan to be reaped")
    assert ask(running.port, body=b"still here").body == b"still here"


def test_as_process_1_it_forwards_signals_to_a_program_that_stays(in_namespace: Start, tmp_path: Path) -> None:
    script = tmp_path / "server"
    script.write_text("#!/bin/sh\ntrap 'echo was told' HUP\necho is up\nwhile :; do sleep 0.05; done\n")
    script.chmod(0o755)
    running = in_namespace({"fprocess": str(script), "mode": "http"})
    wait_until(lambda: "is up" in running.log, "the program")
    [first] = children(running.process.pid)
    os.kill(first, signal.SIGHUP)
    wait_until(lambda: "was told" in running.log, "the signal's arrival")
    os.kill(first, signal.SIGTERM)
    assert running.process.wait(60) == 0


@pytest.fixture
def held(bundle: Path, tmp_path: Path) -> Path:
    """A bundle that makes the file `begun` beside itself when it imports what serves, and is held there."""
    shutil.copytree(bundle, tmp_path / "held", symlinks=True, copy_function=os.link)
    [served] = tmp_path.glob("held/lib/python3.*/penstock/watchdog/app.pyc")
    served.unlink()
    source = tmp_path / "app.py"
    source.write_text(f"import time\nopen({str(tmp_path / 'begun')!r}, 'w').close()\ntime.sleep(600)\n")
    py_compile.compile(str(source), str(served), doraise=True)
    return tmp_path / "held"


def test_as_process_1_it_can_be_ended_before_it_serves(in_namespace: Start, held: Path) -> None:
    with subprocess.Popen([*NAMESPACE, held / "fwatchdog"], env={**SETTINGS, "fprocess": "cat"}) as one:
        try:
            wait_until(held.with_name("begun").exists, "what serves to be imported")
            [first] = children(one.pid)
            assert Path(f"/proc/{first}/comm").read_text() == "fwatchdog\n"  # and not the loader's name
            os.kill(first, signal.SIGTERM)
            assert one.wait(60) == 128 + signal.SIGTERM
        finally:
            one.kill()


@pytest.mark.service("unshare")
def test_it_finds_itself_without_proc(bundle: Path, tmp_path: Path) -> None:
    if not namespaces_allowed():
        pytest.skip("this machine allows no namespaces to its users")
    shutil.copytree(bundle, tmp_path / "penstock", symlinks=True, copy_function=os.link)
    (tmp_path / "usr").mkdir()
    (tmp_path / "usr" / "fwatchdog").symlink_to("../penstock/of-watchdog")
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--root", tmp_path, "/usr/fwatchdog", "--version"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == (f"penstock watchdog {penstock.__version__}\n", "")


def test_every_compiled_module_finds_its_libraries(bundle: Path) -> None:
    library = next((bundle / "lib").glob("python3.*"))
    files = [path.relative_to(library) for path in library.rglob("*.so")]
    names = [".".join([*file.parent.parts, file.name.partition(".")[0]]).removeprefix("lib-dynload.") for file in files]
    assert {"_ssl", "_sqlite3", "uvloop.loop", "cryptography.hazmat.bindings._rust"} <= set(names)
    code = f"import importlib; [importlib.import_module(name) for name in {sorted(names)}]"
    subprocess.run([bundle / "bin" / "python3", "-I", "-S", "-c", code], env={}, check=True)


# How it is made


def test_another_making_is_the_same_and_replaces_an_earlier_one(bundle: Path, workshop: Path) -> None:
    again = workshop / "again"
    shutil.copytree(bundle, again, symlinks=True)
    (again / "stale").touch()
    make(again)
    files = {path.relative_to(bundle) for path in bundle.rglob("*")}
    assert {path.relative_to(again) for path in again.rglob("*")} == files
    assert [
        name
        for name in files
        if (bundle / name).is_file() and (bundle / name).read_bytes() != (again / name).read_bytes()
    ] == []
    assert [path.name for path in workshop.iterdir() if path.name.startswith(".")] == []


def test_the_image_holds_the_same_bundle(bundle: Path, archive: Path) -> None:
    with tarfile.open(archive) as outer:
        [name] = [name for name in outer.getnames() if name.endswith("layer.tar")]
        with tarfile.open(fileobj=outer.extractfile(name)) as layer:
            files = {entry.name: entry.size for entry in layer if entry.isfile()}
    assert files == {
        f"penstock/{path.relative_to(bundle)}": path.stat().st_size
        for path in bundle.rglob("*")
        if path.is_file() and not path.is_symlink()
    }


NEVER_READY = """
import runpy, time
from penstock.watchdog.bundle import build
build.rehearse = lambda command: time.sleep(600)
runpy.run_module("penstock", run_name="__main__")
"""
"""`python -m penstock` where the making of a bundle is held before its end."""


def test_ctrl_c_leaves_nothing(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", NEVER_READY, "watchdog", "bundle", tmp_path / "bundle"],
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as making:
        try:
            wait_until(lambda: list(tmp_path.glob(".bundle.*/bundle/lib")), "half a bundle")
            os.killpg(making.pid, signal.SIGINT)
            making.communicate(timeout=60)
        finally:
            making.kill()
    assert making.returncode == 130
    assert list(tmp_path.iterdir()) == []


def same_python(interpreter: str) -> bool:
    """Whether it can import what is installed here."""
    command = [interpreter, "-c", "import sys; print(sys.implementation.cache_tag)"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() == sys.implementation.cache_tag


def test_debians_interpreter_makes_one_too(tmp_path: Path) -> None:
    interpreter = "/usr/bin/python3"
    if not Path(interpreter).exists() or not same_python(interpreter):
        pytest.skip(f"{interpreter} is not of the version that these tests run on")
    libraries = [
        str(Path(penstock.__file__).parents[1]),
        *(path for path in sys.path if path.endswith("site-packages")),
    ]
    subprocess.run(
        [interpreter, "-m", "penstock", "watchdog", "bundle", tmp_path / "bundle"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(libraries)},
        check=True,
        capture_output=True,
    )
    running = Running([tmp_path / "bundle" / "of-watchdog"], {"fprocess": "env", **HOSTILE})
    try:
        assert ask(running.port).variables["PYTHONHOME"] == "/nowhere"
    finally:
        running.close()
