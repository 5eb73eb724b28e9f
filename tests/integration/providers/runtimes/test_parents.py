"""Warmed parents: one import for many replicas, and what happens when an import or a parent goes wrong."""

from __future__ import annotations

import ast
import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from penstock.errors import InvalidInput
from penstock.model import DEFAULT_NAMESPACE, FunctionSpec, LogQuery, Secret
from penstock.providers.local import LocalProvider
from penstock.providers.runtimes.processes import all_processes
from penstock.providers.runtimes.records import read_record
from tests.integration.providers.runtimes.harness import (
    Server,
    call,
    deployed,
    die,
    ended,
    long_time,
    pid_of,
    running_provider,
    running_server,
    runs_with,
)
from tests.integration.providers.waiting import ready, until

NS = DEFAULT_NAMESPACE
ANSWER = "\ndef handle(event, context):\n    return {'statusCode': 200, 'body': str(answer())}\n"


class Function:
    """A folder with a handler that notes each of its imports."""

    def __init__(self, folder: Path, name: str = "warm") -> None:
        self.folder = folder
        self.name = name
        self.marks = folder / "marks"
        self.marks.touch()

    def write(self, body: str) -> None:
        head = f"import os\nopen({str(self.marks)!r}, 'a').write(f'{{os.getpid()}}\\n')\n"
        (self.folder / "handler.py").write_text(head + body + ANSWER)

    def spec(self, **environ: str) -> FunctionSpec:
        return FunctionSpec(name=self.name, env_vars={"mode": "python", "handler": str(self.folder), **environ})

    def imports(self) -> int:
        return len(self.marks.read_text().splitlines())


@pytest.fixture
def function(tmp_path: Path) -> Function:
    return Function(tmp_path)


def parents(server: Server) -> list[str]:
    return [token for token in server.tokens() if token.startswith("w")]


def parent_pids(server: Server) -> list[int]:
    """Living parents, by their directories."""
    return [pid_of(f"unix:{server.home.replicas / token}/http.sock") for token in parents(server)]


def recorded_replicas(server: Server) -> list[str]:
    """Replicas that have written down who they are."""
    replicas = (token for token in server.tokens() if not token.startswith("w"))
    return [token for token in replicas if read_record(server.home.replicas / token)]


async def reason(provider: LocalProvider, name: str) -> str:
    return (await provider.get(name, NS)).replicas[0].reason


@contextlib.asynccontextmanager
async def scaled(function: Function, replicas: int, **environ: str) -> AsyncIterator[tuple[LocalProvider, Server]]:
    async with running_provider() as (provider, server):
        await provider.deploy(function.spec(**environ))
        await ready(provider, function.name)
        await provider.scale(function.name, NS, replicas)
        await ready(provider, function.name, replicas)
        yield provider, server


async def test_replicas_share_one_import(function: Function) -> None:
    function.write("def answer(): return os.environ['PENSTOCK_REPLICA']")
    async with scaled(function, 3) as (provider, server):
        endpoints = (await provider.get("warm", NS)).endpoints
        answers = [(await call(endpoint))[1].decode() for endpoint in endpoints]
        assert function.imports() == 1
        assert sorted(answers) == sorted(Path(endpoint).parent.name for endpoint in endpoints)
        assert len(parents(server)) == 1


