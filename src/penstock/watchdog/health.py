"""Whether this watchdog takes requests: the lock file, `/_/health`, `/_/ready`, and the check from outside (contract §1.2, §2.8).

The app asks and tells; orchestrators probe. Health says that the process accepts requests, readiness that they will succeed.
"""

from __future__ import annotations

import contextlib
import os

from penstock.core.headers import Field
from penstock.errors import SettingsError
from penstock.watchdog.call import PLAIN
from penstock.watchdog.probe import lock_exists
from penstock.watchdog.settings import WatchdogSettings

Verdict = tuple[int, tuple[Field, ...], bytes]
"""Status, fields and body of a probe's answer."""

METHODS = (b"GET", b"HEAD")
"""HEAD too, unlike the originals: `wget --spider`, a usual HEALTHCHECK, sends it."""
NOT_ALLOWED: Verdict = (405, ((b"Allow", b"GET, HEAD"),), b"")


class Health:
    """Accepting or not, and the lock file that says so to those who cannot ask by HTTP."""

    def __init__(self, settings: WatchdogSettings) -> None:
        self.accepting = False
        self._path = "" if settings.suppress_lock else settings.lock_file
        self._written = False

    def accept(self) -> None:
        """Requests are taken from now on. Raises SettingsError when the lock file cannot be written."""
        if self._path:
            try:
                os.close(os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o660))
            except OSError as error:
                raise SettingsError(
                    f"TMPDIR: cannot write the lock file {self._path}: {error.strerror} (suppress_lock=true does without)"
                ) from error
            self._written = True
        self.accepting = True

    def refuse(self) -> None:
        """No more requests are taken."""
        self.accepting = False
        if self._written:
            self._written = False
            with contextlib.suppress(OSError):  # someone removed it before us
                os.unlink(self._path)

    @property
    def trouble(self) -> str:
        """Why no requests should come; empty when they may. Removing the lock file is how a function takes itself out."""
        if not self.accepting:
            return "draining"
        return f"the lock file {self._path} was removed" if self._written and not lock_exists(self._path) else ""

    def health(self) -> Verdict:
        return (503, (), b"") if self.trouble else (200, (PLAIN,), b"OK")

    def readiness(self, reason: str, full: bool) -> Verdict:
        """`reason`: why the mode is not ready, else empty. `full`: max_inflight is reached."""
        reason = self.trouble or reason
        if reason:
            return 503, (PLAIN,), reason.encode("utf-8", "backslashreplace") + b"\n"
        return (429, (), b"") if full else (200, (), b"")
