"""What a start of a bundle tells, and what is said when it does not start."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from penstock.errors import PenstockError
from penstock.watchdog.bundle import rehearse as rehearsing
from penstock.watchdog.bundle.rehearse import Part, rehearse


def script(code: str) -> list[str]:
    return [sys.executable, "-I", "-S", "-c", f"import os, sys, time; {code}"]


def test_time_and_memory_until_it_listens(tmp_path: Path) -> None:
    told = tmp_path / "pid"
    code = f"open({str(told)!r}, 'w').write(str(os.getpid())); os.write(2, b'Listening on port: 1'); time.sleep(600)"
    rehearsal = rehearse(script(code))
    assert 0 < rehearsal.seconds < 600
    assert 0 < rehearsal.private < rehearsal.resident
    with pytest.raises(ProcessLookupError):
        os.kill(int(told.read_text()), 0)


def test_its_environment_is_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_LIBRARY_PATH", "/ours")
    rehearse(script("'LD_LIBRARY_PATH' in os.environ and sys.exit(1); os.write(2, b'Listening on port: 1')"))


def test_another_part_is_known_by_its_own_sign_and_ended_in_order(tmp_path: Path) -> None:
    code = (
        "import signal; signal.signal(15, lambda *_: (open(os.environ['END'], 'w').close(), sys.exit())); "
        "print('is ready', flush=True)\nwhile True: time.sleep(0.01)"
    )
    rehearse(script(code), Part({"END": str(tmp_path / "ended")}, b"is ready", signal.SIGTERM))
    assert (tmp_path / "ended").exists()


def test_one_that_ends_leaves_its_last_words() -> None:
    with pytest.raises(PenstockError, match="the bundle does not start:\nno such library"):
        rehearse(script("sys.exit('no such library')"))


def test_one_that_never_listens_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rehearsing, "_LONGEST", 0.5)
    with pytest.raises(PenstockError, match="the bundle does not start"):
        rehearse(script("time.sleep(600)"))