async def test_a_replica_has_directories_secrets_and_variables_of_its_own(function: Function) -> None:
    function.write(
        "import tempfile, pathlib\n"
        "KEPT = pathlib.Path(tempfile.gettempdir())\n"
        "SECRET = pathlib.Path(os.environ['PENSTOCK_SECRETS_DIR']) / 'key'\n"
        "(KEPT / 'made-by-import').write_text('made')\n"
        "def answer():\n"
        "    mine = pathlib.Path(tempfile.mkdtemp()).parent\n"
        "    (KEPT / os.environ['PENSTOCK_REPLICA']).touch()\n"
        "    return [str(mine), os.environ['TMPDIR'], SECRET.read_text(), (KEPT / 'made-by-import').read_text(),\n"
        "        [n for n in os.listdir(mine) if len(n) == 12 and '-' not in n], os.getcwd(), os.environ['HOME']]"
    )
    async with running_provider() as (provider, _):
        await provider.create_secret(Secret(name="key", value=b"s3cret"))
        spec = function.spec()
        await provider.deploy(FunctionSpec(name="warm", env_vars=spec.env_vars, secrets=("key",)))
        await ready(provider, "warm")
        await provider.scale("warm", NS, 2)
        for endpoint in (await ready(provider, "warm", 2)).endpoints:
            text = (await call(endpoint))[1].decode()
            token = Path(endpoint).parent.name
            values = ast.literal_eval(text)
            assert values[0] == values[1] and token in values[0], text
            assert values[2:4] == ["s3cret", "made"]
            isolated = "mount namespace" in provider.capabilities.sandbox
            assert values[4] == ([token] if isolated else []), text
            assert values[5] == values[6] and token in values[5]
        assert function.imports() == 1


async def test_the_log_has_what_the_import_printed(function: Function) -> None:
    function.write("print('said by the import')\ndef answer():\n    print('said by a call')\n    return 1")
    async with scaled(function, 2) as (provider, _):
        for endpoint in (await provider.get("warm", NS)).endpoints:
            await call(endpoint)

        async def complete() -> bool:
            texts = [line.text async for line in provider.logs(LogQuery(name="warm", namespace=NS))]
            return texts.count("said by the import") == 1 and sum("said by a call" in text for text in texts) == 2

        await until("all of it is in the log", complete)


async def test_a_replica_that_was_killed_comes_back_from_the_same_import(function: Function) -> None:
    function.write("def answer(): return 1")
    async with scaled(function, 2) as (provider, _):
        victim = (await provider.get("warm", NS)).endpoints[0]
        os.kill(pid_of(victim), signal.SIGKILL)

        async def replaced() -> bool:
            now = await provider.get("warm", NS)
            return victim not in now.endpoints and now.available == 2

        await until("it is back", replaced)
        assert function.imports() == 1


async def test_a_parent_that_was_killed_is_replaced_at_the_next_launch(function: Function) -> None:
    function.write("def answer(): return 1")
    async with scaled(function, 1) as (provider, server):
        (pid,) = parent_pids(server)
        os.kill(pid, signal.SIGKILL)
        await provider.scale("warm", NS, 3)
        for endpoint in (await ready(provider, "warm", 3)).endpoints:
            assert (await call(endpoint))[0] == 200
        assert 2 <= function.imports() <= 3  # one launch may have been on its way to the old parent
        await until("the old parent's directory is gone", lambda: len(parents(server)) <= 2)


async def test_a_new_generation_imports_anew_and_the_old_parent_ends(function: Function) -> None:
    function.write("def answer(): return 'previous'")  # of another length: Python trusts its cache by seconds and size
    async with scaled(function, 2) as (provider, server):
        (old,) = parent_pids(server)
        before = (await provider.get("warm", NS)).endpoints
        function.write("def answer(): return 'new'")
        await provider.update(function.spec(more="1"))

        async def renewed() -> bool:
            now = await provider.get("warm", NS)
            return now.available == len(now.replicas) == 2 and not {*before} & {*now.endpoints}

        await until("all replicas are new", renewed)
        for endpoint in (await provider.get("warm", NS)).endpoints:
            assert await call(endpoint) == (200, b"new")
        assert function.imports() == 2
        await until("the old parent has ended", lambda: ended(old))


async def test_updated_secrets_reach_new_replicas_that_read_them_when_imported(function: Function) -> None:
    function.write("V = open(os.environ['PENSTOCK_SECRETS_DIR'] + '/key').read()\ndef answer(): return V")
    async with running_provider() as (provider, _):
        await provider.create_secret(Secret(name="key", value=b"one"))
        await provider.deploy(FunctionSpec(name="warm", env_vars=function.spec().env_vars, secrets=("key",)))
        (first,) = (await ready(provider, "warm")).endpoints
        await provider.update_secret(Secret(name="key", value=b"two"))
        await provider.scale("warm", NS, 2)
        second = next(one for one in (await ready(provider, "warm", 2)).endpoints if one != first)
        assert [(await call(first))[1], (await call(second))[1]] == [b"one", b"two"]


