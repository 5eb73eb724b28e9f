"""The command line as a process: what it imports, and standard streams that are full, closed or no longer read."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.unit.cli.support import ScriptedGateway, answer_json, refusing


@pytest.mark.parametrize(
    ("verb", "code", "unwanted"),
    [
        ("version", 0, {"aiohttp", "rich", "asyncio", "yaml", "msgspec", "ssl", "http.client", "penstock.cli.client"}),
        ("list", 3, {"aiohttp", "rich", "asyncio", "yaml", "ssl", "http.client"}),
    ],
    ids=["version", "list"],
)
def test_quick_verbs_import_nothing_heavy(verb: str, code: int, unwanted: set[str]) -> None:
    script = (
        "import sys\nfrom penstock.cli.main import cli\n"
        "try:\n    cli.main([sys.argv[1], '-g', sys.argv[2]], 'penstock')\n"
        "except SystemExit as e:\n    assert e.code == int(sys.argv[3]), e.code\n"
        "heavy = set(sys.argv[4:]) & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    with refusing() as url:
        command = [sys.executable, "-c", script, verb, url, str(code), *sorted(unwanted)]
        done = subprocess.run(command, capture_output=True, text=True, env=os.environ)
    assert done.returncode == 0, done.stderr


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
