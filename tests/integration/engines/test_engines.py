"""The engines that other tests rely on: reached by address, ended and brought back at will, and gone with their owner."""

from __future__ import annotations

import contextlib
import http.client
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from tests.engines.engine import Engine
from tests.engines.fixtures import StartEngine, require
from tests.engines.images import import_busybox
from tests.engines.registry import Registry
from tests.engines.swarm import SwarmNode, TwoNodeSwarm
from tests.engines.waiting import DEADLINE, wait_until

pytestmark = pytest.mark.service("dockerd", "busybox")

SERVER = ("busybox:it", "httpd", "-f", "-p", "80", "-h", "/bin")
SERVICE = ("--endpoint-mode", "dnsrr", "--stop-grace-period", "1s")
ROOT = Path(__file__).parents[3]
OWNER = """
import sys
from tests.engines.engine import Engine
from tests.engines.images import import_busybox
engine = Engine()
import_busybox(engine)
engine.docker("network", "create", "mine")
engine.docker("run", "--detach", "--network", "mine", "busybox:it", "sleep", "1000")
print(engine.sandbox.pid, engine.sandbox.link.name, engine.folder, flush=True)
sys.stdin.read()
"""


def status(host: str, port: int) -> int:
    """Of an answer of a `SERVER`; 0 while it does not answer."""
    connection = http.client.HTTPConnection(host, port, timeout=5)
    try:
        connection.request("GET", "/busybox")
        return connection.getresponse().status
    except OSError:
        return 0
    finally:
        connection.close()


def answers(host: str, port: int) -> None:
    wait_until(lambda: status(host, port) == 200, f"an answer of {host}:{port}")