async def test_a_failed_import_is_visible_and_is_tried_anew_by_the_next_launch(function: Function) -> None:
    function.write("import no_such_package_here\ndef answer(): return 1")
    async with running_provider() as (provider, server):
        await provider.deploy(function.spec(python_path=str(function.folder / "lib")))

        async def told() -> bool:
            return "no_such_package_here" in await reason(provider, "warm")

        await until("the reason is visible", told)
        # Its directory stays for as long as its replica, which may use paths in it.
        await until("such a parent is not kept", lambda: all(ended(pid) for pid in parent_pids(server)))
        # The replica makes its own directory, which may be after its parent has told of it and ended.
        await until("the replica has written its record", lambda: bool(recorded_replicas(server)))
        (token,) = recorded_replicas(server)
        (function.folder / "lib").mkdir()
        (function.folder / "lib" / "no_such_package_here.py").write_text("")
        os.kill(pid_of(f"unix:{server.home.replicas / token}/http.sock"), signal.SIGKILL)
        await ready(provider, "warm")


@pytest.mark.parametrize(
    ("end", "words"), [("os._exit(3)", "exit status 3"), ("os.kill(os.getpid(), 9)", "signal: killed")]
)
async def test_an_import_that_ends_the_process_is_the_reason_and_is_tried_again(
    function: Function, end: str, words: str
) -> None:
    function.write(f"{end}\ndef answer(): return 1")
    async with running_provider() as (provider, server):
        await provider.deploy(function.spec())

        async def tried_twice() -> bool:
            replica = (await provider.get("warm", NS)).replicas[0]
            return replica.restarts >= 2 and replica.state == "backoff"

        await until("it was restarted twice", tried_twice)
        assert f"the import of {function.folder} ended the process: {words}" in await reason(provider, "warm")
        await provider.delete("warm", NS)
        await until("nothing is left", lambda: not server.tokens() and len(server.children()) <= 1)


async def test_an_import_that_never_ends_is_shown_holds_up_nobody_and_ends_with_its_function(
    function: Function,
) -> None:
    mark = long_time()
    function.write(f"import subprocess\nsubprocess.run(['sleep', '{mark}'])\ndef answer(): return 1")
    async with running_provider() as (provider, server):
        await provider.deploy(function.spec())
        await until("it imports", lambda: len(runs_with(mark)) == 1)

        async def told() -> bool:
            return await reason(provider, "warm") == f"importing {function.folder}"

        await until("it is told", told)
        await deployed(provider, "other", "cat")
        await provider.delete("warm", NS)
        await until("the import is over", lambda: not runs_with(mark))
        await until("nothing of it is left", lambda: len(server.tokens()) == 1)


async def test_a_launch_waits_for_an_import_that_is_under_way(function: Function) -> None:
    gate = function.folder / "gate"
    function.write(f"import time\nwhile not os.path.exists({str(gate)!r}): time.sleep(0.01)\ndef answer(): return 1")
    async with running_provider() as (provider, _):
        await provider.deploy(function.spec())
        await provider.scale("warm", NS, 3)
        await until("it imports", lambda: function.imports() == 1)
        gate.touch()
        await ready(provider, "warm", 3)
        assert function.imports() == 1


