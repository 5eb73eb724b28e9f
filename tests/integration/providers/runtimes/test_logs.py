"""Log files: written by a replica's thread, read, followed and tidied by the control process."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from penstock.model import LogLine, LogQuery
from penstock.providers.runtimes.logfiles import LogFiles, _Follower
from penstock.providers.runtimes.logwriter import LogFile

WRITER = """
import os, sys
from penstock.providers.runtimes.logwriter import LogFile, LogWriter
directory = os.open(sys.argv[1], os.O_RDONLY)
writer = LogWriter(LogFile(directory, "r-1.log", int(sys.argv[2])))
writer.start()
exec(sys.argv[3])
writer.finish()
os._exit(0)
"""


def write(folder: Path, program: str, most: int = 1 << 20) -> str:
    """What a process that prints through a LogWriter leaves in its file."""
    folder.mkdir(parents=True, exist_ok=True)
    arguments = [sys.executable, "-c", WRITER, str(folder), str(most), program]
    subprocess.run(arguments, check=True, timeout=60)
    return (folder / "r-1.log").read_bytes().decode("utf-8", "replace")


def folder(root: Path) -> Path:
    return root / "ns" / "f"


async def lines(root: Path, **query: object) -> list[LogLine]:
    wanted = LogQuery(name="f", namespace="ns", **query)  # type: ignore[arg-type]
    return [line async for line in LogFiles(root).lines(wanted, lambda: False)]


def test_lines_carry_time_and_stream(tmp_path: Path) -> None:
    text = write(tmp_path, "os.write(1, b'out\\nmore'); os.write(2, b'err\\n'); os.write(1, b' of it')")
    stamp = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z"
    found = re.findall(rf"^{stamp} (stdout|stderr) (.*)$", text, re.MULTILINE)
    assert sorted(found) == [("stderr", "err"), ("stdout", "more of it"), ("stdout", "out")]


def test_a_line_without_end_is_cut(tmp_path: Path) -> None:
    text = write(tmp_path, "os.write(2, b'x' * 1_000_000)", most=8 << 20)
    assert text.count("x") == 1_000_000
    assert max(map(len, text.splitlines())) < 70_000


def test_a_flood_stays_within_the_bound(tmp_path: Path) -> None:
    write(tmp_path, "for i in range(20000): os.write(1, b'%d ' % i + b'x' * 90 + b'\\n')", most=200_000)
    sizes = [path.stat().st_size for path in tmp_path.iterdir()]
    assert len(sizes) == 2
    assert sum(sizes) <= 200_000
    assert "19999 x" in (tmp_path / "r-1.log").read_text()


def test_what_other_holders_of_the_pipe_wrote_is_not_waited_for(tmp_path: Path) -> None:
    program = "import subprocess; subprocess.Popen(['sleep', '20'], start_new_session=True); os.write(1, b'last\\n')"
    assert "last" in write(tmp_path, program)


def test_a_symbolic_link_in_place_of_the_file_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "r.log").symlink_to(tmp_path / "elsewhere")
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        LogFile(fd, "r.log", 4096)
    except OSError:
        assert not (tmp_path / "elsewhere").exists()
    else:
        raise AssertionError("the link was followed")
    finally:
        os.close(fd)


def put(root: Path, replica: str, *entries: tuple[int, str], suffix: str = ".log") -> Path:
    folder(root).mkdir(parents=True, exist_ok=True)
    path = folder(root) / (replica + suffix)
    with path.open("a") as file:
        for second, text in entries:
            file.write(f"2026-01-01T00:00:{second:02}.123456789Z stderr {text}\n")
    return path


async def test_replicas_are_merged_by_time(tmp_path: Path) -> None:
    put(tmp_path, "a", (1, "a1"), (4, "a4"))
    put(tmp_path, "b", (3, "b3"))
    put(tmp_path, "b", (2, "b2"), suffix=".log.1")
    found = await lines(tmp_path)
    assert [line.text for line in found] == ["a1", "b2", "b3", "a4"]
    assert [line.instance for line in found] == ["a", "b", "b", "a"]
    assert found[0].timestamp == datetime(2026, 1, 1, 0, 0, 1, 123456, tzinfo=UTC)


async def test_tail_since_and_instance_select(tmp_path: Path) -> None:
    put(tmp_path, "a", *[(second, f"a{second}") for second in range(50)])
    put(tmp_path, "b", (10, "b10"))
    assert [line.text for line in await lines(tmp_path, tail=2)] == ["a48", "a49"]
    assert len(await lines(tmp_path, tail=0)) == len(await lines(tmp_path, tail=-1)) == 51
    assert [line.text for line in await lines(tmp_path, instance="b")] == ["b10"]
    assert await lines(tmp_path, instance="../a") == []
    since = datetime(2026, 1, 1, 0, 0, 48, tzinfo=UTC)
    assert [line.text for line in await lines(tmp_path, since=since)] == ["a48", "a49"]
    assert await lines(tmp_path, since=since + timedelta(days=1)) == []


async def test_what_is_no_line_of_ours_is_skipped(tmp_path: Path) -> None:
    path = put(tmp_path, "a", (1, "good"))
    with path.open("ab") as file:
        file.write(
            b"\n\x00\xff\xfe garbage\n2026-13-45T99:99:99.0Z stderr x\n2026-01-01T00:00:02.000000000Z stderr \xff\n2026-"
        )
    assert [line.text for line in await lines(tmp_path)] == ["good", "\ufffd"]


async def test_a_function_without_files_has_no_lines(tmp_path: Path) -> None:
    assert await lines(tmp_path) == []


def test_following_sees_appended_lines_rotation_and_new_replicas(tmp_path: Path) -> None:
    path = put(tmp_path, "a", (1, "old"))
    follower = _Follower(folder(tmp_path), LogQuery(name="f", namespace="ns", follow=True))
    assert follower.poll() == []
    put(tmp_path, "a", (2, "appended"))
    assert [line.text for line in follower.poll()] == ["appended"]
    put(tmp_path, "a", (3, "last before rotation"))
    path.rename(path.with_name("a.log.1"))
    put(tmp_path, "a", (4, "first after rotation"))
    put(tmp_path, "b", (5, "another replica"))
    expected = ["last before rotation", "first after rotation", "another replica"]
    assert [line.text for line in follower.poll()] == expected
    with path.open("a") as file:
        file.write("2026-01-01T00:00:06.000000000Z stdout half")
    assert follower.poll() == []
    with path.open("a") as file:
        file.write(" and half\n")
    assert [line.text for line in follower.poll()] == ["half and half"]
    follower.close()


def test_the_last_words_are_those_of_stderr_since_the_start(tmp_path: Path) -> None:
    logs = LogFiles(tmp_path)
    path = put(tmp_path, "a", (1, "earlier crash"), (5, "no such file"))
    with path.open("a") as file:
        file.write("2026-01-01T00:00:06.000000000Z stdout chatter\n")
    assert logs.last_line("f", "ns", "a") == "no such file"
    assert logs.last_line("f", "ns", "a", datetime(2026, 1, 1, 0, 0, 5, tzinfo=UTC)) == "no such file"
    assert logs.last_line("f", "ns", "a", datetime(2026, 1, 1, 0, 0, 6, tzinfo=UTC)) == ""
    assert logs.last_line("f", "ns", "unknown") == ""


def test_only_the_last_few_files_of_replicas_that_are_gone_stay(tmp_path: Path) -> None:
    for number in range(12):
        path = put(tmp_path, f"r{number:02}", (number, "x"))
        os.utime(path, (number, number))
    LogFiles(tmp_path).prune("f", "ns", {"r00"})
    left = sorted(path.stem for path in folder(tmp_path).iterdir())
    assert left == ["r00", "r07", "r08", "r09", "r10", "r11"]


def test_forgetting_removes_the_directory_once_nobody_writes_there(tmp_path: Path) -> None:
    put(tmp_path, "gone", (1, "x"))
    put(tmp_path, "draining", (1, "x"))
    logs = LogFiles(tmp_path)
    logs.forget("f", "ns", keep={"draining"})
    assert [path.name for path in folder(tmp_path).iterdir()] == ["draining.log"]
    logs.forget("f", "ns")
    assert not folder(tmp_path).exists()
    logs.forget("f", "ns")
