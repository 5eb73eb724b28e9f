"""The volume that holds the watchdog: filled once, found again, and never taken from others."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from penstock.errors import PenstockError
from penstock.providers.containers import bundle as bundle_module
from penstock.providers.containers import labels
from penstock.providers.containers.bundle import Bundle, FromImage, Made, OwnImage, Tell
from penstock.providers.containers.engine import EngineRefused
from penstock.providers.containers.images import Images
from tests.unit.providers.containers.makings import IMAGE, settled
from tests.unit.providers.containers.scripted import Call, ScriptedEngine

NAME = "penstock-watchdog-1.0-abc"


class Files:
    """A bundle of one file."""

    image, made = "", True

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.times = 0
        (folder / "bundle.json").write_text("{}")

    async def name(self) -> str:
        return "1.0-abc"

    async def directory(self, tell: Tell) -> Path:
        self.times += 1
        tell("making it")
        return self.folder


class Volumes:
    """An engine's volumes: whose they are, and whether they are complete. A helper is called `h-VOLUME`."""

    def __init__(self, **owners: str) -> None:
        self.owners = {name.replace("_", "-"): owner for name, owner in owners.items()}
        self.complete: set[str] = set()
        self.engine = ScriptedEngine(
            {
                ("POST", "/volumes/create"): self.create,
                ("POST", "/containers/create"): self.helper,
                ("GET", "/volumes"): self.all,
            }
        )

    def create(self, call: Call) -> Any:
        name = call.body["Name"]
        owner = self.owners.setdefault(name, call.body["Labels"][labels.OWNER])
        return {"Name": name, "Labels": {labels.OWNER: owner} if owner else None}

    def helper(self, call: Call) -> Any:
        volume = call.body["HostConfig"]["Mounts"][0]["Source"]
        helper = f"h-{volume}"

        def look(_: Call) -> Any:
            return b"tar" if volume in self.complete else EngineRefused(404, "no such file")

        def fill(_: Call) -> Any:
            self.complete.add(volume)
            return ""

        self.engine.answers["GET", f"/containers/{helper}/archive"] = look
        self.engine.answers["PUT", f"/containers/{helper}/archive"] = fill
        self.engine.answers["DELETE", f"/containers/{helper}"] = ""
        return {"Id": helper}

    def all(self, _: Call) -> Any:
        return {"Volumes": [{"Name": name} for name, owner in self.owners.items() if owner == "mine"]}

    def left(self) -> int:
        """Helpers that were not removed."""
        return len(self.engine.asked("POST", "/containers/create")) - len(self.engine.asked("DELETE", "/containers"))


def quiet(words: str) -> None:
    """Nobody listens."""


async def test_a_volume_is_filled_once_through_a_helper_that_is_removed(tmp_path: Path) -> None:
    volumes, files, told = Volumes(), Files(tmp_path), list[str]()
    bundle = Bundle(volumes.engine, "mine", files)
    assert await bundle.ensure("web:1", told.append) == NAME
    assert await bundle.ensure("web:2", quiet) == NAME
    assert (files.times, volumes.left(), len(volumes.engine.asked("PUT"))) == (1, 0, 1)
    assert told[0] == "making it"
    helper = volumes.engine.asked("POST", "/containers/create")[0].body
    assert (helper["Image"], helper["HostConfig"]["NetworkMode"]) == ("web:1", "none")
    assert helper["Labels"] == {labels.OWNER: "mine", labels.KIND: "helper"}


async def test_a_volume_that_is_complete_is_used_whoevers_it_is(tmp_path: Path) -> None:
    volumes, files = Volumes(**{NAME: "another"}), Files(tmp_path)
    volumes.complete.add(NAME)
    assert await Bundle(volumes.engine, "mine", files).ensure("web:1", quiet) == NAME
    assert (files.times, volumes.left()) == (0, 0)


