"""The supervisor with scripted children: it starts, restarts and stops them, in order, whatever they do.

It needs signals and a main thread of its own, so each test runs one in a process.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from penstock.errors import SettingsError
from penstock.settings import ServeSettings
from penstock.supervisor import Supervisor, _announce, _claim_home, _claim_port, _reserve
from tests.engines.waiting import DEADLINE, wait_until

HARNESS = """
import ctypes, dataclasses, json, sys
from pathlib import Path
from penstock.errors import SettingsError
from penstock.settings import ServeSettings, WireSettings
from penstock.supervisor import StartFailed, Supervisor
home, port, scripts = Path(sys.argv[1]), int(sys.argv[2]), json.loads(sys.argv[3])
ctypes.CDLL(None).prctl(36, 1)  # PR_SET_CHILD_SUBREAPER: it is given orphans, as process 1 is
settings = ServeSettings(home=home, port=port, wire=WireSettings(drain_timeout=1.0))
supervisor = Supervisor(settings)
for child in supervisor.children:
    child.command = [sys.executable, "-I", "-S", "-c", scripts[child.role], str(home), str(port), child.role]
try:
    sys.exit(supervisor.run(lambda: print("ready", flush=True)))
except StartFailed as error:
    print(error, flush=True)
    sys.exit(3)
except SettingsError as error:
    print(error, flush=True)
    sys.exit(error.exit_code)
"""

# As where others have the processor whenever a child has ended.
SLOW_HARNESS = HARNESS.replace(
    "supervisor = Supervisor(settings)",
    """
import time
reap, check = Supervisor._reap, Supervisor._check_control
def slow_reap(self, child):
    reap(self, child)
    time.sleep(0.0 if child.running else 0.3)
def slow_check(self):
    time.sleep(0.5 if self._control.deaths else 0.0)
    check(self)
