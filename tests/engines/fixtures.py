"""Fixtures for every test that needs an Engine: nothing starts before a test asks, and all of it ends with the tests."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import NoReturn, Protocol

import pytest

from tests.conftest import PACKAGES, in_ci, missing_services
from tests.engines.engine import Engine, EngineFailed
from tests.engines.images import ImageFailed, import_busybox, import_debian
from tests.engines.network import NetworkFailed
from tests.engines.registry import Registry, RegistryFailed
from tests.engines.sandbox import SandboxFailed
from tests.engines.swarm import SwarmNode, TwoNodeSwarm

OF_ENGINES = ("dockerd", "ip", "iptables", "nsenter", "setpriv", "unshare")


class StartEngine(Protocol):
    """What the `start_engine` fixtures give: takes options of Engine."""

    def __call__(self, *, live_restore: bool = False, insecure: Sequence[str] = (), bridge: bool = False) -> Engine: ...


def absent(reason: str) -> NoReturn:
    """A service is missing: a skip at home, a failure where nothing may be missing."""
    if in_ci():
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def require(*programs: str) -> None:
    """Skip or fail unless this user may start engines and the machine has what they and these programs need."""
    if os.geteuid() != 0:
        absent("Docker Engines of the tests' own run as root only; enable with: sudo make test")
    if missing := missing_services((*OF_ENGINES, *programs)):
        packages = " ".join(sorted({PACKAGES.get(name, name) for name in missing}))
        absent(f"{', '.join(missing)} not found; enable with: apt-get install {packages}")


@contextmanager
def or_absent() -> Iterator[None]:
    """What the machine does not let us start is absent."""
    try:
        yield
    except (SandboxFailed, NetworkFailed, EngineFailed, RegistryFailed, ImageFailed) as error:
        absent(f"cannot be had on this machine: {error}")


@contextmanager
def _factory() -> Iterator[StartEngine]:
    require()
    with ExitStack() as started:

        def start(*, live_restore: bool = False, insecure: Sequence[str] = (), bridge: bool = False) -> Engine:
            with or_absent():
                engine = Engine(live_restore=live_restore, insecure=insecure, bridge=bridge)
            started.callback(engine.close)
            return engine

        yield start


@pytest.fixture
def start_engine() -> Iterator[StartEngine]:
    """Starts engines that end with the test."""
    with _factory() as start:
        yield start


@pytest.fixture(scope="module")
def start_module_engine() -> Iterator[StartEngine]:
    """Starts engines that end with the module."""
    with _factory() as start:
        yield start


@pytest.fixture(scope="session")
def docker_engine() -> Iterator[Engine]:
    """A plain engine that tests share: whoever makes something on it removes it, and nobody stops it."""
    with _factory() as start:
        yield start()


@pytest.fixture(scope="session")
def docker_registry(docker_engine: Engine) -> Iterator[Registry]:
    """A registry without accounts that `docker_engine` reaches at `.host`, and the machine at `.address`."""
    require("docker-registry")
    with or_absent():
        registry = Registry(docker_engine.sandbox)
    yield registry
    registry.close()


@pytest.fixture(scope="session")
def swarm_engine() -> Iterator[SwarmNode]:
    """A Swarm of one node that tests share."""
    require()
    with or_absent():
        node = SwarmNode()
    try:
        node.found_swarm()
        yield node
    finally:
        node.close()


@pytest.fixture(scope="session")
def two_node_swarm() -> Iterator[TwoNodeSwarm]:
    """A Swarm of two nodes that tests share: whoever cuts the worker off or stops it brings it back."""
    require()
    with or_absent():
        swarm = TwoNodeSwarm()
    yield swarm
    swarm.close()


@pytest.fixture(scope="session")
def busybox_image(docker_engine: Engine) -> str:
    """The tag of an image of a static busybox on `docker_engine`; `import_busybox` gives it to others."""
    require("busybox")
    return import_busybox(docker_engine)


@pytest.fixture(scope="session")
def debian_image(docker_engine: Engine) -> str:
    """The tag of an image of a minimal Debian on `docker_engine`; `import_debian` gives it to others."""
    require("debootstrap")
    with or_absent():
        return import_debian(docker_engine)
