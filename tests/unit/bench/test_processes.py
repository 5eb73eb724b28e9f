from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from bench.processes import BenchError, Stage, children, cpu_seconds, memory, private_memory, wait_until


def test_a_stage_stops_what_was_started_and_removes_its_directory() -> None:
    with Stage() as stage:
        process = stage.start([sys.executable, "-c", "import time; time.sleep(600)"])
        assert process.pid in children(os.getpid())
    assert process.pid not in children(os.getpid())
    assert not stage.path.exists()


def test_a_thread_that_ends_while_children_are_looked_for_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = [Path("/proc/self/task/0"), *Path("/proc/self/task").iterdir()]
    with Stage() as stage:
        process = stage.start([sys.executable, "-c", "import time; time.sleep(600)"])
        monkeypatch.setattr(Path, "iterdir", lambda path: iter(threads))
        assert process.pid in children(os.getpid())


def test_a_stage_stops_its_processes_when_a_measurement_fails() -> None:
    with pytest.raises(BenchError), Stage() as stage:
        process = stage.start([sys.executable, "-c", "import time; time.sleep(600)"])
        raise BenchError("no")
    assert process.pid not in children(os.getpid())


def test_waiting_for_a_process_that_has_ended_tells_what_it_printed() -> None:
    with Stage() as stage:
        process = stage.start([sys.executable, "-c", "raise SystemExit('cannot bind')"])
        with pytest.raises(BenchError, match="cannot bind"):
            wait_until(lambda: False, "a port", process=process)


def test_directories_of_a_stage_have_names_of_their_own() -> None:
    with Stage() as stage:
        assert stage.directory("a") != stage.directory("a")


def test_memory_is_read_in_bytes() -> None:
    sizes = memory(os.getpid(), "VmRSS", "VmHWM")
    assert (1 << 20) < sizes["VmRSS"] <= sizes["VmHWM"]


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="a kernel without smaps_rollup")
def test_private_memory_is_part_of_the_resident_memory() -> None:
    assert 0 < private_memory(os.getpid()) <= memory(os.getpid(), "VmHWM")["VmHWM"]


def test_processor_time_only_grows() -> None:
    before = cpu_seconds(os.getpid())
    assert 0 <= before <= cpu_seconds(os.getpid())
