"""The image that this installation makes: what is in it, and how it serves in a real engine."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from penstock.providers.containers import labels
from tests.conftest import debian_path
from tests.engines.engine import Engine
from tests.engines.waiting import DEADLINE, wait_until
from tests.image import TAG
from tests.integration.image.gateways import Gateway

LARGEST = 96 << 20
"""Bytes that the image may take. It takes 81 MiB, of which the watchdog takes 45 and the library for object storage 16."""

Run = Callable[..., Gateway]


@pytest.fixture
def run(loaded: Engine, network: str) -> Iterator[Run]:
    """Starts gateways, and removes them."""
    started: list[Gateway] = []

    def start(*flags: str, command: tuple[str, ...] = ()) -> Gateway:
        started.append(Gateway(loaded, network, *flags, command=command))
        return started[-1]

    yield start
    for gateway in started:
        gateway.close()


@pytest.fixture(scope="module")
def serving(loaded: Engine, network: str) -> Iterator[Gateway]:
    """A gateway as it starts without any argument, with a function that multiplies."""
    gateway = Gateway(loaded, network)
    try:
        gateway.execute(*DEPLOY)
        yield gateway
    finally:
        gateway.close()


COPY = f"label={labels.FUNCTION}=copy.openfaas-fn"
"""By which an engine finds the containers of the function `copy`."""
DEPLOY = ("penstock", "deploy", "--name", "answer", "--fprocess", "/penstock/bin/python3 -I -S -c print(6*7)")

# In an engine


@pytest.mark.service("dockerd")
def test_it_answers_and_becomes_healthy(serving: Gateway) -> None:
    assert serving.ask("/healthz")[0] == 200
    assert serving.ask("/healthz", port=8082) == (200, b"OK")
    wait_until(lambda: serving.inspect("{{.State.Health.Status}}") == "healthy", "a healthy container")


@pytest.mark.service("dockerd")
def test_functions_are_deployed_and_called_inside(serving: Gateway) -> None:
    assert serving.ask("/function/answer") == (200, b"42\n")
    assert serving.execute("penstock", "invoke", "answer") == "42"
    assert "answer" in serving.execute("penstock", "list")


@pytest.mark.service("dockerd")
def test_it_serves_as_a_user_of_its_own_who_owns_its_home(serving: Gateway) -> None:
    code = "import os, pwd; print(os.getuid(), pwd.getpwuid(os.getuid()).pw_name, os.stat('/var/lib/penstock').st_uid)"
    assert serving.execute("/opt/penstock/bin/python3", "-c", code) == "12000 penstock 12000"


@pytest.mark.service("dockerd")
def test_it_trusts_the_authorities_of_the_machine(serving: Gateway, made_image: dict[str, Any]) -> None:
    code = "import ssl; print(len(ssl.create_default_context().get_ca_certs()) > 0)"
    assert serving.execute("/opt/penstock/bin/python3", "-c", code) == str(bool(made_image["certificates"]))


@pytest.mark.service("dockerd")
def test_every_compiled_module_finds_its_libraries(serving: Gateway) -> None:
    code = (
        "import importlib, pathlib, sysconfig\n"
        "library = pathlib.Path(sysconfig.get_path('stdlib'))\n"
        "for file in sorted(library.rglob('*.so')):\n"
        "    names = [*file.relative_to(library).parent.parts, file.name.partition('.')[0]]\n"
        "    importlib.import_module('.'.join(names).removeprefix('lib-dynload.').removesuffix('.__init__'))\n"
        "print('all')"
    )
    assert serving.execute("/opt/penstock/bin/python3", "-I", "-S", "-c", code) == "all"


@pytest.mark.service("dockerd")
def test_any_user_may_serve(run: Run) -> None:
    gateway = run("--user", "4242", command=("serve", "--provider", "memory"))
    assert gateway.ask("/healthz")[0] == 200
    assert "penstock-memory" in gateway.execute("penstock", "version", "--timeout", "2m")


@pytest.mark.service("dockerd")
def test_a_signal_ends_it_in_order_and_its_functions_are_there_after_the_next_start(run: Run) -> None:
    gateway = run()
    gateway.execute(*DEPLOY)
    assert gateway.stop() == "0"
    gateway.start()
    gateway.wait_until_ready(starts=2)
    wait_until(lambda: gateway.ask("/function/answer") == (200, b"42\n"), "the function")


@pytest.mark.service("dockerd", "busybox")
@pytest.mark.parametrize("flags", [("--group-add", "{group}"), ("--user", "0")], ids=["group", "root"])
def test_with_the_engines_socket_it_runs_functions_in_containers(
    loaded: Engine, network: str, busybox_image: str, flags: tuple[str, ...]
) -> None:
    socket = Path(loaded.url.removeprefix("unix://"))
    given = [flag.format(group=socket.stat().st_gid) for flag in flags]
    with remains_removed(loaded):
        mounted = ("--volume", f"{socket}:/var/run/docker.sock")
        gateway = Gateway(loaded, network, *mounted, *given, command=("serve", "--provider", "docker"))
        gateway.execute("penstock", "deploy", "--name", "copy", "--image", busybox_image, "--fprocess", "cat")
        assert gateway.ask("/function/copy", b"words") == (200, b"words")
        gateway.execute("penstock", "remove", "copy")
        wait_until(lambda: "copy" not in gateway.execute("penstock", "list"), "the function's end")
        wait_until(lambda: not names(loaded, "container", "ls", "--all", "--filter", COPY), "its container's end")


@contextlib.contextmanager
def remains_removed(engine: Engine) -> Iterator[None]:
    """Remove afterwards what a gateway has made on the engine, which other tests use too."""
    kinds = {"container": ("ls", "--all"), "network": ("ls",), "volume": ("ls",)}
    before = {kind: names(engine, kind, *listing) for kind, listing in kinds.items()}
    try:
        yield
    finally:
        for kind, listing in kinds.items():
            for name in sorted(names(engine, kind, *listing) - before[kind]):
                engine.docker(kind, "rm", *(["--force"] if kind != "network" else []), name)


def names(engine: Engine, kind: str, *listing: str) -> set[str]:
    return set(engine.docker(kind, *listing, "--quiet").split())


@pytest.mark.service("dockerd")
def test_a_gateway_that_is_not_there_is_unhealthy(loaded: Engine) -> None:
    with pytest.raises(AssertionError, match="no gateway answers"):
        loaded.docker("run", "--rm", "--network", "none", TAG, "health")


# Its files


def layer_of(archive: Path) -> bytes:
    with tarfile.open(archive) as outer:
        [name] = [name for name in outer.getnames() if name.endswith("layer.tar")]
        return opened(outer, name)


def opened(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(name)
    assert file is not None
    return file.read()


def test_the_watchdogs_bundle_in_it_is_the_one_that_would_be_made_alone(archive: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    subprocess.run(
        [sys.executable, "-m", "penstock", "watchdog", "bundle", bundle], check=True, stdout=subprocess.DEVNULL
    )
    with tarfile.open(fileobj=io.BytesIO(layer_of(archive))) as layer:
        inside = {
            entry.name.removeprefix("penstock/"): entry.linkname if entry.issym() else opened(layer, entry.name)
            for entry in layer
            if entry.name.startswith("penstock/") and not entry.isdir()
        }
    alone = {
        str(path.relative_to(bundle)): os.readlink(path) if path.is_symlink() else path.read_bytes()
        for path in bundle.rglob("*")
        if path.is_symlink() or path.is_file()
    }
    assert [name for name in inside.keys() | alone.keys() if inside.get(name) != alone.get(name)] == []


def test_it_is_not_larger_than_it_must_be(made_image: dict[str, Any]) -> None:
    assert made_image["layerBytes"] < LARGEST


def test_another_making_in_the_other_format_has_the_same_layer(archive: Path, oci_archive: Path) -> None:
    with tarfile.open(oci_archive) as layout:
        [entry] = json.loads(opened(layout, "index.json"))["manifests"]
        manifest = json.loads(opened(layout, blob(entry)))
        layer = gzip.decompress(opened(layout, blob(manifest["layers"][0])))
    assert hashlib.sha256(layer).hexdigest() == hashlib.sha256(layer_of(archive)).hexdigest()


def blob(descriptor: dict[str, Any]) -> str:
    return "blobs/" + str(descriptor["digest"]).replace(":", "/")


def test_every_blob_of_the_layout_is_called_by_its_digest(oci_archive: Path) -> None:
    with tarfile.open(oci_archive) as layout:
        names = [name for name in layout.getnames() if re.fullmatch("blobs/sha256/[0-9a-f]+", name)]
        digests = [hashlib.sha256(opened(layout, name)).hexdigest() for name in names]
    assert len(names) == 3
    assert [name.rpartition("/")[2] for name in names] == digests


@pytest.mark.service("skopeo")
@pytest.mark.parametrize("transport", ["docker-archive", "oci-archive"])
def test_skopeo_reads_both_formats(
    transport: str, archive: Path, oci_archive: Path, image_workshop: Path, tmp_path: Path
) -> None:
    file = archive if transport == "docker-archive" else oci_archive
    copying = ["skopeo", "--insecure-policy", "--tmpdir", str(tmp_path), "copy", f"{transport}:{file}"]
    environ = {**os.environ, "PATH": debian_path()}
    subprocess.run([*copying, f"dir:{tmp_path / 'copy'}"], env=environ, check=True, capture_output=True)
    manifest = json.loads((tmp_path / "copy" / "manifest.json").read_text())
    config = json.loads((tmp_path / "copy" / manifest["config"]["digest"].partition(":")[2]).read_text())
    assert config["config"]["Entrypoint"] == ["/opt/penstock/penstock"]


# Making it


def test_ctrl_c_leaves_nothing(tmp_path: Path) -> None:
    making = subprocess.Popen(
        [sys.executable, "-m", "penstock", "image", "build", tmp_path / "penstock.tar"],
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    wait_until(lambda: list(tmp_path.glob(".penstock.tar.*/root/opt")), "half an image")
    os.killpg(making.pid, signal.SIGINT)
    making.communicate(timeout=DEADLINE)
    assert making.returncode == 130
    assert list(tmp_path.iterdir()) == []


@pytest.mark.service("unshare")
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
def test_a_full_disk_is_told(tmp_path: Path) -> None:
    mounted = f'mount -t tmpfs -o size=20m tmpfs {tmp_path} && "$@"; code=$?; ls -A {tmp_path}; exit $code'
    making = [sys.executable, "-m", "penstock", "image", "build", str(tmp_path / "penstock.tar")]
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", mounted, "sh", *making], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert f"{tmp_path}: No space left on device" in done.stderr
