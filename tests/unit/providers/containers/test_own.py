"""Whether we are in a container ourselves."""

from __future__ import annotations

from pathlib import Path

from penstock.providers.containers.own import candidates, own_container
from tests.unit.providers.containers.scripted import ScriptedEngine

ID, OTHER = "ab" * 32, "cd" * 32
MOUNTINFO = f"661 645 8:1 /var/lib/docker/containers/{ID}/hostname /etc/hostname rw,relatime - ext4 /dev/sda1 rw\n"
CGROUP = f"12:pids:/docker/{OTHER}\n0::/\n"


def process(folder: Path, mountinfo: str = "", cgroup: str = "") -> Path:
    (folder / "mountinfo").write_text(mountinfo)
    (folder / "cgroup").write_text(cgroup)
    return folder


def test_a_container_is_known_by_its_mounts_before_its_control_group() -> None:
    assert candidates(MOUNTINFO, CGROUP) == [ID, OTHER]


def test_systemd_has_another_way_to_name_the_control_group() -> None:
    assert candidates("", f"0::/system.slice/docker-{ID}.scope\n") == [ID]


def test_a_machine_has_no_candidates() -> None:
    assert candidates("22 1 8:1 / / rw - ext4 /dev/sda1 rw\n", "0::/user.slice\n") == []


async def test_the_engine_has_to_know_the_container(tmp_path: Path) -> None:
    engine = ScriptedEngine({("GET", f"/containers/{OTHER}/json"): {"Id": OTHER}})
    assert await own_container(engine, process(tmp_path, MOUNTINFO, CGROUP)) == {"Id": OTHER}


async def test_a_container_of_another_engine_is_none_of_ours(tmp_path: Path) -> None:
    assert await own_container(ScriptedEngine(), process(tmp_path, MOUNTINFO)) is None


async def test_a_process_that_cannot_be_read_is_in_no_container(tmp_path: Path) -> None:
    engine = ScriptedEngine()
    assert await own_container(engine, tmp_path / "absent") is None
    assert not engine.calls
