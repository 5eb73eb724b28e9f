"""When a container may be frozen."""

from __future__ import annotations

from pathlib import Path

from penstock.providers.containers.freezing import LOOK_EVERY, UNSEEN_WAIT, connections, count_in, until_idle

HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
LISTENING = "   0: 00000000:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1\n"
CONNECTED = "   1: 0200000A:1F90 0100000A:C350 01 00000000:00000000 00:00000000 00000000     0        0 2 1\n"
OUTGOING = "   2: 0200000A:C350 0100000A:1F90 01 00000000:00000000 00:00000000 00000000     0        0 3 1\n"
ENDED = "   3: 0200000A:1F90 0100000A:C351 06 00000000:00000000 00:00000000 00000000     0        0 0 1\n"
SIX = "   0: 0000000000000000FFFF00000200000A:1F90 0000000000000000FFFF00000100000A:C352 08 0:0 0:0 0 0 0 4 1\n"


def process(folder: Path, tcp: str = "", tcp6: str = "", container: str = "c1") -> Path:
    """A process 7 of a container, as proc(5) shows it."""
    own = folder / "7"
    (own / "net").mkdir(parents=True, exist_ok=True)
    (own / "cgroup").write_text(f"1:name=systemd:/docker/{container}\n")
    (own / "mountinfo").write_text("")
    (own / "net/tcp").write_text(HEAD + tcp)
    (own / "net/tcp6").write_text(HEAD + tcp6)
    return folder


def test_only_who_waits_for_an_answer_of_the_port_counts() -> None:
    assert count_in(HEAD + LISTENING + CONNECTED + OUTGOING + ENDED, 8080) == 1
    assert count_in(HEAD + SIX, 8080) == 1
    assert count_in(HEAD + CONNECTED, 80) == 0
    assert count_in("", 8080) == 0
    assert count_in("x\ny\n", 8080) == 0


def test_both_versions_of_the_protocol_are_looked_at(tmp_path: Path) -> None:
    assert connections(7, "c1", 8080, process(tmp_path, CONNECTED, SIX)) == 2


def test_a_kernel_without_version_six_is_believed(tmp_path: Path) -> None:
    (process(tmp_path, CONNECTED) / "7/net/tcp6").unlink()
    assert connections(7, "c1", 8080, tmp_path) == 1


def test_a_process_of_something_else_tells_nothing(tmp_path: Path) -> None:
    process(tmp_path, container="another")
    assert connections(7, "c1", 8080, tmp_path) is None
    assert connections(8, "c1", 8080, tmp_path) is None
    assert connections(0, "c1", 8080, tmp_path) is None


async def test_it_waits_until_nobody_is_connected(tmp_path: Path) -> None:
    process(tmp_path, CONNECTED)
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            process(tmp_path)

    await until_idle(7, "c1", 8080, sleep, tmp_path)
    assert pauses == [LOOK_EVERY] * 3


async def test_where_nothing_can_be_seen_a_moment_has_to_do(tmp_path: Path) -> None:
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    await until_idle(7, "c1", 8080, sleep, tmp_path)
    assert pauses == [UNSEEN_WAIT]
    await until_idle(7, "c1", 8080, sleep, tmp_path, grace=0.5)
    assert pauses == [UNSEEN_WAIT, 0.25]  # it is frozen before it would be ended by force