@pytest.mark.parametrize("owner", ["another", ""])
async def test_an_incomplete_volume_of_others_is_not_touched(tmp_path: Path, owner: str) -> None:
    volumes = Volumes(**{NAME: owner})
    assert await Bundle(volumes.engine, "mine", Files(tmp_path)).ensure("web:1", quiet) == f"{NAME}-mine"
    assert [call.path for call in volumes.engine.asked("PUT")] == [f"/containers/h-{NAME}-mine/archive"]
    assert volumes.left() == 0


async def test_a_volume_whose_filling_was_cut_short_is_filled_again(tmp_path: Path) -> None:
    volumes = Volumes(**{NAME: "mine"})
    assert await Bundle(volumes.engine, "mine", Files(tmp_path)).ensure("web:1", quiet) == NAME
    assert volumes.engine.asked("PUT")


async def test_all_who_wait_share_one_filling_and_any_of_them_may_give_up(tmp_path: Path) -> None:
    volumes, files = Volumes(), Files(tmp_path)
    bundle = Bundle(volumes.engine, "mine", files)
    first, second = (asyncio.create_task(bundle.ensure("web:1", quiet)) for _ in range(2))
    await settled(lambda: volumes.engine.calls)
    first.cancel()
    assert await second == NAME
    assert (files.times, volumes.left()) == (1, 0)


async def test_a_failure_is_said_and_tried_again(tmp_path: Path) -> None:
    volumes = Volumes()
    volumes.engine.answers["POST", "/volumes/create"] = EngineRefused(500, "no space left on device")
    bundle = Bundle(volumes.engine, "mine", Files(tmp_path))
    with pytest.raises(PenstockError, match="cannot be put into its image: no space left"):
        await bundle.ensure("web:1", quiet)
    volumes.engine.answers["POST", "/volumes/create"] = volumes.create
    assert await bundle.ensure("web:1", quiet) == NAME


async def test_a_volume_that_may_be_missing_is_looked_for_again(tmp_path: Path) -> None:
    volumes, files = Volumes(), Files(tmp_path)
    bundle = Bundle(volumes.engine, "mine", files)
    await bundle.ensure("web:1", quiet)
    volumes.complete.clear()
    bundle.missing()
    await bundle.ensure("web:1", quiet)
    assert files.times == 2


async def test_bundles_of_earlier_versions_go_when_a_new_one_is_there(tmp_path: Path) -> None:
    volumes = Volumes(old_bundle="mine", foreign_bundle="another")
    await Bundle(volumes.engine, "mine", Files(tmp_path)).ensure("web:1", quiet)
    removed = [call.path for call in volumes.engine.asked("DELETE", "/volumes")]
    assert removed == ["/volumes/old-bundle"]


async def test_an_image_that_has_the_watchdog_is_copied_by_the_engine() -> None:
    volumes = Volumes()
    volumes.engine.answers["GET", "/images/watchdog:1/json"] = {**IMAGE, "Id": "sha256:" + "7" * 64}
    name = f"penstock-watchdog-image-{'7' * 12}"
    volumes.complete.add(name)
    source = FromImage("watchdog:1", Images(volumes.engine, "never", {}))
    assert await Bundle(volumes.engine, "mine", source).ensure("web:1", quiet) == name
    helper = volumes.engine.asked("POST", "/containers/create")[0].body
    assert helper["Image"] == "watchdog:1"
    assert helper["HostConfig"]["Mounts"][0]["VolumeOptions"] == {"NoCopy": False}


async def test_our_own_image_is_named_by_what_is_in_it(tmp_path: Path) -> None:
    (tmp_path / "bundle.json").write_text("{}")
    source = OwnImage(tmp_path)
    before = await source.name()
    (tmp_path / "bundle.json").write_text(json.dumps({"penstock": "2"}))
    assert before != await source.name()
    assert await source.directory(quiet) == tmp_path