@pytest.mark.parametrize(
    ("left", "note"),
    [
        ("import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()", "threads"),
        ("import subprocess\nP = subprocess.Popen(['sleep', 'MARK'])", "processes"),
        ("open('/tmp/large', 'wb').write(bytes(5 << 20))", "temporary files"),
    ],
)
async def test_what_an_import_leaves_that_cannot_be_forked_makes_each_replica_import(
    function: Function, left: str, note: str, capfd: pytest.CaptureFixture[str]
) -> None:
    mark = long_time()
    function.write(f"{left.replace('MARK', mark)}\ndef answer(): return 1")
    async with scaled(function, 2) as (provider, server):
        if note == "temporary files" and "mount namespace" not in provider.capabilities.sandbox:
            pytest.skip("there is no /tmp of its own here")
        for endpoint in (await provider.get("warm", NS)).endpoints:
            assert (await call(endpoint))[0] == 200
        assert function.imports() >= 3
        await until("no parent is left", lambda: not parents(server))
    assert capfd.readouterr().err.count("the import has left") == 1
    await until("nothing that it started is left", lambda: not runs_with(mark))


async def test_reloading_functions_have_no_parent(function: Function) -> None:
    function.write("def answer(): return 1")
    async with scaled(function, 2, python_reload="true") as (_, server):
        assert function.imports() == 2
        assert not parents(server)


async def test_deleting_a_function_ends_its_parent(function: Function) -> None:
    function.write("def answer(): return 1")
    async with scaled(function, 2) as (provider, server):
        (pid,) = parent_pids(server)
        await provider.delete("warm", NS)
        await until("nothing is left", lambda: not server.tokens() and ended(pid))


async def test_a_parent_keeps_a_function_warm_that_is_scaled_to_zero(function: Function) -> None:
    function.write("def answer(): return 1")
    async with scaled(function, 1) as (provider, _):
        await provider.scale("warm", NS, 0)

        async def none() -> bool:
            return not (await provider.get("warm", NS)).replicas

        await until("there is none", none)
        await provider.scale("warm", NS, 1)
        await ready(provider, "warm")
        assert function.imports() == 1


async def test_a_replica_that_stood_by_is_used_once_and_ends_with_its_parent(function: Function) -> None:
    function.write("def answer(): return os.getpid()")
    async with scaled(function, 1) as (provider, server):
        (parent,) = parent_pids(server)

        def standing_by() -> list[int]:
            """Living processes of the parent's session, without the parent and the one that only forks; a replica has one of
            its own."""
            return [
                stat.pid
                for stat in all_processes()
                if stat.session == parent not in (stat.pid, stat.parent) and stat.state not in "ZX"
            ]

        await until("one stands by", lambda: len(standing_by()) == 1)
        (spare,) = standing_by()
        await provider.scale("warm", NS, 2)
        endpoints = (await ready(provider, "warm", 2)).endpoints
        assert spare in [pid_of(endpoint) for endpoint in endpoints]
        await until("another stands by", lambda: len(standing_by()) == 1 and standing_by() != [spare])
        (spare,) = standing_by()
        os.kill(spare, signal.SIGKILL)
        await provider.scale("warm", NS, 3)
        for endpoint in (await ready(provider, "warm", 3)).endpoints:
            assert (await call(endpoint))[0] == 200
        await until("another stands by", lambda: len(standing_by()) == 1 and standing_by() != [spare])
        (spare,) = standing_by()
        os.kill(parent, signal.SIGKILL)
        await until("it has ended", lambda: ended(spare))
        assert function.imports() == 1


async def test_parents_end_with_a_zygote_that_was_killed_and_replicas_live_on(function: Function) -> None:
    function.write("def answer(): return 1")
    async with scaled(function, 2) as (provider, server):
        (pid,) = parent_pids(server)
        endpoints = (await provider.get("warm", NS)).endpoints
        server.kill_zygote()
        await until("the parent has ended", lambda: ended(pid))
        assert [(await call(endpoint))[0] for endpoint in endpoints] == [200, 200]
        server.start_zygote()

        async def scaled_up() -> bool:
            with contextlib.suppress(Exception):
                await provider.scale("warm", NS, 3)
            return (await provider.get("warm", NS)).available == 3

        await until("there are three", scaled_up)
        assert function.imports() == 2


