"""Functions in containers of a Docker Engine as a user meets them: verbs, requests, and what a look at the containers shows."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import debian_path
from tests.e2e.docked import Docked, Traffic
from tests.e2e.serving import wait_until
from tests.engines.engine import Engine
from tests.engines.images import busybox_root, import_root
from tests.engines.registry import Registry
from tests.integration.providers.docker.test_images import load_for

pytestmark = pytest.mark.service("dockerd", "busybox", "debootstrap")

BUSYBOX = "busybox:it"
DEBIAN = "debian:12"
SITE = "site:it"
PAGE = b"a page of an image that knows nothing of functions\n"
SITE_CHANGES = ('CMD ["sh", "-c", "trap exit TERM; httpd -f -p 8000 -h /www & wait"]', "EXPOSE 8000")
WHO = "cat /etc/hostname"
"""A program that answers which replica it is of."""
NOBODY = 65534
POWERLESS = ("setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all")
"""Starts a program as root to whom files of others are as closed as to anybody."""
SECRET = b"open-sesame-0451"


@pytest.fixture(scope="module")
def docked(docker_engine: Engine, busybox_image: str, debian_image: str) -> Iterator[Docked]:
    """A server whose functions stay for this file's tests, or are removed by them."""
    running = Docked(docker_engine)
    yield running
    running.close()


@pytest.fixture(scope="module")
def site(docked: Docked) -> str:
    """The name of a function whose image serves HTTP by itself, with the least memory."""
    root = busybox_root()
    root.add("www/index.html", PAGE, 0o644)
    import_root(docked.engine, SITE, root.packed(), SITE_CHANGES)
    docked.deploy("site", SITE, "--http-port", "8000", "--memory-limit", "1Mi")
    return "site"


@pytest.fixture(scope="module")
def shell(docked: Docked) -> str:
    """The name of a function that runs the script in a request's body, under all limits that there are."""
    limits = ("--memory-limit", "96Mi", "--memory-request", "48Mi", "--cpu-limit", "500m", "--cpu-request", "250m")
    docked.deploy("shell", DEBIAN, "--fprocess", "sh -s", "--env", "combine_output=false", "--readonly", *limits)
    return "shell"


def script(docked: Docked, text: str) -> str:
    """What a script writes in the container of the function `shell`."""
    answer = docked.server.invoke("shell", text.encode())
    assert answer.status == 200, answer
    return answer.text


# Verbs and requests


def test_a_program_of_an_unmodified_image_is_a_function(docked: Docked) -> None:
    docked.run("deploy", "--name", "sum", "--image", DEBIAN, "--fprocess", "sha256sum")
    assert docked.run("invoke", "sum", stdin=b"penstock") == f"{hashlib.sha256(b'penstock').hexdigest()}  -\n"
    # A call is counted after its answer.
    wait_until(lambda: re.search(r"^sum\s+1\s+1\s*$", docked.run("list"), re.MULTILINE), "the call in the list")
    told = docked.run("describe", "sum")
    assert re.search(r"^Image: +debian:12$", told, re.MULTILINE)
    assert re.search(r"^Available Replicas: +1$", told, re.MULTILINE)
    assert re.search(r"^sum-[0-9a-f]{8}\s+ready\s+0\s*$", told, re.MULTILINE)
    docked.remove("sum")


def test_what_a_function_uses_is_described(docked: Docked, shell: str) -> None:
    def used() -> Any:
        """Nothing when the engine does not tell in time."""
        described = json.loads(docked.run("describe", shell, "--output", "json"))
        return described if "usage" in described else None

    told = wait_until(used, "what it uses")
    assert (told["image"], told["replicas"], told["availableReplicas"]) == (DEBIAN, 1, 1)
    assert [one["state"] for one in told["instances"]] == ["ready"]
    assert 0 < told["usage"]["totalMemoryBytes"] < 96 << 20
    assert (told["limits"], told["requests"]) == ({"memory": "96Mi", "cpu": "500m"}, {"memory": "48Mi", "cpu": "250m"})


def test_what_a_function_says_is_in_its_log(docked: Docked, shell: str) -> None:
    script(docked, "echo 'a word to the operator' >&2")

    def logged() -> list[str]:
        lines = docked.run("logs", shell, "--no-tail", "--instance").splitlines()
        return [line for line in lines if "a word to the operator" in line]

    [line] = wait_until(logged, "the line in the log")
    assert docked.instances(shell)[0]["id"] in line


def test_a_secret_is_a_file_for_the_function_and_nowhere_else(docked: Docked) -> None:
    docked.run("secret", "create", "key", stdin=SECRET)
    program = "cat /proc/self/environ /proc/1/environ /var/openfaas/secrets/key"
    docked.deploy("keeper", BUSYBOX, "--fprocess", program, "--secret", "key")
    seen = docked.server.invoke("keeper").body
    assert seen.endswith(SECRET)
    assert seen.count(SECRET) == 1
    assert b"fprocess=" in seen
    inspected = json.dumps(docked.inspect("keeper"))
    for value in (SECRET, base64.b64encode(SECRET), SECRET.hex().encode()):
        assert value.decode() not in inspected
        assert value not in docked.server.output.read_bytes()
    docked.remove("keeper")
    docked.run("secret", "remove", "key")


