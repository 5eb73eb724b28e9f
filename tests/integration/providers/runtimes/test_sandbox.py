"""What a function can see and write, as root and as a plain user."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from penstock.model import DEFAULT_NAMESPACE, FunctionSpec, Secret
from penstock.providers.local import LocalProvider
from penstock.providers.runtimes.sandbox import SECRETS_MOUNT, program_paths
from tests.integration.providers.runtimes.harness import call, deployed, run, running_provider, script
from tests.integration.providers.waiting import until

NS = DEFAULT_NAMESPACE
FORBID = """
import os, sys
open("/proc/sys/user/max_mnt_namespaces", "w").write("0")
os.execv(sys.executable, [sys.executable, "-m", "penstock.providers.runtimes.zygote", *sys.argv[1:]])
"""
WITHOUT_NAMESPACES = ["unshare", "-Ur", sys.executable, "-c", FORBID]
"""A zygote in a user namespace of its own in which no mount namespace may be made."""


async def isolated(provider: LocalProvider) -> bool:
    return "mount namespace" in provider.capabilities.sandbox


async def test_a_function_has_a_tmp_of_its_own(tmp_path: Path) -> None:
    async with running_provider() as (provider, _):
        if not await isolated(provider):
            pytest.skip(f"no namespaces here: {provider.capabilities.sandbox}")
        first = await deployed(provider, "one", "cp /etc/hostname /tmp/mine")
        assert (await call(first.endpoints[0]))[0] == 200
        assert not Path("/tmp/mine").exists()
        assert (Path(first.endpoints[0].removeprefix("unix:")).parent / "tmp/mine").exists()
        assert "mine" not in await run(provider, "two", "ls -A /tmp")


async def test_a_program_that_lies_in_tmp_still_runs(tmp_path: Path) -> None:
    async with running_provider() as (provider, _):
        (tmp_path / "neighbour.txt").write_text("found")
        program = script(
            tmp_path, "import pathlib; print(pathlib.Path(__file__).with_name('neighbour.txt').read_text())"
        )
        assert (await run(provider, "scripted", program)).strip() == "found"


async def test_a_function_does_not_see_the_state_directory() -> None:
    async with running_provider() as (provider, server):
        if not await isolated(provider):
            pytest.skip(f"no namespaces here: {provider.capabilities.sandbox}")
        server.home.auth.mkdir()
        server.home.password_file.write_text("hunter2")
        text = await run(provider, "spy", f"find {server.home.path}")
        for hidden in ("state.db", "basic-auth-password", "zygote.sock", "logs/"):
            assert hidden not in text


async def test_native_builds_in_the_state_directory_are_shown_and_cannot_be_written() -> None:
    async with running_provider() as (provider, server):
        if not await isolated(provider):
            pytest.skip(f"no namespaces here: {provider.capabilities.sandbox}")
        build = server.home.builds / "fn/0123"
        build.mkdir(parents=True)
        (build / "word").write_text("built")
        assert await run(provider, "reader", f"cat {build}/word") == "built"
        assert "Read-only" in await run(provider, "writer", f"touch {build}/new")
        assert (await run(provider, "others", f"ls -A {server.home.path}")).split() == ["builds", "run"]


async def test_secrets_are_where_functions_expect_them() -> None:
    async with running_provider() as (provider, _):
        if SECRETS_MOUNT not in provider.capabilities.sandbox:
            pytest.skip(f"secrets cannot be mounted here: {provider.capabilities.sandbox}")
        await provider.create_secret(Secret(name="key", value=b"s3cret"))
        assert await run(provider, "reads", f"cat {SECRETS_MOUNT}/key", secrets=("key",)) == "s3cret"
        assert "Read-only" in await run(provider, "writes", f"touch {SECRETS_MOUNT}/new", secrets=("key",))
        assert await run(provider, "others", f"ls {SECRETS_MOUNT}") == ""


async def test_a_read_only_file_system_leaves_only_the_replicas_own_directory_writable() -> None:
    async with running_provider() as (provider, _):
        if not await isolated(provider):
            pytest.skip(f"no namespaces here: {provider.capabilities.sandbox}")
        assert "Read-only" in await run(provider, "root", "touch /var/tmp/penstock-test", read_only_root=True)
        assert await run(provider, "tmp", "touch /tmp/fine", read_only_root=True) == ""
        environ = await run(provider, "env", "env", read_only_root=True)
        seen = dict(line.split("=", 1) for line in environ.splitlines() if "=" in line)
        assert await run(provider, "home", f"ls -d {Path(seen['HOME']).parent.parent}", read_only_root=True)
        assert await run(provider, "null", "tee /dev/null", b"x", read_only_root=True) == "x"


async def test_set_user_id_programs_gain_nothing_unless_allowed() -> None:
    async with running_provider() as (provider, _):
        status = await run(provider, "tight", "cat /proc/self/status")
        assert "NoNewPrivs:\t1" in status
        labels = {"com.penstock.allow-new-privileges": "true"}
        assert "NoNewPrivs:\t0" in await run(provider, "loose", "cat /proc/self/status", labels=labels)


async def test_a_read_only_file_system_that_cannot_be_given_is_the_visible_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The zygote runs where namespaces are forbidden: a user namespace with a limit of none."""
    async with running_provider() as (provider, server):
        server.kill_zygote()
        command = [*WITHOUT_NAMESPACES, str(server.home.zygote_socket)]
        try:
            server.zygote = subprocess.Popen(command, env=server.environ, pass_fds=[server._read])
        except OSError:
            pytest.skip("unshare(1) is not here")
        await until("the zygote is back", lambda: "no isolation" in provider._runtime.capabilities.sandbox)
        await provider.deploy(FunctionSpec(name="strict", env_process="cat", read_only_root=True))

        async def refused() -> bool:
            return "read-only root file system" in (await provider.get("strict", NS)).replicas[0].reason

        await until("the reason is visible", refused)
        assert await run(provider, "lax", "cat", b"works") == "works"


def test_program_paths_stand_for_their_directories(tmp_path: Path) -> None:
    file = tmp_path / "a.py"
    file.write_text("")
    assert program_paths(["python3", str(file), "/usr/bin/env", "/tmp/does-not-exist/x"]) == [str(tmp_path)]


@pytest.mark.skipif(
    os.getuid() != 0 or not shutil.which("unshare"), reason="runs as a plain user already, or no unshare(1)"
)
def test_all_of_this_holds_for_a_plain_user() -> None:
    """This very file again by a user with a number of its own and no capabilities."""
    plain = ["unshare", "--user", "--map-user=1000", "--map-group=1000"]
    if subprocess.run([*plain, "true"], capture_output=True).returncode != 0:
        pytest.skip("user namespaces are not allowed here")
    arguments = [*plain, sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", __file__]
    result = subprocess.run(arguments, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "9 passed" in result.stdout or "namespaces" in result.stdout, result.stdout