async def test_a_bundle_of_this_installation_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, told = Made(tmp_path, {}), list[str]()

    async def make(target: Path) -> None:
        target.mkdir()
        (target / "bundle.json").write_text("{}")

    monkeypatch.setattr(made, "_make", make)
    first, second = await asyncio.gather(made.directory(told.append), made.directory(told.append))
    assert first == second == tmp_path / await made.name()
    assert told == ["making the watchdog that is put into its image"]


def making(monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    """Have this program, instead of the one of the command line, make a bundle in the directory `t`, whose digest is known."""
    monkeypatch.setattr(bundle_module, "digest", lambda: "abc")
    script = f"import os, pathlib, sys, time; t = pathlib.Path(sys.argv[1]); {program}"
    monkeypatch.setattr(bundle_module, "MAKE", (sys.executable, "-I", "-c", script))


async def test_a_bundle_in_the_home_is_recognised_by_the_next_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    making(monkeypatch, "t.mkdir(); (t / 'bundle.json').touch()")
    folder = tmp_path / "home" / "watchdog"
    first = await Made(folder, {}).directory(quiet)
    making(monkeypatch, "sys.exit('made again')")
    assert await Made(folder, {}).directory(quiet) == first


async def test_bundles_of_earlier_versions_leave_the_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "0.9-old").mkdir()
    (tmp_path / ".1.0-new.work").mkdir()
    making(monkeypatch, "t.mkdir()")
    made = await Made(tmp_path, {}).directory(quiet)
    assert {path.name for path in tmp_path.iterdir()} == {made.name, ".1.0-new.work"}


async def test_a_bundle_that_cannot_be_made_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    making(monkeypatch, "sys.exit('no glibc here')")
    with pytest.raises(PenstockError, match=r"the watchdog cannot be made in .*: no glibc here$"):
        await Made(tmp_path, {}).directory(quiet)
    (tmp_path / "file").touch()
    with pytest.raises(PenstockError, match="cannot be made in"):
        await Made(tmp_path / "file", {}).directory(quiet)


async def test_who_makes_a_bundle_is_ended_when_the_server_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    making(monkeypatch, "(t.parent / 'pid').write_text(str(os.getpid())); time.sleep(600)")
    bundle, pid = Bundle(Volumes().engine, "mine", Made(tmp_path, {})), tmp_path / "pid"
    bundle.prepare()
    await settled(lambda: pid.exists() and pid.read_text())
    await bundle.close()
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


async def test_a_bundle_is_made_before_anybody_asks_for_it(tmp_path: Path) -> None:
    volumes, files = Volumes(), Files(tmp_path)
    bundle = Bundle(volumes.engine, "mine", files)
    bundle.prepare()
    await settled(lambda: files.times)
    await bundle.close()
    assert [call.path for call in volumes.engine.calls] == [f"/volumes/{NAME}"]


async def test_nothing_is_made_in_advance_where_the_engine_has_it_or_there_is_nothing_to_make(tmp_path: Path) -> None:
    volumes, files = Volumes(), Files(tmp_path)
    volumes.engine.answers["GET", f"/volumes/{NAME}"] = {"Name": NAME}
    bundle = Bundle(volumes.engine, "mine", files)
    bundle.prepare()
    await settled(lambda: volumes.engine.calls)
    files.made = False
    Bundle(volumes.engine, "mine", files).prepare()
    await asyncio.sleep(0)
    await bundle.close()
    assert (files.times, len(volumes.engine.calls)) == (0, 1)


async def test_what_cannot_be_made_in_advance_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    volumes = Volumes()
    volumes.engine.answers["GET", f"/volumes/{NAME}"] = EngineRefused(500, "its own trouble")
    bundle = Bundle(volumes.engine, "mine", Files(tmp_path))
    bundle.prepare()
    await settled(lambda: caplog.records)
    await bundle.close()
    assert "will wait for one to be made: its own trouble" in caplog.text
