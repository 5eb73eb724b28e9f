"""The bundle in images that have nothing it could use: a static busybox alone, musl, and nothing at all."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import debian_path
from tests.engines.engine import Engine
from tests.engines.images import Root, busybox_root, import_root
from tests.engines.waiting import wait_until
from tests.integration.watchdog.container import Container
from tests.integration.watchdog.running import children

Run = Callable[..., Container]


@pytest.fixture
def run(engine: Engine) -> Iterator[Run]:
    """Starts containers, and removes them."""
    started: list[Container] = []

    def start(image: str, *flags: str, command: tuple[str, ...] = (), **environ: str) -> Container:
        started.append(Container(engine, image, *flags, environ=environ, command=command))
        return started[-1]

    yield start
    for container in started:
        container.close()


HANDLER = b"""
import sqlite3, ssl, subprocess, sys


def handle(event, context):
    code = "import sys; print(sys.version_info[0])"
    return subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, check=True).stdout
"""
SERVER = b"#!/bin/sh\ntrap 'echo was told' HUP\necho is up\nwhile :; do sleep 0.05; done\n"


@pytest.fixture(scope="module")
def busybox(engine: Engine) -> str:
    """An image of a static busybox, whose watchdog is a link to a bundle that will be mounted."""
    root = busybox_root()
    root.add("handler.py", HANDLER, 0o644)
    root.add("server", SERVER)
    return import_root(engine, "watchdog:busybox", root.packed(), ['CMD ["/usr/bin/fwatchdog"]'])


@pytest.fixture
def mounted(bundle: Path) -> tuple[str, str]:
    return "--volume", f"{bundle}:/penstock:ro"


@pytest.mark.service("dockerd", "busybox")
def test_it_runs_with_nothing_but_a_static_busybox(run: Run, busybox: str, mounted: tuple[str, str]) -> None:
    hostile = {"PYTHONHOME": "/x", "LD_PRELOAD": "/x.so", "LD_LIBRARY_PATH": "/x", "LC_ALL": "xx_XX"}
    container = run(busybox, *mounted, "--user", "1234:1234", fprocess="env", PATH="/bin", **hostile)
    seen = dict(line.split("=", 1) for line in container.ask().decode().splitlines())
    own = {name: value for name, value in seen.items() if not name.startswith(("Http_", "PENSTOCK_INVOCATION"))}
    assert own == {
        "fprocess": "env", "port": "0", "PATH": "/bin", "HOME": "/", "HOSTNAME": seen["HOSTNAME"], **hostile,
    }  # fmt: skip
    assert container.execute("id", "-u") == "1234"
    assert container.execute("/usr/bin/fwatchdog", "--run-healthcheck") == ""
    assert container.end() == "0"


@pytest.mark.service("dockerd", "busybox")
def test_python_functions_run_there(run: Run, busybox: str, mounted: tuple[str, str]) -> None:
    assert run(busybox, *mounted, mode="python", handler="/handler.py").ask() == b"3\n"


@pytest.mark.service("dockerd", "busybox")
def test_process_1_of_a_container_reaps_orphans_and_forwards_signals(
    run: Run, busybox: str, mounted: tuple[str, str]
) -> None:
    container = run(busybox, *mounted, mode="http", fprocess="/server")
    first = container.process
    [program] = wait_until(lambda: children(first), "the program")
    container.execute("sh", "-c", "sleep 300 >/dev/null 2>&1 &")
    [orphan] = wait_until(lambda: [pid for pid in children(first) if pid != program], "the orphan's adoption")
    os.kill(orphan, 9)
    wait_until(lambda: children(first) == [program], "the orphan to be reaped")
    wait_until(lambda: "is up" in container.log, "the program's start")
    container.signal("HUP")
    wait_until(lambda: "was told" in container.log, "the signal's arrival")
    assert container.end() == "0"


@pytest.mark.service("dockerd", "busybox")
def test_the_image_is_loaded_and_becomes_healthy(run: Run, engine: Engine, archive: Path) -> None:
    assert "example.org/watchdog:it" in engine.docker("load", data=archive.read_bytes())
    container = run(
        "example.org/watchdog:it", "--health-interval", "1s", "--user", "99", mode="static", static_path="/penstock"
    )
    facts = json.loads(container.ask("/bundle.json"))
    assert facts["entrypoint"] == ["/penstock/fwatchdog"]
    assert json.loads(container.inspect("{{json .Config.Healthcheck.Test}}")) == [
        "CMD",
        "/penstock/fwatchdog",
        "--run-healthcheck",
    ]
    wait_until(lambda: container.inspect("{{.State.Health.Status}}") == "healthy", "a healthy container")
    assert container.end() == "0"


PROGRAM = """
#include <stdio.h>
#include <stdlib.h>
int value(void);
int main(void) { printf("%d %s\\n", value(), getenv("LD_PRELOAD")); }
"""
LIBRARY = "int value(void) { return 1; }\n"
OTHER = "int value(void) { return 2; }\n"


@pytest.fixture(scope="module")
def musl(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An image of musl, a program, its library and another that can be preloaded; no shell, nothing else."""
    folder = tmp_path_factory.mktemp("musl")
    environ = {**os.environ, "PATH": debian_path()}
    for name, source in (("program", PROGRAM), ("libvalue", LIBRARY), ("other", OTHER)):
        (folder / f"{name}.c").write_text(source)
    for built in (["-shared", "-o", "libvalue.so", "libvalue.c"], ["-shared", "-o", "other.so", "other.c"]):
        subprocess.run(["musl-gcc", "-fPIC", *built], cwd=folder, env=environ, check=True)
    subprocess.run(["musl-gcc", "-o", "program", "program.c", "-L.", "-lvalue"], cwd=folder, env=environ, check=True)
    machine = os.uname().machine
    loader = f"ld-musl-{machine}.so.1"
    root = Root()
    root.add(f"lib/{loader}", Path(f"/lib/{loader}").read_bytes())
    root.add("bin/program", (folder / "program").read_bytes())
    root.add("opt/libvalue.so", (folder / "libvalue.so").read_bytes())
    root.add("opt/other.so", (folder / "other.so").read_bytes())
    for name in ("tmp", "penstock"):
        root.folder(name)
    return import_root(engine, "watchdog:musl", root.packed())