def test_an_image_that_serves_http_by_itself_needs_its_port_only(docked: Docked, site: str) -> None:
    answer = docked.server.request("GET", f"/function/{site}/index.html")
    assert (answer.status, answer.body) == (200, PAGE)
    assert answer.headers["content-type"].startswith("text/html")
    assert docked.server.request("GET", f"/function/{site}/nosuch").status == 404
    assert not docked.inspect(site)["Mounts"]


def test_a_limit_below_the_engines_least_is_raised_to_that_and_told_as_asked(docked: Docked, site: str) -> None:
    assert docked.inspect(site)["HostConfig"]["Memory"] == 6 << 20
    assert docked.server.function(site)["limits"] == {"memory": "1Mi"}
    assert re.search(r"^Limits: +Memory: 1Mi$", docked.run("describe", site), re.MULTILINE)


@pytest.mark.parametrize(("manner", "state"), [("pause", "paused"), ("stop", "exited")])
def test_a_request_wakes_the_container_that_was_kept_at_zero(docked: Docked, manner: str, state: str) -> None:
    name = f"sleepy-{manner}"
    docked.deploy(name, BUSYBOX, "--fprocess", "cat", "--zero", manner)
    container = docked.container(name)
    docked.scale(name, 0)
    wait_until(lambda: docked.containers(name, f"status={state}") == {container}, f"a container that is {state}")
    assert docked.server.function(name).get("availableReplicas", 0) == 0
    assert docked.server.invoke(name, b"good morning").body == b"good morning"
    assert docked.running(name) == {container}
    docked.remove(name)


# What a look at the container shows


