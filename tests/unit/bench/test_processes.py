from __future__ import annotations

import itertools
import os
import sys
from pathlib import Path

import pytest

from bench import processes
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


def test_a_child_that_ends_while_processor_time_is_added_up_counts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is among the children, gone when it is looked at, and by then one of those that were waited for."""
    stats = {1: iter([(10, 0), (10, 7), (10, 7)]), 2: iter([(3, 0), (3, 0), (3, 0), (3, 0)]), 3: iter([])}
    families = {1: iter([[2, 3], [2]]), 2: iter([[], []])}

    def own_ticks(pid: int) -> tuple[int, int]:
        found = next(stats[pid], None)
        if found is None:
            raise ProcessLookupError(pid)
        return found

    monkeypatch.setattr(processes, "_own_ticks", own_ticks)
    monkeypatch.setattr(processes, "children", lambda pid: next(families[pid]))
    assert cpu_seconds(1) * os.sysconf("SC_CLK_TCK") == 10 + 7 + 3


def test_a_process_that_always_ends_children_is_looked_at_so_often_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = itertools.count()
    monkeypatch.setattr(processes, "_own_ticks", lambda pid: (0, next(looks)))
    monkeypatch.setattr(processes, "children", lambda pid: [])
    assert cpu_seconds(1) * os.sysconf("SC_CLK_TCK") == processes.LOOKS


def test_the_processor_time_of_nobody_is_an_error() -> None:
    with Stage() as stage:
        process = stage.start([sys.executable, "-c", ""])
        assert process.wait(60) == 0
    with pytest.raises(BenchError, match=f"process {process.pid} has ended"):
        cpu_seconds(process.pid)
