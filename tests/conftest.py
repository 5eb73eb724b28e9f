"""What every test run shares: services that may be missing, the order of stages, and the time it all took.

A test marked `service(name)` needs a program of the machine. Where it is missing the test is skipped at home, with the
command that would bring it; with CI set it fails, so that a skip can never hide there.
"""

from __future__ import annotations

import contextlib
import gc
import os
import re
import shutil
import signal
import tempfile
import time
from collections.abc import Generator, Iterable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from penstock.examples import find_program

pytest_plugins = ("tests.engines.fixtures", "tests.image", "tests.kubecluster.fixtures", "tests.s3server")

PACKAGES = {
    "curl": "curl",
    "convert": "imagemagick",
    "ffmpeg": "ffmpeg",
    "tesseract": "tesseract-ocr",
    "figlet": "figlet",
    "jq": "jq",
    "nginx": "nginx-light",
    "wrk": "wrk",
    "dockerd": "docker.io",
    "docker-registry": "docker-registry",
    "debootstrap": "debootstrap",
    "iptables": "iptables",
    "ip": "iproute2",
    "nsenter": "util-linux",
    "busybox": "busybox-static",
    "musl-gcc": "musl-tools",
    "unshare": "util-linux",
    "setpriv": "util-linux",
    "javac": "default-jdk-headless",
    "node": "nodejs",
    "ruby": "ruby",
    "php": "php-cli",
    "git": "git",
    "go": "golang-go",
    "npm": "npm",
    "cmark": "cmark",
    "identify": "imagemagick",
    "qrencode": "qrencode",
    "x86_64-linux-gnu-gcc": "gcc",
    "aarch64-linux-gnu-gcc": "gcc-aarch64-linux-gnu",
    "qemu-x86_64": "qemu-user",
    "qemu-aarch64": "qemu-user",
    "skopeo": "skopeo",
    "buildah": "buildah",
    "prometheus": "prometheus",
    "prometheus-alertmanager": "prometheus-alertmanager",
    "rclone": "rclone",
    "etcd": "etcd-server",
    "openssl": "openssl",
    "make": "make",
    "rsync": "rsync",
    "dpkg-source": "dpkg-dev",
}
"""Services that tests may name, and the Debian package that brings each; `make test` installs them when it may."""

STAGES = ("unit", "integration", "conformance", "e2e")

STARTED = "PENSTOCK_CHECKS_STARTED"
"""Set by `make test` to the second (since 1970) at which it began, so that the total includes all before tests."""

CACHE = "PENSTOCK_TEST_CACHE"
"""Names a folder for what is made once for all test runs of a machine; by default it is in the user's own home."""

OF_THE_CALLER = re.compile(
    r"(PENSTOCK|OPENFAAS|GIT|DOCKER|BUILDAH|CONTAINERS|PIP|UV|NPM|npm_config|COMPOSER|BUNDLE|GEM|AWS|RCLONE|KUBERNETES)_.*|KUBECONFIG|GO[A-Z0-9]+|CGO_.*|LC_.*|LANGUAGE"
    r"|XDG_(CONFIG|CACHE|DATA|STATE)_HOME|(NODE|JAVA_TOOL|JDK_JAVA|_JAVA)_OPTIONS|NODE_PATH|CLASSPATH|RUBY(OPT|LIB)|PHP_INI_SCAN_DIR|PHPRC"
    r"|NO_COLOR|FORCE_COLOR|CLICOLOR(_FORCE)?|COLUMNS|LINES|SOURCE_DATE_EPOCH"
)
"""Variables by which Penstock, or a program that it or a test runs, would behave as whoever runs the tests likes it."""


# Generated cases are the same on every run, so that it is red or green for a reason; a busy machine is none.
settings.register_profile("same", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("same")


def debian_path() -> str:
    """PATH with Debian's own directories first: another program of the same name elsewhere is not what examples mean."""
    return os.pathsep.join(["/usr/bin", "/bin", "/usr/sbin", *os.environ.get("PATH", "").split(os.pathsep)])


def missing_services(names: Iterable[str]) -> list[str]:
    path = debian_path()
    return [
        name for name in names if not (find_program(name, path) if name == "convert" else shutil.which(name, path=path))
    ]


def stage_of(item: pytest.Item) -> str:
    """The folder below `tests` that a test lives in."""
    return next((stage for stage in STAGES if stage in item.path.parts), "")


def in_ci() -> bool:
    return os.environ.get("CI", "").lower() not in ("", "0", "false")


def pytest_configure(config: pytest.Config) -> None:
    """Make it one machine for all who run the tests, for the programs under test as well, which inherit what we set.

    Signals may be ignored (nohup, a script's background job), variables set, and files of a home say what git, pip, npm or a login is.
    """
    for number, usual in (
        (signal.SIGHUP, signal.SIG_DFL),
        (signal.SIGQUIT, signal.SIG_DFL),
        (signal.SIGINT, signal.default_int_handler),
    ):
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, usual)
    if not hasattr(config, "workerinput"):  # a process of xdist has all this from the one that started it
        _leave_home(config)


def _leave_home(config: pytest.Config) -> None:
    """No variables of the caller's own, and an empty home instead of theirs, until the end of the run."""
    home = tempfile.mkdtemp(prefix="penstock-tests-")
    config.add_cleanup(lambda: shutil.rmtree(home, ignore_errors=True))
    cache = _usable_cache() or str(Path(home) / ".cache")
    for name in [name for name in os.environ if OF_THE_CALLER.fullmatch(name) and name != STARTED]:
        del os.environ[name]
    os.environ |= {
        "HOME": home,
        CACHE: cache,
        "GOCACHE": f"{cache}/go-build",  # its own library is most of the work, and the same for every program
        "LANG": "C.UTF-8",
        "GIT_CONFIG_NOSYSTEM": "1",
        "PIP_CONFIG_FILE": os.devnull,
    }
    for name in ("no_proxy", "NO_PROXY"):
        os.environ[name] = ",".join(filter(None, [os.environ.get(name), "127.0.0.1,localhost,::1"]))


def _usable_cache() -> str:
    """The folder of CACHE, which is made; empty where the caller may not write."""
    folder = Path(os.environ.get(CACHE) or Path.home() / ".cache" / "penstock")
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
    return str(folder) if os.access(folder, os.W_OK) else ""


def pytest_runtest_setup(item: pytest.Item) -> None:
    missing = missing_services(name for marker in item.iter_markers("service") for name in marker.args)
    if not missing:
        return
    packages = " ".join(PACKAGES.get(name, name) for name in missing)
    reason = f"{', '.join(missing)} not found; enable with: apt-get install {packages}"
    if in_ci():
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def pytest_collection_finish() -> None:
    """Thousands of tests stay until the end: no search for garbage need look at them."""
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> Generator[None, object, object]:
    """Stop between two stages when the one that ends has failures: end-to-end tests of a broken unit only cost time."""
    result = yield
    over = nextitem is not None and stage_of(nextitem) != stage_of(item)
    if over and item.session.testsfailed:
        item.session.shouldstop = f"{item.session.testsfailed} failed in {stage_of(item)}; later stages were not run"
    return result


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    started = os.environ.get(STARTED, "")
    if started.isdecimal():
        terminalreporter.write_line(f"All stages together took {time.time() - int(started):.0f} s.")