def test_a_function_has_no_capability_and_can_get_none(docked: Docked, shell: str) -> None:
    status = dict(line.split(":\t", 1) for line in script(docked, "cat /proc/self/status").splitlines())
    assert {status[f"Cap{kind}"] for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {"0" * 16}
    assert status["NoNewPrivs"] == "1"
    config = docked.inspect(shell)["HostConfig"]
    assert config["CapDrop"] == ["ALL"]
    assert "no-new-privileges" in config["SecurityOpt"]
    assert not config["Privileged"]
    assert not config["CapAdd"]
    assert not config["Binds"]


def test_a_function_is_not_root_where_the_image_names_no_user(docked: Docked, shell: str) -> None:
    assert script(docked, "id -u; id -g") == "12000\n12000\n"


def test_a_function_shares_no_namespace_with_the_machine(docked: Docked, shell: str) -> None:
    config = docked.inspect(shell)["HostConfig"]
    assert config["NetworkMode"] == "penstock"
    assert [config[kind] for kind in ("PidMode", "UTSMode", "UsernsMode")] == ["", "", ""]
    assert config["IpcMode"] == "private"


def test_a_read_only_function_writes_to_tmp_only(docked: Docked, shell: str) -> None:
    assert script(docked, "echo kept > /tmp/note && cat /tmp/note; echo lost > /var/tmp/note; true") == "kept\n"
    assert script(docked, "stat -f -c %T /tmp") == "tmpfs\n"
    config = docked.inspect(shell)["HostConfig"]
    assert config["ReadonlyRootfs"] is True
    assert set(config["Tmpfs"]) == {"/tmp"}


def test_limits_are_the_containers_own(docked: Docked, shell: str) -> None:
    config = docked.inspect(shell)["HostConfig"]
    assert (config["Memory"], config["MemorySwap"], config["MemoryReservation"]) == (96 << 20, 96 << 20, 48 << 20)
    assert (config["NanoCpus"], config["CpuShares"]) == (500_000_000, 256)
    assert config["PidsLimit"] == 1024
    assert config["LogConfig"]["Config"]["max-size"]
    assert config["RestartPolicy"]["Name"] == "no"


# Under traffic


@pytest.fixture
def busy(docked: Docked) -> Iterator[str]:
    """The name of a function that answers which replica it is of, and is not kept."""
    docked.deploy("busy", BUSYBOX, "--fprocess", WHO)
    yield "busy"
    docked.remove("busy")


def test_no_request_fails_during_an_update(docked: Docked, busy: str) -> None:
    before = docked.container(busy)
    with Traffic(docked.server, busy) as traffic:
        traffic.go_on()
        docked.deploy(busy, BUSYBOX, "--fprocess", WHO, "--env", "version=2")
        wait_until(lambda: before not in docked.containers(), "the end of the container of before")
        traffic.go_on()
    assert traffic.failures == []
    assert len(traffic.bodies) == 2


def test_no_request_fails_while_replicas_come_and_go(docked: Docked, busy: str) -> None:
    with Traffic(docked.server, busy) as traffic:
        traffic.go_on()
        docked.scale(busy, 3)
        docked.wait_replicas(busy, 3)
        wait_until(lambda: len(traffic.bodies) == 3, "answers of all three")
        docked.scale(busy, 1)
        docked.wait_replicas(busy, 1)
        traffic.go_on()
    assert traffic.failures == []


# What cannot be


@pytest.fixture
def refused(docked: Docked) -> Iterator[str]:
    """A name for a function that will not start; what is left of it is removed."""
    yield "refused"
    if docked.server.function("refused"):
        docked.remove("refused")


@pytest.mark.service("docker-registry")
def test_an_image_that_is_missing_is_told(docked: Docked, docker_registry: Registry, refused: str) -> None:
    code, error = fails(docked, refused, f"{docker_registry.host}/nosuch:1")
    assert code == 1
    assert f"image {docker_registry.host}/nosuch:1 cannot be pulled" in error
    assert "has no such image; check its name and tag, or push it" in error


def test_a_registry_that_does_not_answer_is_told(docked: Docked, refused: str) -> None:
    code, error = fails(docked, refused, "127.0.0.1:1/nobody:1")
    assert code == 1
    assert "127.0.0.1:1 cannot be reached from the engine's machine; check its address" in error
    wait_until(lambda: "cannot be reached" in docked.instances(refused)[0].get("reason", ""), "the same in its status")


def test_an_image_of_another_architecture_is_told(docked: Docked, refused: str) -> None:
    load_for(docked.engine, "elsewhere:1", "s390x")
    code, error = fails(docked, refused, "elsewhere:1")
    assert code == 1
    assert "elsewhere:1 is for linux/s390x, this machine is linux/" in error


def test_an_image_without_a_program_is_told_with_the_flag_that_helps(docked: Docked, refused: str) -> None:
    code, error = fails(docked, refused, BUSYBOX, program="")
    assert code == 1
    assert "--fprocess" in error


@pytest.mark.parametrize("image", ["Not An Image", "", "../../etc/passwd", "busybox:it;reboot"])
def test_what_cannot_name_an_image_is_refused_at_once(docked: Docked, refused: str, image: str) -> None:
    code, error = fails(docked, refused, image)
    assert code == 2
    assert "image" in error
    assert docked.server.function(refused) is None


def test_a_quantity_that_cannot_be_read_is_refused_at_once(docked: Docked, refused: str) -> None:
    code, error = fails(docked, refused, BUSYBOX, "--memory-limit", "much")
    assert code == 2
    assert "limits.memory" in error


def test_serving_without_an_engine_says_how_to_name_one(tmp_path: Path) -> None:
    code, error = cannot_serve(tmp_path / "home", f"unix://{tmp_path}/nosuch.sock")
    assert code == 1
    assert (
        f"no Docker Engine at {tmp_path}/nosuch.sock: the socket does not exist; start Docker, or set DOCKER_HOST"
        in error
    )


def test_serving_with_an_engine_that_hears_nothing_says_so(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.bind(f"{tmp_path}/deaf.sock")
        code, error = cannot_serve(tmp_path / "home", f"unix://{tmp_path}/deaf.sock")
    assert code == 1
    assert f"the Docker Engine at {tmp_path}/deaf.sock does not answer; is dockerd running?" in error


@pytest.mark.service("setpriv")
@pytest.mark.skipif(os.geteuid() != 0, reason="makes files of another user; enable with: run as root")
@pytest.mark.parametrize("hidden", [False, True], ids=["socket", "folder"])
def test_a_user_who_may_not_use_the_engine_is_told_how_to_get_to(tmp_path: Path, hidden: bool) -> None:
    """The socket is another user's, or lies in a folder of theirs."""
    folder = tmp_path / "docker"
    folder.mkdir(mode=0o700 if hidden else 0o755)
    with socket.socket(socket.AF_UNIX) as engine:
        engine.bind(f"{folder}/engine.sock")
        engine.listen()
        os.chmod(f"{folder}/engine.sock", 0o600)
        for one in (f"{folder}/engine.sock", folder):
            os.chown(one, NOBODY, NOBODY)
        code, error = cannot_serve(tmp_path / "home", f"unix://{folder}/engine.sock", *POWERLESS)
    assert code == 1
    assert f"socket {folder}/engine.sock may not be used by this user: join its group (usermod -aG docker)" in error


def cannot_serve(home: Path, url: str, *before: str) -> tuple[int, str]:
    """Serve what must fail; the exit code and what was written on stderr."""
    command = [*before, sys.executable, "-m", "penstock", "serve", "--provider", "docker", "--home", str(home)]
    done = subprocess.run(
        [*command, "--port", "0", "--metrics-port", "0"],
        capture_output=True,
        text=True,
        env={**os.environ, "PATH": debian_path(), "DOCKER_HOST": url, "HOME": str(home)},
        stdin=subprocess.DEVNULL,
        timeout=120,
        check=False,
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr


def fails(docked: Docked, name: str, image: str, *flags: str, program: str = "cat") -> tuple[int, str]:
    """Deploy what must fail; the exit code and what was written on stderr."""
    given = ("--fprocess", program) if program else ()
    done = docked.cli("deploy", "--name", name, "--image", image, *given, *flags)
    assert done.returncode != 0, done.stdout.decode()
    assert b"Traceback" not in done.stderr
    return done.returncode, done.stderr.decode()