@pytest.mark.service("dockerd", "musl-gcc")
def test_it_runs_beside_musl_whose_programs_keep_their_libraries(run: Run, musl: str, mounted: tuple[str, str]) -> None:
    container = run(
        musl,
        *mounted,
        command=("/penstock/of-watchdog",),
        fprocess="/bin/program",
        LD_LIBRARY_PATH="/opt",
        LD_PRELOAD="/opt/other.so",
    )
    assert container.ask() == b"2 /opt/other.so\n"
    assert container.answer("/_/health").status == 200
    assert container.end() == "0"


@pytest.fixture(scope="module")
def copied(engine: Engine, archive: Path, workshop: Path) -> tuple[str, str]:
    """A volume as pods have it, filled from our image by a container that may do nothing else, and how it is mounted."""
    volume = workshop / "volume"
    volume.mkdir()
    volume.chmod(0o777)
    engine.docker("load", data=archive.read_bytes())
    allowed = ("--read-only", "--user", "12000:12000", "--cap-drop", "ALL", "--network", "none")
    where = ("--volume", f"{volume}:/copy", "--entrypoint", "/penstock/penstock-watchdog", "example.org/watchdog:it")
    for _ in range(2):  # a pod whose first container is started again
        engine.docker("run", "--rm", *allowed, *where, "--copy-to", "/copy")
    return "--volume", f"{volume}:/penstock:ro"


@pytest.mark.service("dockerd", "busybox", "musl-gcc")
def test_a_copy_in_a_volume_serves_an_image_without_a_watchdog(run: Run, musl: str, copied: tuple[str, str]) -> None:
    container = run(
        musl,
        *copied,
        "--user",
        "12000:12000",
        command=("/penstock/penstock-watchdog", "--give-way"),
        fprocess="/bin/program",
        LD_LIBRARY_PATH="/opt",
        LD_PRELOAD="/opt/other.so",
    )
    assert container.ask() == b"2 /opt/other.so\n"
    assert container.end() == "0"


@pytest.mark.service("dockerd", "busybox")
def test_an_image_that_has_a_watchdog_is_served_by_that_one(run: Run, busybox: str, copied: tuple[str, str]) -> None:
    container = run(
        busybox, *copied, command=("/penstock/penstock-watchdog", "--give-way"), fprocess="cat", PATH="/usr/bin:/bin"
    )
    assert "fwatchdog" in container.execute("cat", "/proc/1/comm")
    assert container.answer("/", b"through it").body == b"through it"
    assert container.end() == "0"
