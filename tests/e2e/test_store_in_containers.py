"""The function store on a gateway that runs images: packages become an image by a real Docker Engine, and images are run as they are.

No registry and no mirror is reached: the base has a package manager of the test's own.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.docked import Docked
from tests.engines.engine import Engine
from tests.engines.images import busybox_root, import_root
from tests.engines.registry import Registry

BASE = "store-base:it"

APT_GET = b"""#!/bin/sh
[ "$1" = update ] && exit 0
[ "$*" = "install -y --no-install-recommends figlet" ] || { echo "unexpected: $*" >&2; exit 100; }
printf '#!/bin/sh\\nprintf "LARGE "\\nexec /bin/busybox cat\\n' > /bin/figlet
/bin/busybox chmod 755 /bin/figlet
"""


@pytest.fixture(scope="module")
def docked(docker_engine: Engine, busybox_image: str) -> Iterator[Docked]:
    root = busybox_root()
    root.add("bin/apt-get", APT_GET)
    import_root(docker_engine, BASE, root.packed(), ["ENV PATH=/bin"])
    docked = Docked(docker_engine, "--pull", "never")
    try:
        yield docked
    finally:
        docked.close()
        for image in (*store_images(docker_engine), BASE):
            with contextlib.suppress(AssertionError):  # of another test on the same engine, which uses it
                docker_engine.docker("rmi", image)


def store_images(engine: Engine) -> list[str]:
    return engine.docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}}", "penstock-store/*").split()


def test_packages_become_an_image_that_answers(docked: Docked) -> None:
    docked.run("store", "deploy", "figlet", "--build-arg", f"BASE={BASE}", "--timeout", "5m")
    assert docked.run("invoke", "figlet", stdin=b"words") == "LARGE words"
    [image] = store_images(docked.engine)
    [function] = json.loads(docked.run("list", "--json"))
    assert function["image"] == image
    docked.run("store", "deploy", "figlet", "--name", "again", "--build-arg", f"BASE={BASE}", "--timeout", "5m")
    assert store_images(docked.engine) == [image]


def test_a_prefix_has_the_image_pushed_before_it_runs(docked: Docked, docker_registry: Registry) -> None:
    prefix = f"{docker_registry.host}/ada"
    flags = ("--name", "pushed", "--prefix", prefix, "--build-arg", f"BASE={BASE}", "--zero", "pause")
    docked.run("store", "deploy", "figlet", *flags, "--timeout", "5m")
    assert docked.run("invoke", "pushed", stdin=b"words") == "LARGE words"
    function = json.loads(docked.run("describe", "pushed", "--json"))
    assert function["image"].startswith(f"{prefix}/figlet:")
    assert function["labels"]["com.penstock.zero"] == "pause"
    docked.run("remove", "pushed")
    docked.engine.docker("rmi", function["image"])
    docked.engine.docker("pull", function["image"])
    docked.engine.docker("rmi", function["image"])


def test_an_image_of_the_stores_is_run_with_the_watchdog(docked: Docked, busybox_image: str, tmp_path: Path) -> None:
    entry = {"name": "count", "fprocess": "/bin/busybox wc -w", "images": {"x86_64": busybox_image}}
    (tmp_path / "store.json").write_text(json.dumps({"functions": [entry]}))
    docked.run("store", "deploy", "count", "--url", str(tmp_path / "store.json"), "--timeout", "5m")
    assert docked.run("invoke", "count", stdin=b"one two three").strip() == "3"


def test_a_build_that_fails_says_the_package_managers_own_words(docked: Docked) -> None:
    done = docked.cli("store", "deploy", "cowsay", "--build-arg", f"BASE={BASE}")
    assert done.returncode == 1
    assert b"unexpected: install -y --no-install-recommends cowsay" in done.stderr
    assert b"Traceback" not in done.stderr
    assert docked.server.function("cowsay") is None