Supervisor._reap, Supervisor._check_control = slow_reap, slow_check
supervisor = Supervisor(settings)
""",
)

NOTES = """
import os, signal, socket, sys, time
home, port, role = sys.argv[1], int(sys.argv[2]), sys.argv[3]
def note(what):
    fd = os.open(home + "/notes", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(fd, f"{role} {what} {os.getpid()}\\n".encode())
    os.close(fd)
def stop(*_):
    note("stop")
    os._exit(0)
signal.signal(signal.SIGTERM, stop)
note("start")
"""

STAYS = NOTES + "while True: time.sleep(60)"

SERVES = (
    NOTES
    + """
listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind(("127.0.0.1", port)); listener.listen()
while True:
    connection, _ = listener.accept()
    connection.recv(1000)
    connection.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 0\\r\\n\\r\\n")
    connection.close()
"""
)

DIES = NOTES + "sys.exit(1)"
SAYS_WHY = NOTES + "os.write(int(os.environ['PENSTOCK_REASON_FD']), b'no engine here'); sys.exit(CODE)"
SAYS_TOO_MUCH = NOTES + "while os.write(int(os.environ['PENSTOCK_REASON_FD']), b'x' * 4096): pass"
DEAF = NOTES + "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nnote('deaf')\nwhile True: time.sleep(60)"
LEAVES_AN_ORPHAN = (
    NOTES
    + """
if not (parent := os.fork()):
    if not os.fork():
        note("orphan")
    os._exit(0)
os.waitpid(parent, 0)
while True: time.sleep(60)
"""
)
FAILS_TO_DRAIN = STAYS.replace("os._exit(0)", "os._exit(1)")


class Run:
    """One supervisor process with scripted children."""

    def __init__(self, home: Path, harness: str = HARNESS, **scripts: str) -> None:
        self.home = home
        self.reserved = _reserve("127.0.0.1", 0)  # held, so that nobody else is given it meanwhile
        port = self.reserved.getsockname()[1]
        scripts = {"control": STAYS, "zygote": STAYS, "worker-0": SERVES, **scripts}
        command = [sys.executable, "-c", harness, str(home), str(port), json.dumps(scripts)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)

    def line(self) -> str:
        """The next line it prints."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def code(self) -> int:
        return self.process.wait(DEADLINE)

    def notes(self, what: str = "") -> list[tuple[str, str, int]]:
        """Role, event and process id of what the children noted."""
        path = self.home / "notes"
        lines = path.read_text().splitlines() if path.exists() else []
        found = [(role, event, int(pid)) for role, event, pid in (line.split() for line in lines)]
        return [note for note in found if what in ("", note[1])]

    def pids(self) -> list[int]:
        return [pid for _, _, pid in self.notes("start")]

    def wait_notes(self, what: str, count: int, role: str = "") -> list[tuple[str, str, int]]:
        def enough() -> list[tuple[str, str, int]]:
            got = [note for note in self.notes(what) if role in ("", note[0])]
            return got if len(got) >= count else []

        return wait_until(enough, f"{count} notes of {role} {what}")


def _state(pid: int) -> str:
    """Its letter in proc(5); empty when there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def _gone(pid: int) -> bool:
    return _state(pid) in ("", "Z", "X")


def _wait_gone(pids: list[int]) -> None:
    wait_until(lambda: all(_gone(pid) for pid in pids), f"the end of all of {pids}")


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Run]]:
    runs: list[Run] = []

    def begin(**scripts: str) -> Run:
        runs.append(Run(tmp_path, **scripts))
        return runs[-1]

    yield begin
    for run in runs:
        run.reserved.close()
        run.process.kill()
        run.process.wait()
        if run.process.stdout is not None:
            run.process.stdout.close()
        for pid in run.pids():
            if not _gone(pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def test_it_is_ready_when_the_public_port_answers_and_stops_workers_then_control_then_zygote(
    start: Callable[..., Run],
) -> None:
    run = start()
    assert run.line() == "ready"
    run.wait_notes("start", 3)
    run.signal(signal.SIGTERM)
    assert run.code() == 0
    assert [role for role, _, _ in run.notes("stop")] == ["worker-0", "control", "zygote"]
    _wait_gone(run.pids())


def test_a_child_that_dies_is_started_again(start: Callable[..., Run]) -> None:
    run = start()
    assert run.line() == "ready"
    run.wait_notes("start", 3)
    [(_, _, pid)] = run.wait_notes("start", 1, "control")
    os.kill(pid, signal.SIGKILL)
    again = run.wait_notes("start", 2, "control")
    assert again[1][2] != pid
    assert len([note for note in run.notes("start") if note[0] != "control"]) == 2


def test_a_child_that_keeps_dying_is_started_with_growing_pauses_and_harms_nobody(start: Callable[..., Run]) -> None:
    begun = time.monotonic()
    run = start(zygote=DIES)
    assert run.line() == "ready"
    run.wait_notes("start", 5, "zygote")
    assert time.monotonic() - begun > 0.1 + 0.2 + 0.4 + 0.8
    assert [note[0] for note in run.notes("start")].count("worker-0") == 1
    run.signal(signal.SIGTERM)
    assert run.code() in (0, 1)  # 1 when the one that keeps dying did so once more at this moment


def test_processes_that_nobody_waits_for_are_waited_for(start: Callable[..., Run]) -> None:
    run = start(zygote=LEAVES_AN_ORPHAN)
    assert run.line() == "ready"
    [(_, _, orphan)] = run.wait_notes("orphan", 1)
    wait_until(lambda: not _state(orphan), "the orphan to leave the table of processes")
    run.signal(signal.SIGTERM)
    assert run.code() == 0


def test_a_child_that_a_nameless_signal_killed_is_started_again(start: Callable[..., Run]) -> None:
    run = start()
    assert run.line() == "ready"
    [(_, _, pid)] = run.wait_notes("start", 1, "control")
    os.kill(pid, signal.SIGRTMIN + 1)
    run.wait_notes("start", 2, "control")


def test_control_that_dies_again_and_again_at_the_start_ends_it_with_a_reason(start: Callable[..., Run]) -> None:
    run = start(**{"control": DIES, "worker-0": STAYS})
    assert "control process keeps ending" in run.line()
    assert run.code() == 3
    _wait_gone(run.pids())


def test_what_control_says_is_the_reason_that_is_told(start: Callable[..., Run]) -> None:
    run = start(**{"control": SAYS_WHY.replace("CODE", "1"), "worker-0": STAYS})
    assert run.line() == "no engine here"
    assert run.code() == 3
    assert len([note for note in run.notes("start") if note[0] == "control"]) == 3


def test_a_setting_that_control_refuses_is_not_tried_again(start: Callable[..., Run]) -> None:
    run = start(**{"control": SAYS_WHY.replace("CODE", "2"), "worker-0": STAYS})
    assert run.line() == "no engine here"
    assert run.code() == 2
    assert len([note for note in run.notes("start") if note[0] == "control"]) == 1
    _wait_gone(run.pids())


def test_control_that_ended_is_not_started_before_its_reason_is_known(start: Callable[..., Run]) -> None:
    run = start(harness=SLOW_HARNESS, **{"control": SAYS_WHY.replace("CODE", "2"), "worker-0": STAYS})
    assert run.line() == "no engine here"
    assert run.code() == 2
    assert len([note for note in run.notes("start") if note[0] == "control"]) == 1


def test_control_that_says_too_much_is_cut_short_and_does_not_hang(start: Callable[..., Run]) -> None:
    run = start(**{"control": SAYS_TOO_MUCH, "worker-0": STAYS})
    assert run.line().startswith("xxx")
    assert run.code() == 3


@pytest.mark.parametrize("provider", ["memory", "docker", "swarm"])
def test_only_the_process_provider_has_a_zygote(provider: str, tmp_path: Path) -> None:
    def roles(name: str) -> list[str]:
        return [child.role for child in Supervisor(ServeSettings(home=tmp_path, provider=name)).children]

    assert roles("process") == ["zygote", "control", "worker-0"]
    assert roles(provider) == ["control", "worker-0"]


def test_a_stop_before_it_was_ready_stops_everything(start: Callable[..., Run]) -> None:
    run = start(**{"worker-0": STAYS})
    run.wait_notes("start", 3)
    run.signal(signal.SIGTERM)
    assert run.code() == 0
    _wait_gone(run.pids())


def test_a_second_signal_kills_what_does_not_stop(start: Callable[..., Run]) -> None:
    run = start(control=DEAF)
    assert run.line() == "ready"
    run.wait_notes("start", 3)
    run.wait_notes("deaf", 1)
    run.signal(signal.SIGTERM)
    run.wait_notes("stop", 1, "worker-0")
    run.signal(signal.SIGTERM)
    assert run.code() == 1
    _wait_gone(run.pids())


def test_a_child_that_could_not_finish_its_work_makes_the_exit_code_1(start: Callable[..., Run]) -> None:
    run = start(control=FAILS_TO_DRAIN)
    assert run.line() == "ready"
    run.wait_notes("start", 3)
    run.signal(signal.SIGTERM)
    assert run.code() == 1


def test_a_child_that_is_told_to_stop_while_it_starts_does_not_count_as_cut(start: Callable[..., Run]) -> None:
    run = start(zygote=STAYS.replace("signal.signal(signal.SIGTERM, stop)", ""))
    assert run.line() == "ready"
    run.wait_notes("start", 3)
    run.signal(signal.SIGTERM)
    assert run.code() == 0


def test_a_child_that_died_just_before_the_stop_does_not_count_as_cut(start: Callable[..., Run]) -> None:
    run = start()
    assert run.line() == "ready"
    run.wait_notes("start", 3)
    [(_, _, pid)] = run.wait_notes("start", 1, "zygote")
    run.signal(signal.SIGSTOP)
    wait_until(lambda: _state(run.process.pid) == "T", "it stands still")
    os.kill(pid, signal.SIGKILL)
    _wait_gone([pid])
    run.signal(signal.SIGTERM)
    run.signal(signal.SIGCONT)
    assert run.code() == 0


def test_its_children_end_with_it_however_it_ends(start: Callable[..., Run]) -> None:
    run = start()
    assert run.line() == "ready"
    run.wait_notes("start", 3)
    run.process.kill()
    run.process.wait()
    _wait_gone(run.pids())


def test_a_child_started_again_ends_with_it_too(start: Callable[..., Run]) -> None:
    run = start()
    assert run.line() == "ready"
    [(_, _, pid)] = run.wait_notes("start", 1, "control")
    os.kill(pid, signal.SIGKILL)
    run.wait_notes("start", 2, "control")
    run.process.kill()
    run.process.wait()
    _wait_gone(run.pids())


# Its port and its home.


def test_a_port_of_zero_is_chosen_once() -> None:
    with _reserve("127.0.0.1", 0) as reserved:
        port = reserved.getsockname()[1]
        with socket.socket() as worker:
            worker.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            worker.bind(("127.0.0.1", port))
            worker.listen()


def test_a_port_that_somebody_listens_on_is_an_error_that_names_it() -> None:
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(SettingsError, match=f"cannot listen on 127.0.0.1:{port}"):
            _reserve("127.0.0.1", port)


@pytest.mark.parametrize("host", ["192.0.2.1", "256.0.0.1", "no.such.host.invalid"])
def test_an_address_of_another_machine_is_an_error(host: str) -> None:
    with pytest.raises(SettingsError, match="cannot listen on"):
        _reserve(host, 0)


def test_a_home_serves_one_gateway_at_a_time(tmp_path: Path) -> None:
    settings = ServeSettings(home=tmp_path)
    with _claim_home(settings):
        with pytest.raises(SettingsError, match="another penstock serves from"):
            _claim_home(settings)
        with _claim_home(ServeSettings(home=tmp_path / "other")):
            pass
    with _claim_home(settings):
        pass


def test_a_home_is_locked_under_each_of_its_names(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with _claim_home(ServeSettings(home=tmp_path / "real")), pytest.raises(SettingsError):
        _claim_home(ServeSettings(home=tmp_path / "link"))


def test_deep_homes_that_end_alike_do_not_lock_each_other_out(tmp_path: Path) -> None:
    one, two = (ServeSettings(home=tmp_path / name / ("d" * 100)) for name in ("one", "two"))
    with _claim_home(one), _claim_home(two):
        pass


def test_a_port_is_claimed_once_even_while_nobody_listens_on_it(tmp_path: Path) -> None:
    with _reserve("127.0.0.1", 0) as first:
        settings = ServeSettings(home=tmp_path, port=first.getsockname()[1])
        with _claim_port(settings), pytest.raises(SettingsError, match="another penstock serves on port"):
            _claim_port(settings)
        with _claim_port(settings):
            pass


# What it says when it is ready.


@pytest.mark.parametrize(
    ("provider", "line"),
    [
        ("process", "penstock deploy --name wc --fprocess wc -g http://127.0.0.1:8080"),
        ("docker", "penstock deploy --name wc --image debian:12 --fprocess wc -g http://127.0.0.1:8080"),
        ("swarm", "penstock deploy --name wc --image debian:12 --fprocess wc -g http://127.0.0.1:8080"),
    ],
)
def test_what_to_type_next_fits_the_provider(provider: str, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    _announce(ServeSettings(home=Path("/srv/p"), provider=provider))
    assert line in capsys.readouterr().out


def test_the_credentials_that_are_used_are_those_that_are_told_of(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _announce(ServeSettings(home=Path("/srv/p")))
    assert "user admin, password in /srv/p/auth/basic-auth-password" in capsys.readouterr().out
    monkeypatch.setenv("secret_mount_path", "/run/secrets")
    _announce(ServeSettings(home=Path("/srv/p")))
    assert "user in basic-auth-user, password in basic-auth-password of /run/secrets" in capsys.readouterr().out


def test_a_gateway_on_all_addresses_is_told_at_one_that_can_be_called(capsys: pytest.CaptureFixture[str]) -> None:
    for host, shown in (("0.0.0.0", "127.0.0.1"), ("::", "[::1]"), ("::1", "[::1]"), ("10.0.0.1", "10.0.0.1")):
        _announce(ServeSettings(home=Path("/srv/p"), host=host))
        assert f"http://{shown}:8080" in capsys.readouterr().out


@pytest.mark.parametrize(("provider", "told"), [("process", True), ("docker", False)])
def test_examples_are_told_where_they_can_run(provider: str, told: bool, capsys: pytest.CaptureFixture[str]) -> None:
    _announce(ServeSettings(home=Path("/srv/p"), provider=provider, examples=True))
    assert ("/function/http-app" in capsys.readouterr().out) == told
