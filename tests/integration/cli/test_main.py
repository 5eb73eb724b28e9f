"""The command line as a process: what it imports, and standard streams that are full, closed or no longer read."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from penstock.cli.config import config_path, save_login
from tests.unit.cli.support import ScriptedGateway, answer_json, refusing

_HEAVY = ("aiohttp", "rich", "asyncio", "yaml", "ssl", "http.client", "penstock.cli.client")
_CLICK = ("click", "msgspec", "inspect", "dataclasses", "uuid", "pathlib", "importlib.util", "threading")


@pytest.mark.parametrize(
    ("words", "code", "unwanted"),
    [
        (("version",), 0, (*_HEAVY, *_CLICK)),
        (("version", "--short-version"), 0, (*_HEAVY, *_CLICK, "socket", "json")),
        (("list",), 3, (*_HEAVY, *_CLICK)),
        (("version", "--timeout", "1m"), 0, _HEAVY),
        (("list", "--sort", "name"), 3, _HEAVY),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_quick_verbs_import_nothing_heavy(words: tuple[str, ...], code: int, unwanted: tuple[str, ...]) -> None:
    script = (
        "import sys\nbefore = set(sys.modules)\n"
        "unwanted, code = sys.argv.pop(1).split(','), int(sys.argv.pop(1))\n"
        "from penstock.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit as e:\n    assert e.code == code, e.code\n"
        "heavy = set(unwanted) & (set(sys.modules) - before)\n"
        "assert not heavy, heavy\n"
    )
    with refusing() as url:
        command = [sys.executable, "-c", script, ",".join(unwanted), str(code), *words, "-g", url]
        done = subprocess.run(command, capture_output=True, text=True, env=os.environ)
    assert done.returncode == 0, done.stderr


def test_a_saved_login_is_found_without_a_reader_of_yaml(gateway: ScriptedGateway) -> None:
    gateway.on("GET /system/functions", answer_json([]))
    save_login(config_path(os.environ), gateway.url, "YWRtaW46cHc=")
    script = (
        "import sys\nfrom penstock.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit as e:\n    assert e.code == 0, e.code\n"
        "assert 'yaml' not in sys.modules and 'click' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", script, "list"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert gateway.requests[0].headers["Authorization"] == "Basic YWRtaW46cHc="


def test_a_reader_that_goes_away_ends_us_quietly(gateway: ScriptedGateway) -> None:
    gateway.on("GET /system/functions", answer_json([{"name": f"f{number}"} for number in range(20000)]))
    process = subprocess.Popen(
        [sys.executable, "-m", "penstock", "list", "-q"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None and process.stderr is not None
    assert process.stdout.readline() == b"f0\n"
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() == 141
    process.stderr.close()


def test_python_m_penstock_is_the_same_program() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "penstock", "version", "--short-version"], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout.count("\n")) == (0, 1)


def shell(line: str) -> subprocess.CompletedProcess[str]:
    program = f"{sys.executable} -m penstock"
    return subprocess.run(["bash", "-c", line.replace("penstock", program, 1)], capture_output=True, text=True)


def test_a_full_disk_is_said_in_one_line() -> None:
    done = shell("penstock version --short-version > /dev/full")
    assert (done.returncode, done.stderr) == (1, "Error: No space left on device\n")


def test_closed_standard_streams_are_no_reason_to_fall_over(gateway: ScriptedGateway) -> None:
    gateway.on("GET /system/functions", answer_json([]))
    assert shell("penstock list >&-").returncode == 0
    assert shell("penstock list --bogus 2>&-").returncode == 2
    done = shell("penstock invoke f >&- < /dev/null")
    assert (done.returncode, done.stderr) == (1, "Error: stdout is closed, there is nowhere to write the answer to\n")