async def test_a_zygote_that_is_asked_to_end_takes_its_parents_along(function: Function) -> None:
    function.write("def answer(): return 1")
    async with scaled(function, 1) as (_, server):
        (pid,) = parent_pids(server)
        server.kill_zygote(signal.SIGTERM)
        assert ended(pid)
        assert not parents(server)


async def test_another_control_process_leaves_parents_alone_and_uses_them(function: Function) -> None:
    function.write("def answer(): return 1")
    with running_server() as server:
        first = server.provider()
        await first.start()
        await first.deploy(function.spec())
        await ready(first, function.name)
        (pid,) = parent_pids(server)
        await die(first)
        second = server.provider()
        await second.start()
        try:
            await ready(second, "warm")
            await second.scale("warm", NS, 2)
            await ready(second, "warm", 2)
            assert function.imports() == 1 and not ended(pid)
            await second.delete("warm", NS)
            await until("nothing is left", lambda: not server.tokens() and ended(pid))
        finally:
            await second.close()


async def test_a_launch_whose_control_process_died_during_the_import_leaves_no_replica(function: Function) -> None:
    gate = function.folder / "gate"
    function.write(f"import time\nwhile not os.path.exists({str(gate)!r}): time.sleep(0.01)\ndef answer(): return 1")
    with running_server() as server:
        first = server.provider()
        await first.start()
        await first.deploy(function.spec())
        await until("it imports", lambda: function.imports() == 1)
        await die(first)
        second = server.provider()
        await second.start()
        try:
            gate.touch()
            await ready(second, "warm")
            # Children of the zygote: its spare, the parent, the spare of that, and one replica.
            await until("only one replica is left", lambda: len(server.tokens()) == 2 and len(server.children()) <= 4)
        finally:
            await second.close()


async def test_usage_counts_the_parent_as_well(function: Function) -> None:
    function.write("DATA = os.urandom(30 << 20)\ndef answer(): return 1")
    async with scaled(function, 2) as (provider, _):
        usage = (await provider.get("warm", NS, usage=True)).usage
        assert usage and 30 << 20 <= usage.memory_bytes < 90 << 20


async def test_a_handler_is_asked_for_when_there_is_none() -> None:
    async with running_provider() as (provider, _):
        with pytest.raises(InvalidInput, match="handler: is required"):
            await provider.deploy(FunctionSpec(name="warm", env_vars={"mode": "python"}))


async def test_a_read_only_function_can_write_where_its_import_wrote(function: Function) -> None:
    text = (
        "import os, tempfile\nKEPT = tempfile.gettempdir()\n"
        "def answer():\n    open(KEPT + '/x', 'w').close()\n    return os.access('/var', os.W_OK)"
    )
    (function.folder / "handler.py").write_text(text + ANSWER)
    async with running_provider() as (provider, _):
        if "mount namespace" not in provider.capabilities.sandbox:
            pytest.skip(f"no namespaces here: {provider.capabilities.sandbox}")
        spec = FunctionSpec(name="warm", env_vars=function.spec().env_vars, read_only_root=True)
        await provider.deploy(spec)
        await ready(provider, "warm")
        await provider.scale("warm", NS, 2)
        for endpoint in (await ready(provider, "warm", 2)).endpoints:
            assert await call(endpoint) == (200, b"False")


@pytest.mark.skipif(
    os.getuid() != 0 or not shutil.which("unshare"), reason="runs as a plain user already, or no unshare(1)"
)
def test_this_holds_for_a_plain_user_and_without_namespaces(tmp_path: Path) -> None:
    """Some of this file again by a user with a number of its own and no capabilities."""
    plain = ["unshare", "--user", "--map-user=1000", "--map-group=1000"]
    if subprocess.run([*plain, "true"], capture_output=True).returncode != 0:
        pytest.skip("user namespaces are not allowed here")
    chosen = "share_one or of_its_own or read_only or was_killed or control_process_leaves"
    arguments = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", chosen, __file__]
    result = subprocess.run([*plain, *arguments], capture_output=True, text=True)
    assert result.returncode == 0 and "7 passed" in result.stdout, result.stdout + result.stderr
