"""Native builds as such: found again, never half, safe between processes, ended by Ctrl-C. Without any toolchain."""

from __future__ import annotations

import errno
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from penstock.builders.native import latest, store
from penstock.builders.native.store import Store
from penstock.errors import BuildFailed, InvalidInput, NotSupported
from penstock.providers.runtimes.processes import kill, mark_of, stat_of
from tests.integration.builders.workplace import Workplace
from tests.unit.builders.requests import request, template

DEADLINE = 60.0


def wait_until(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end, f"waited for {what}"
        time.sleep(0.02)


@pytest.fixture
def place(project: Path) -> Workplace:
    workplace = Workplace(
        project, fprocess="sh {function}/run.sh", environment={"mode": "streaming", "root": "{build}", "p": "{site}"}
    )
    workplace.handler({"run.sh": "cat\n"})
    return workplace


def test_a_build_is_a_folder_and_what_the_template_says_about_it(place: Workplace) -> None:
    built = place.build()
    assert built.folder is not None
    assert built.folder.parent == place.builds / "fn"
    assert (built.folder / "function/run.sh").read_text() == "cat\n"
    assert built.fprocess == f"sh {built.folder}/function/run.sh"
    assert built.environment == {"mode": "streaming", "root": str(built.folder)}  # what came out empty is left out
    assert not built.cached


def test_the_same_sources_are_found_again_by_build_and_by_locate(place: Workplace) -> None:
    assert place.builder().locate(place.request()) is None
    first = place.build()
    again = place.build()
    assert (again.folder, again.cached) == (first.folder, True)
    found = place.builder().locate(place.request())
    assert found is not None and found.folder == first.folder and found.fprocess == first.fprocess


@pytest.mark.parametrize("what", ["handler", "template", "mode", "argument", "copy"])
def test_everything_that_goes_in_makes_another_build(place: Workplace, what: str) -> None:
    first = place.build()
    fields: dict[str, Any] = {}
    if what == "handler":
        place.handler({"run.sh": "tac\n"})
    elif what == "template":
        place.beside({"extra": "e"})
    elif what == "mode":
        (place.here / "fn/run.sh").chmod(0o755)
    elif what == "argument":
        fields["build_args"] = {"A": "1"}
    else:
        (place.here / "shared").write_text("s")
        fields["copy"] = (place.here / "shared",)
    assert place.builder().locate(place.request(**fields)) is None
    assert place.build(**fields).folder != first.folder


def test_no_cache_builds_beside_what_may_be_running(place: Workplace) -> None:
    first, again = place.build(), place.build(no_cache=True)
    assert not again.cached
    assert again.folder != first.folder
    assert first.folder is not None and first.folder.is_dir()
    found = place.builder().locate(place.request())
    assert found is not None and found.folder == again.folder


def test_the_newest_three_are_kept_and_use_makes_new(place: Workplace) -> None:
    folders = []
    for number in range(3):
        place.handler({"run.sh": f"echo {number}\n"})
        folders.append(made := place.build().folder)
        assert made is not None
        os.utime(made / ".penstock-build.json", (number, number))  # whatever the resolution of the machine's clock
    place.handler({"run.sh": "echo 0\n"})
    assert place.build().cached  # the oldest, which is used again
    place.handler({"run.sh": "echo 3\n"})
    place.build()
    assert [folder is not None and folder.is_dir() for folder in folders] == [True, False, True]


def test_what_a_killed_build_left_is_not_taken_for_one(place: Workplace) -> None:
    folder = place.build().folder
    assert folder is not None
    (folder / ".penstock-build.json").unlink()
    (folder / "function/run.sh").write_text("half")
    assert place.builder().locate(place.request()) is None
    assert not place.build().cached
    assert (folder / "function/run.sh").read_text() == "cat\n"


def test_programs_of_a_killed_build_end_before_its_folder_is_made_again(project: Path) -> None:
    """A build is killed while its compiler writes; the next one of the same sources must not share the folder with it."""
    script = project.parent / "run.py"
    script.write_text(
        textwrap.dedent(f"""
        import os, signal, sys
        from pathlib import Path
        from penstock.builders.native import node
        from tests.integration.builders.workplace import Workplace

        def make(work):
            work.run([sys.executable, "-I", "-S", "-c", {SLOW!r}, {str(project.parent / "begun")!r}])

        node.make, node.identity = make, lambda environ: ""
        Workplace(Path({str(project)!r}), "node").build()
        """)
    )
    place = Workplace(project, "node")
    place.handler({"handler.js": ""})
    repository = Path(__file__).parents[3]
    environ = {**os.environ, "PYTHONPATH": f"{repository}:{repository / 'src'}"}
    killed = subprocess.Popen([sys.executable, str(script)], cwd=project, env=environ, stdin=subprocess.DEVNULL)
    begun = project.parent / "begun"
    try:
        wait_until(begun.exists, "a program at work")
    finally:
        killed.kill()
        killed.wait()
    orphan = int(begun.read_text())
    try:
        assert stat_of(orphan) is not None, "it has survived who started it"
        with Store(place.builds).locked(place.builds / "fn", lambda: None):
            stat = stat_of(orphan)
            assert stat is None or stat.state in "ZX"
        assert place.left() == set()
    finally:
        if mark_of(orphan).startswith("build-"):
            kill(orphan)


def test_a_build_from_which_something_was_taken_is_made_again_beside_it(place: Workplace) -> None:
    first = place.build().folder
    assert first is not None
    (first / "function/run.sh").unlink()
    assert place.builder().locate(place.request()) is None
    again = place.build()
    assert again.folder is not None and again.folder != first and not again.cached
    assert (again.folder / "function/run.sh").read_text() == "cat\n"
    assert place.build().folder == again.folder


def test_what_programs_add_and_python_deletes_makes_no_build_anew(place: Workplace) -> None:
    place.handler({"\udcff": "a name that is no text"})
    first = place.build().folder
    assert first is not None
    (first / "function/__pycache__").mkdir()
    (first / "function/log").touch()
    (first / "function/\udcff").unlink()
    assert place.build().cached


def test_a_shared_folder_from_which_something_was_taken_is_made_again(project: Path) -> None:
    place = with_own_package(project, _BACKEND)
    site = Path(place.build().environment["python_path"])
    assert (site / "own.py").is_file()
    shutil.rmtree(site.parents[1])
    again = place.build()
    assert not again.cached
    assert (Path(again.environment["python_path"]) / "own.py").is_file()


def test_what_packages_run_when_they_are_installed_sees_no_keys(project: Path) -> None:
    seen = project / "seen"
    place = with_own_package(project, f"import os; open({str(seen)!r}, 'w').write('\\n'.join(os.environ))\n{_BACKEND}")
    keys = ("PENSTOCK_S3_ACCESS_KEY", "PENSTOCK_S3_SECRET_KEY", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    place.environ |= {**dict.fromkeys(keys, "hidden"), "AWS_PROFILE": "told", "PENSTOCK_S3_REGION": "told"}
    place.build()
    names = set(seen.read_text().splitlines())
    assert names.isdisjoint(keys)
    assert names >= {"AWS_PROFILE", "PENSTOCK_S3_REGION", "PATH"}


def with_own_package(project: Path, backend: str) -> Workplace:
    """A function that requires a package which is made by `backend` when it is installed."""
    place = Workplace(project, toolchain="python", environment={"python_path": "{site}"})
    (project / "wheel").mkdir()
    (project / "wheel/pyproject.toml").write_text(
        '[project]\nname = "own"\nversion = "1"\n[build-system]\nrequires = []\nbackend-path = ["."]\nbuild-backend = "make"\n'
    )
    (project / "wheel/make.py").write_text(backend)
    place.handler({"handler.py": "import own\n", "requirements.txt": f"own @ file://{project}/wheel\n"})
    return place


_BACKEND = textwrap.dedent("""
    import os, zipfile

    def build_wheel(directory, settings=None, metadata=None):
        name = "own-1-py3-none-any.whl"
        with zipfile.ZipFile(os.path.join(directory, name), "w") as wheel:
            wheel.writestr("own.py", "")
            wheel.writestr("own-1.dist-info/METADATA", "Metadata-Version: 2.1\\nName: own\\nVersion: 1\\n")
            wheel.writestr("own-1.dist-info/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
            wheel.writestr("own-1.dist-info/RECORD", "")
        return name
""")


def test_a_full_disk_leaves_nothing(place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(reader: int, writer: int, count: int, start: int, to: int) -> int:
        os.write(writer, b"half of it")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "copy_file_range", full)
    with pytest.raises(BuildFailed, match=r"no space is left for builds in .*; nothing half built was kept"):
        place.build()
    assert place.left() == set()


def test_a_disk_that_is_full_at_the_very_end_says_so_too(place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(latest, "write", full)
    with pytest.raises(BuildFailed, match=r"no space is left for builds in"):
        place.build()


def test_cancelled_in_the_middle_of_a_copy_it_leaves_nothing(place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    builder = place.builder()
    whole = os.copy_file_range

    def cancelled(reader: int, writer: int, count: int, start: int, to: int) -> int:
        builder.cancel()
        return whole(reader, writer, 1, start, to)  # and there is more to copy

    monkeypatch.setattr(os, "copy_file_range", cancelled)
    with pytest.raises(BuildFailed, match="the build was cancelled"):
        builder.build(place.request(), place.told.append)
    assert place.left() == set()


def test_sources_that_change_while_they_are_copied_are_read_again(
    place: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, changes = os.copy_file_range, iter(["echo 1\n", "echo 2\n"])

    def changed(reader: int, writer: int, count: int, start: int, to: int) -> int:
        if text := next(changes, ""):
            place.handler({"run.sh": text})
        return real(reader, writer, count, start, to)

    monkeypatch.setattr(os, "copy_file_range", changed)
    folder = place.build().folder
    assert folder is not None
    assert (folder / "function/run.sh").read_text() == "echo 2\n"
    assert place.left() == {folder.name}


def test_sources_that_never_rest(place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    real, numbers = os.copy_file_range, iter(range(1000))

    def changed(reader: int, writer: int, count: int, start: int, to: int) -> int:
        place.handler({"run.sh": f"echo {next(numbers)}\n"})
        return real(reader, writer, count, start, to)

    monkeypatch.setattr(os, "copy_file_range", changed)
    with pytest.raises(BuildFailed, match="change all the time"):
        place.build()
    assert place.left() == set()


def test_a_program_that_functions_need_is_named_with_its_package(project: Path) -> None:
    place = Workplace(project, fprocess="cowsay", program="no-such-cow", package="cowsay")
    place.handler({"x": "x"})
    with pytest.raises(
        NotSupported, match="'no-such-cow' is not installed, which runs the function: apt-get install cowsay"
    ):
        place.build()


def test_what_needs_a_container_is_refused(place: Workplace) -> None:
    with pytest.raises(NotSupported, match="template 't' is made for containers"):
        place.builder().build(request(template(place.template.folder)), print)
    with pytest.raises(NotSupported, match="a Dockerfile is built by docker or buildah"):
        place.builder().build(request(None), print)


def test_a_place_that_program_lines_cannot_name(place: Workplace) -> None:
    place.builds = place.here.parent / "my builds"
    with pytest.raises(InvalidInput, match="PENSTOCK_BUILDS"):
        place.build()


def test_packages_of_the_system_are_told_of(place: Workplace) -> None:
    place.build(build_args={"ADDITIONAL_PACKAGE": "gcc make"})
    assert place.told == ["not installed, since a native build takes what this machine has: gcc make"]


def _build_in_another_process(place: Workplace, start: Path) -> str:
    os.chdir(place.here)
    while not start.exists():
        time.sleep(0.001)
    return str(place.build().folder)


def test_processes_that_build_the_same_function_at_once(project: Path) -> None:
    place = Workplace(project)
    place.handler({f"file{number}": "x" * 1000 for number in range(50)})
    start = project.parent / "start"
    arguments = [(place, start)] * 4
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        waiting = pool.starmap_async(_build_in_another_process, arguments)
        start.touch()
        folders = set(waiting.get(120))
    assert len(folders) == 1
    assert place.left() == {Path(folders.pop()).name}


def test_a_lock_that_another_holds_is_waited_for_and_given_up_on_cancel(place: Workplace) -> None:
    builder, failures = place.builder(), list[BaseException]()

    def build() -> None:
        try:
            builder.build(place.request(), place.told.append)
        except BuildFailed as error:
            failures.append(error)

    with Store(place.builds).locked(place.builds / "fn", lambda: None):
        thread = threading.Thread(target=build)
        thread.start()
        wait_until(lambda: "waiting for another build of it" in place.told, "the wait for the lock")
        builder.cancel()
        thread.join(DEADLINE)
    assert [str(failure) for failure in failures] == ["the build was cancelled"]


def test_shared_folders_that_nobody_uses_go_after_a_day(tmp_path: Path) -> None:
    kept = Store(tmp_path)
    parent = kept.shared("venvs")
    with kept.locked(parent, lambda: None):
        used, _ = kept.make(parent, "a" * 40, lambda folder: store.Record())
        unused, _ = kept.make(parent, "b" * 40, lambda folder: store.Record())
    with kept.locked(kept.function("fn"), lambda: None):
        kept.make(kept.function("fn"), "c" * 40, lambda folder: store.Record(uses=(str(used),)))
    kept.prune_shared("venvs", time.time())
    assert unused.is_dir()
    kept.prune_shared("venvs", time.time() + 2 * store.UNUSED)
    assert used.is_dir()
    assert not unused.exists()


SLOW = """
import os, sys, time
from pathlib import Path
aside = Path(sys.argv[1] + ".new")
aside.write_text(str(os.getpid()))
aside.rename(sys.argv[1])
time.sleep(600)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_leave_no_process_and_no_folder(project: Path, number: signal.Signals) -> None:
    """The whole of it, as the command line does it: two builds at work when the signal comes."""
    script = project.parent / "run.py"
    script.write_text(
        textwrap.dedent(f"""
        import os, sys
        from pathlib import Path
        from penstock.builders.many import Job, build_many
        from penstock.builders.native import node
        from penstock.builders.native.work import Places
        from penstock.cli.buildprogress import reporter
        from tests.integration.builders.workplace import Workplace
        from tests.unit.builders.requests import request

        def make(work):
            begun = Path({str(project.parent)!r}, "begun-" + work.shown)
            work.run([sys.executable, "-I", "-S", "-c", {SLOW!r}, str(begun)])
            return Places()

        node.make, node.identity = make, lambda environ: ""
        place = Workplace(Path({str(project)!r}), "node")
        jobs = [Job(name=name, request=request(place.template, name, name)) for name in ("one", "two", "three")]
        with reporter(3) as tell:
            build_many(place.builder(), jobs, 2, tell)
        """)
    )
    for name in ("one", "two", "three"):
        (project / name).mkdir()
    repository = Path(__file__).parents[3]
    child = subprocess.Popen(
        [sys.executable, str(script)],
        cwd=project,
        env={**os.environ, "PYTHONPATH": f"{repository}:{repository / 'src'}"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        begun = [project.parent / f"begun-{name}" for name in ("one", "two")]
        wait_until(lambda: all(path.exists() for path in begun), "two builds at work")
        child.send_signal(number)
        output, _ = child.communicate(timeout=DEADLINE)
    finally:
        if child.poll() is None:
            child.kill()
            child.wait()
    assert child.returncode in (1, -signal.SIGINT) if number == signal.SIGINT else child.returncode == 128 + number, (
        output
    )
    for name in ("one", "two"):
        folders = [path for path in (project.parent / "builds" / name).iterdir() if path.is_dir()]
        assert folders == []
    assert not (project.parent / "begun-three").exists()
    wait_until(lambda: not _processes_naming(str(project.parent)), "the end of what the builds had started")


def _processes_naming(text: str) -> list[str]:
    found = []
    for path in Path("/proc").iterdir():
        if path.name.isdigit() and path.name != str(os.getpid()):
            try:
                line = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if text in line:
                found.append(line)
    return found