def address(engine: Engine, container: str) -> str:
    return engine.docker("inspect", "--format", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", container)


def running(engine: Engine, container: str) -> bool:
    return engine.docker("inspect", "--format", "{{.State.Running}}", container) == "true"


def serve(engine: Engine, *flags: str) -> str:
    """A container with a web server, on a network of its own."""
    engine.docker("network", "create", "serving")
    return engine.docker("run", "--detach", "--network", "serving", *flags, *SERVER)


@pytest.fixture
def engine(start_engine: StartEngine) -> Engine:
    engine = start_engine()
    import_busybox(engine)
    return engine


@pytest.fixture
def keeping(start_engine: StartEngine) -> Engine:
    """An engine whose containers outlive it."""
    engine = start_engine(live_restore=True)
    import_busybox(engine)
    return engine


def test_the_machine_reaches_a_container_by_its_address_and_by_a_published_port(engine: Engine) -> None:
    container = serve(engine, "--publish", "8080:80")
    answers(address(engine, container), 80)
    answers(engine.sandbox.address, 8080)


def test_a_container_reaches_the_machine(engine: Engine) -> None:
    engine.docker("network", "create", "calling")
    command = [sys.executable, "-u", "-m", "http.server", "--bind", engine.sandbox.host_address, "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        try:
            assert server.stdout is not None
            url = server.stdout.readline().split("(")[1].split(")")[0]
            engine.docker("run", "--network", "calling", "busybox:it", "wget", "-q", "-O", "/dev/null", url)
        finally:
            server.kill()


def test_the_machines_default_route_stays(start_engine: StartEngine) -> None:
    show = ["ip", "route", "show", "default"]
    before = subprocess.check_output(show)
    start_engine()
    assert subprocess.check_output(show) == before


def test_engines_do_not_see_each_other(engine: Engine, docker_engine: Engine, busybox_image: str) -> None:
    container = serve(engine)
    assert container not in docker_engine.docker("ps", "--quiet", "--no-trunc")
    assert engine.sandbox.address != docker_engine.sandbox.address
    assert busybox_image in docker_engine.docker("images", "--format", "{{.Repository}}:{{.Tag}}").split()


def test_a_restart_ends_containers_and_keeps_them(engine: Engine) -> None:
    container = serve(engine, "--stop-timeout", "1")
    engine.restart()
    assert not running(engine, container)
    engine.docker("start", container)
    answers(address(engine, container), 80)


def test_containers_outlive_an_engine_that_is_told_so(keeping: Engine) -> None:
    container = serve(keeping)
    host = address(keeping, container)
    keeping.stop()
    answers(host, 80)
    with pytest.raises(AssertionError, match="Cannot connect"):
        keeping.docker("ps")
    keeping.start()
    assert running(keeping, container)


def test_containers_outlive_a_killed_engine(keeping: Engine) -> None:
    container = serve(keeping)
    host = address(keeping, container)
    keeping.kill()
    answers(host, 80)
    keeping.start()
    assert running(keeping, container)


def test_a_paused_engine_hangs_until_it_resumes(engine: Engine) -> None:
    engine.pause()
    asking = subprocess.Popen(["/usr/bin/docker", "--host", engine.url, "ps"], stdout=subprocess.PIPE)
    with pytest.raises(subprocess.TimeoutExpired):
        asking.communicate(timeout=1)
    engine.resume()
    assert b"CONTAINER" in asking.communicate(timeout=DEADLINE)[0]


def test_a_process_of_a_container_is_found_on_the_machine(engine: Engine) -> None:
    container = serve(engine)
    inside = int(engine.docker("inspect", "--format", "{{.State.Pid}}", container))
    process = psutil.Process(engine.sandbox.outside(inside))
    # The engine says that it runs before it is the program.
    wait_until(lambda: process.cmdline()[:1] == ["httpd"], "the program of the container")


@pytest.mark.service("docker-registry")
def test_an_image_is_pushed_and_pulled(docker_engine: Engine, docker_registry: Registry, busybox_image: str) -> None:
    name = f"{docker_registry.host}/engines/busybox:1"
    docker_engine.docker("tag", busybox_image, name)
    docker_engine.docker("push", name)
    docker_engine.docker("rmi", name)
    docker_engine.docker("pull", name)
    docker_engine.docker("rmi", name)


@pytest.mark.service("docker-registry")
def test_a_registry_asks_for_an_account_and_can_be_away(engine: Engine) -> None:
    registry = Registry(engine.sandbox, ("somebody", "good password"))
    name = f"{registry.host}/private:1"
    engine.docker("tag", "busybox:it", name)
    with pytest.raises(AssertionError, match="no basic auth credentials"):
        engine.docker("push", name)
    with pytest.raises(AssertionError, match="401"):
        engine.docker("login", "--username", "somebody", "--password-stdin", registry.host, data=b"wrong")
    engine.docker("login", "--username", "somebody", "--password-stdin", registry.host, data=b"good password")
    engine.docker("push", name)
    registry.stop()
    with pytest.raises(AssertionError, match="connection refused"):
        engine.docker("pull", name)
    registry.start()
    engine.docker("pull", name)
    registry.close()


@pytest.mark.service("debootstrap")
def test_debian_runs_without_python(docker_engine: Engine, debian_image: str) -> None:
    look = "cat /etc/debian_version; type apt-get; ! type python3"
    assert "/apt-get" in docker_engine.docker("run", "--rm", debian_image, "sh", "-c", look)


def test_one_node_is_a_swarm(swarm_engine: SwarmNode) -> None:
    import_busybox(swarm_engine)
    flags = (*SERVICE, "--publish", "mode=host,published=8081,target=80")
    swarm_engine.docker("service", "create", "--detach", "--name", "alone", *flags, *SERVER)
    try:
        answers(swarm_engine.sandbox.address, 8081)
    finally:
        swarm_engine.docker("service", "rm", "alone")


@pytest.fixture
def swarm(two_node_swarm: TwoNodeSwarm) -> TwoNodeSwarm:
    for node in two_node_swarm.nodes:
        import_busybox(node)
    return two_node_swarm


@pytest.fixture
def overlay(swarm: TwoNodeSwarm) -> Iterator[str]:
    """A network across both nodes, to which containers can be joined."""
    swarm.manager.docker("network", "create", "--driver", "overlay", "--attachable", "across")
    yield "across"
    for node in swarm.nodes:
        if containers := node.docker("ps", "--all", "--quiet", "--filter", "network=across").split():
            node.docker("rm", "--force", *containers)
    swarm.manager.docker("network", "rm", "across")


def test_containers_of_two_nodes_reach_each_other_by_name(swarm: TwoNodeSwarm, overlay: str) -> None:
    start = ("run", "--detach", "--network", overlay, "--name")
    swarm.manager.docker(*start, "first", *SERVER)
    swarm.worker.docker(*start, "second", *SERVER)

    def fetches(node: SwarmNode, container: str, other: str) -> bool:
        try:
            node.docker("exec", container, "wget", "-q", "-O", "/dev/null", f"http://{other}/busybox")
        except AssertionError:
            return False
        return True

    wait_until(lambda: fetches(swarm.manager, "first", "second"), "the second by its name")
    wait_until(lambda: fetches(swarm.worker, "second", "first"), "the first by its name")


def test_both_nodes_publish_a_service(swarm: TwoNodeSwarm, overlay: str) -> None:
    flags = ("--mode", "global", *SERVICE, "--publish", "mode=host,published=8082,target=80")
    swarm.manager.docker("service", "create", "--detach", "--name", "both", "--network", overlay, *flags, *SERVER)
    try:
        for node in swarm.nodes:
            answers(node.sandbox.address, 8082)
    finally:
        swarm.manager.docker("service", "rm", "both")
        for node in swarm.nodes:
            wait_until(lambda node=node: not node.docker("ps", "--all", "--quiet"), "the end of the service")  # type: ignore[misc]


@pytest.mark.service("docker-registry")
def test_both_nodes_pull_from_one_registry(swarm: TwoNodeSwarm) -> None:
    registry = Registry(swarm.manager.sandbox)
    name = f"{registry.address}/shared:1"
    try:
        swarm.manager.docker("tag", "busybox:it", name)
        swarm.manager.docker("push", name)
        swarm.worker.docker("pull", name)
    finally:
        registry.close()


def test_a_node_that_is_cut_off_is_lost_and_comes_back(swarm: TwoNodeSwarm) -> None:
    swarm.cut()
    try:
        assert swarm.worker.docker("ps", "--quiet") == ""
        wait_until(lambda: swarm.states() == {"ready", "down"}, "the node's loss")
    finally:
        swarm.mend()


def test_a_node_whose_engine_is_killed_is_lost_and_comes_back(swarm: TwoNodeSwarm) -> None:
    swarm.worker.kill()
    try:
        wait_until(lambda: swarm.states() == {"ready", "down"}, "the node's loss")
    finally:
        swarm.worker.start()
    wait_until(lambda: swarm.states() == {"ready"}, "the node's return")


def index_of(link: str) -> int:
    """Of a network interface: unlike its name, no other gets it afterwards."""
    return int(Path("/sys/class/net", link, "ifindex").read_text())


def indexes() -> set[int]:
    found = set()
    for link in Path("/sys/class/net").iterdir():
        with contextlib.suppress(OSError):  # it may go meanwhile
            found.add(index_of(link.name))
    return found


def test_an_engine_may_be_closed_twice(start_engine: StartEngine) -> None:
    engine = start_engine()
    link = index_of(engine.sandbox.link.name)
    engine.close()
    assert not engine.folder.exists()
    assert link not in indexes()
    engine.close()


def test_an_engine_ends_while_it_hangs(start_engine: StartEngine) -> None:
    engine = start_engine()
    engine.pause()
    engine.close()
    assert engine.process.wait(DEADLINE) != 0


def test_an_engine_outlives_the_thread_that_started_it(start_engine: StartEngine) -> None:
    with ThreadPoolExecutor(1) as threads:
        engine = threads.submit(start_engine).result()
    assert engine.docker("ps", "--quiet") == ""


@pytest.mark.parametrize(("ci", "outcome"), [("", pytest.skip.Exception), ("true", pytest.fail.Exception)])
def test_whoever_is_not_root_is_told_what_to_run(
    monkeypatch: pytest.MonkeyPatch, ci: str, outcome: type[BaseException]
) -> None:
    monkeypatch.setenv("CI", ci)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(outcome, match="enable with: sudo make test"):
        require()


def family_with(name: str, first: int) -> list[psutil.Process]:
    """A process and all below it, once one of these is called so."""
    processes = [psutil.Process(first), *psutil.Process(first).children(recursive=True)]
    names = set()
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):  # what the engine runs for a moment
            names.add(process.name())
    return processes if name in names else []


def test_an_engine_leaves_nothing_when_its_owner_is_killed() -> None:
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src")])}
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER], env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
    )
    with owner:
        assert owner.stdout is not None
        first, link, folder = owner.stdout.readline().decode().split()
        processes = wait_until(lambda: family_with("sleep", int(first)), "the program of the container")
        index = index_of(link)
        owner.kill()
    assert Path(folder).name.startswith("pd-")
    wait_until(lambda: not any(process.is_running() for process in processes), "the end of its processes")
    wait_until(lambda: not Path(folder).exists(), "the end of its folder")
    wait_until(lambda: index not in indexes(), "the end of its link, and of the routes through it")
    wait_until(lambda: not [*Path("/sys/fs/cgroup").glob(f"*/penstock-{Path(folder).name}")], "the end of its cgroups")
