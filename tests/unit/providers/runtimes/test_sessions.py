"""What is measured of sessions between two looks at a made-up /proc."""

from __future__ import annotations

from penstock.model import Usage
from penstock.providers.runtimes.processes import Stat
from penstock.providers.runtimes.sessions import LONGEST, Group, SessionMeter

MIB = 1 << 20


class Machine:
    """Processes that are what a test says, each of one MiB."""

    def __init__(self) -> None:
        self.now = 100.0
        self.scans = 0
        self.processes: list[Stat] = []
        self.meter = SessionMeter(self.scan, lambda pid: MIB, lambda: self.now)

    def scan(self) -> list[Stat]:
        self.scans += 1
        return self.processes

    def look(self, after: float, *processes: Stat, **groups: Group) -> dict[str, Usage]:
        self.now += after
        self.processes = list(processes)
        return self.meter.measure(groups)


def process(pid: int, session: int, own: float = 0.0, children: float = 0.0) -> Stat:
    return Stat(pid, "S", 1, session, own, children, 7)


def group(*serving: int, others: tuple[int, ...] = ()) -> Group:
    return Group(frozenset(serving), frozenset(others))


def test_the_time_between_two_looks_counts() -> None:
    machine = Machine()
    assert machine.look(0, process(5, 5, 10.0), f=group(5)) == {}
    assert machine.look(2, process(5, 5, 12.0), f=group(5)) == {"f": Usage(cpu_millis=1000, memory_bytes=MIB)}
    assert machine.look(4, process(5, 5, 13.0), f=group(5)) == {"f": Usage(cpu_millis=250, memory_bytes=MIB)}


def test_one_pass_serves_all_functions() -> None:
    machine = Machine()
    groups = {f"f{number}": group(number) for number in range(1, 101)}
    machine.look(0, *(process(number, number) for number in range(1, 101)), **groups)
    told = machine.look(1, *(process(number, number, number / 1000) for number in range(1, 101)), **groups)
    assert machine.scans == 2
    assert [round(told[f"f{number}"].cpu_millis) for number in (1, 50, 100)] == [1, 50, 100]


def test_programs_that_end_for_each_call_count_where_they_were_waited_for() -> None:
    machine = Machine()
    machine.look(0, process(5, 5, 1.0), process(6, 5, 0.5), f=group(5))
    told = machine.look(1, process(5, 5, 1.0, children=0.75), f=group(5))
    assert told["f"] == Usage(cpu_millis=250, memory_bytes=MIB)


def test_what_a_start_took_is_no_load_and_what_comes_after_the_first_look_at_one_that_is_ready_is() -> None:
    machine = Machine()
    machine.look(0, process(5, 5, 50.0), f=group(5))
    busy = process(5, 5, 50.25)
    starting = machine.look(1, busy, process(8, 8, 0.75), f=group(5, others=(8,)))
    assert starting["f"] == Usage(cpu_millis=250, memory_bytes=2 * MIB)
    assert machine.look(1, busy, process(8, 8, 1.5), f=group(5, 8))["f"].cpu_millis == 0
    assert machine.look(1, busy, process(8, 8, 2.25), f=group(5, 8))["f"].cpu_millis == 750


def test_a_function_is_not_known_before_the_second_look_at_any_that_is_ready() -> None:
    machine = Machine()
    machine.look(0, process(8, 8, 0.5), f=group(others=(8,)))
    assert machine.look(1, process(8, 8, 1.5), f=group(8)) == {}
    assert machine.look(1, process(8, 8, 1.75), f=group(8))["f"].cpu_millis == 250


def test_one_that_ended_does_not_count_against_those_that_stay() -> None:
    machine = Machine()
    machine.look(0, process(5, 5, 50.0), process(8, 8, 1.0), f=group(5, 8))
    assert machine.look(1, process(8, 8, 1.25), f=group(5, 8))["f"] == Usage(cpu_millis=250, memory_bytes=MIB)


def test_of_a_warmed_parent_only_the_memory_counts() -> None:
    machine = Machine()
    machine.look(0, process(3, 3, 1.0), process(5, 5, 20.0), f=group(5, others=(3,)))
    told = machine.look(1, process(3, 3, 2.0, children=20.0), process(5, 5, 20.5), f=group(5, others=(3,)))
    assert told["f"] == Usage(cpu_millis=500, memory_bytes=2 * MIB)


def test_processes_of_others_do_not_count() -> None:
    machine = Machine()
    machine.look(0, process(5, 5), process(9, 9), f=group(5))
    assert machine.look(1, process(5, 5), process(9, 9, 1.0), f=group(5))["f"].cpu_millis == 0


def test_what_was_seen_long_ago_is_no_start() -> None:
    machine = Machine()
    machine.look(0, process(5, 5), f=group(5))
    assert machine.look(LONGEST + 1, process(5, 5, 1.0), f=group(5)) == {}
    assert machine.look(1, process(5, 5, 2.0), f=group(5))["f"].cpu_millis == 1000


def test_two_looks_at_one_moment_tell_nothing_and_keep_the_start() -> None:
    machine = Machine()
    machine.look(0, process(5, 5), f=group(5))
    assert machine.look(0, process(5, 5), f=group(5)) == {}
    assert machine.look(1, process(5, 5, 1.0), f=group(5))["f"].cpu_millis == 1000
