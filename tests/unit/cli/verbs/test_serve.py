"""`penstock serve`: flags win over the environment, and only those that were given count."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from penstock import supervisor
from penstock.cli.verbs.serve import command
from penstock.settings import CHOICES, ServeSettings
from tests.unit.cli.support import run_cli

STOPPED_AT_ONCE = """
import os, signal
from penstock import settings
from penstock.cli.main import main
def load(*given, load=settings.load_serve_settings):
    os.kill(os.getpid(), signal.SIGTERM)
    return load(*given)
settings.load_serve_settings = load
main()
"""


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[ServeSettings]:
    """The settings with which the supervisor was started; it is not."""
    seen: list[ServeSettings] = []

    def run(settings: ServeSettings) -> int:
        seen.append(settings)
        return 0

    monkeypatch.setattr(supervisor, "run", run)
    return seen


def test_without_flags_the_environment_counts(served: list[ServeSettings], tmp_path: Path) -> None:
    environment = {"PENSTOCK_PORT": "9000", "PENSTOCK_NO_AUTH": "true", "PENSTOCK_EXAMPLES": "1"}
    assert run_cli("serve", env={**environment}).exit_code == 0
    settings = served[0]
    assert (settings.port, settings.no_auth, settings.examples) == (9000, True, True)
    assert (settings.host, settings.workers, settings.home) == ("127.0.0.1", 1, tmp_path / "home")


def test_every_flag_overrides_its_variable(served: list[ServeSettings], tmp_path: Path) -> None:
    flags = "--host 0.0.0.0 --port 1 --metrics-port 2 --workers 3 --provider memory --examples --log-level debug"
    more = ["--home", str(tmp_path / "x"), "--prometheus-url", "http://metrics.example:9090"]
    result = run_cli("serve", *flags.split(), *more, env={"PENSTOCK_PORT": "9000"})
    assert result.exit_code == 0
    s = served[0]
    assert (s.host, s.port, s.metrics_port, s.workers, s.provider) == ("0.0.0.0", 1, 2, 3, "memory")
    assert (s.home, s.no_auth, s.examples, s.log_level) == (tmp_path / "x", False, True, "debug")
    assert s.prometheus_url == "http://metrics.example:9090"


def test_flags_of_containers_override_their_variables(served: list[ServeSettings]) -> None:
    flags = "--provider docker --pull never --docker-connect port --docker-network mine --watchdog-image w:1 --installation i"
    result = run_cli("serve", *flags.split(), env={"PENSTOCK_PULL": "always", "PENSTOCK_DOCKER_NETWORK": "theirs"})
    assert result.exit_code == 0
    s = served[0]
    assert (s.provider, s.pull, s.docker_connect, s.docker_network) == ("docker", "never", "port", "mine")
    assert (s.watchdog_image, s.installation) == ("w:1", "i")


def test_every_setting_that_is_a_word_has_a_flag() -> None:
    flags = {option.name for option in command.params}
    assert flags >= {*CHOICES, "docker_network", "watchdog_image", "installation"}


def test_a_switch_can_be_turned_off_again(served: list[ServeSettings]) -> None:
    run_cli("serve", "--examples=false", env={"PENSTOCK_EXAMPLES": "true"})
    assert served[0].examples is False


def test_all_faults_are_reported_together(served: list[ServeSettings]) -> None:
    result = run_cli(
        "serve", "--workers", "0", "--port", "70000", "--provider", "moon", env={"PENSTOCK_METRICS_PORT": "x"}
    )
    assert (result.exit_code, served) == (2, [])
    assert all(word in result.stderr for word in ("workers", "70000", "moon", "PENSTOCK_METRICS_PORT"))


def test_no_auth_on_a_public_address_is_refused(served: list[ServeSettings]) -> None:
    assert run_cli("serve", "--no-auth", "--host", "0.0.0.0").exit_code == 2


def test_the_supervisors_exit_code_is_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "run", lambda settings: 7)
    assert run_cli("serve").exit_code == 7


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_to_stop_waits_for_the_supervisor(number: signal.Signals, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []

    def run(settings: ServeSettings) -> int:
        signal.pthread_kill(threading.get_ident(), number)
        signal.pthread_kill(threading.get_ident(), number)
        taken.extend(signal.sigpending())
        return 0

    monkeypatch.setattr(supervisor, "run", run)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    assert run_cli("serve").exit_code == 0
    assert taken == [number]
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before
    assert signal.sigpending() == set()


def unshared(*command: str) -> list[str]:
    """The command as process 1, as in a container."""
    user = [] if os.getuid() == 0 else ["--user", "--map-root-user"]
    unshare = ["unshare", *user, "--pid", "--fork", "--kill-child"]
    if not shutil.which("unshare") or subprocess.run([*unshare, "true"], capture_output=True).returncode:
        pytest.skip("no namespaces of processes can be made here")
    return [*unshare, *command]


def test_as_process_1_it_heeds_a_signal_that_comes_while_it_begins() -> None:
    command = unshared(sys.executable, "-c", STOPPED_AT_ONCE, "serve", "--provider", "memory", "--port", "0")
    done = subprocess.run([*command, "--metrics-port", "0"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
