"""A real S3 store for tests: Ceph's radosgw with one monitor and one storage daemon in memory, all on loopback.

Its programs are those of the machine, or are unpacked once from Debian's packages into the tests' cache; nothing is installed.
By hand: `python -m tests.s3server` starts one, prints what Penstock must be told to use it, and stops it at Ctrl-C.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import hashlib
import http.client
import itertools
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest

from penstock.storage.credentials import Keys
from penstock.storage.signing import query_text, signed_headers
from penstock.storagesettings import StorageSettings
from tests.engines.waiting import DEADLINE, wait_until

PROGRAMS = ("radosgw", "radosgw-admin", "ceph-mon", "ceph-osd", "ceph", "ceph-authtool", "monmaptool")
PACKAGES = ("radosgw", "ceph-mon", "ceph-osd")
ATTEMPTS = 3
"""Of starting: a port that was free may be taken by the time that it is used."""

_CONFIGURATION = """\
[global]
fsid={fsid}
mon_host={monitor}
public_addr=127.0.0.1
cluster_addr=127.0.0.1
auth_cluster_required=cephx
auth_service_required=cephx
auth_client_required=cephx
keyring={folder}/keyring
osd_pool_default_size=1
osd_pool_default_min_size=1
osd_crush_chooseleaf_type=0
osd_pool_default_pg_num=4
mon_max_pg_per_osd=1000
mon_allow_pool_size_one=true
osd_objectstore=memstore
memstore_device_bytes=17179869184
osd_class_dir={libraries}/rados-classes
plugin_dir={libraries}/ceph
erasure_code_dir={libraries}/ceph/erasure-code
run_dir={folder}
admin_socket={folder}/$name.asok
log_file={folder}/$name.log
mon_cluster_log_file={folder}/cluster.log
pid_file={folder}/$name.pid
mon_data={folder}/mon
osd_data={folder}/osd
rgw_data={folder}/rgw
[osd]
keyring={folder}/osd/keyring
[client.rgw.a]
keyring={folder}/rgw/keyring
rgw_frontends=beast endpoint=127.0.0.1:{port}
rgw_enable_usage_log=false
rgw_trust_forwarded_https=true
"""
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)


class S3ServerFailed(Exception):
    """It cannot be had on this machine; the message says why."""


class Answer(tuple[int, bytes]):
    """Status and body of what the store has answered."""

    @property
    def status(self) -> int:
        return self[0]

    @property
    def body(self) -> bytes:
        return self[1]


class S3Server:
    """A store that runs until `close`."""

    def __init__(self, port: int = 0) -> None:
        """Start it; port 0 picks a free one. Raises S3ServerFailed."""
        self.access_key, self.secret_key = "penstock-access", "penstock+secret/key="
        self.region = "us-east-1"
        self._root = _programs()
        self._names = itertools.count(1)
        for attempt in range(ATTEMPTS):
            self.folder = Path(tempfile.mkdtemp(prefix="penstock-s3-"))
            self._processes: list[subprocess.Popen[bytes]] = []
            self.port = port or _free_port()
            try:
                self._start()
                return
            except (subprocess.SubprocessError, TimeoutError, S3ServerFailed, OSError) as error:
                said = self._said()
                self.close()
                if attempt == ATTEMPTS - 1:
                    raise S3ServerFailed(f"{error}\n{said}") from error
            except BaseException:
                self.close()
                raise

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def environ(self) -> dict[str, str]:
        """What Penstock is told by variables to use it, without the buckets."""
        return {"PENSTOCK_S3_ENDPOINT": self.endpoint, **self.keys}

    @property
    def keys(self) -> dict[str, str]:
        return {"PENSTOCK_S3_ACCESS_KEY": self.access_key, "PENSTOCK_S3_SECRET_KEY": self.secret_key}

    def settings(self, *buckets: str) -> StorageSettings:
        return StorageSettings(endpoint=self.endpoint, buckets=",".join(buckets))

    # What tests do to the store behind Penstock's back

    def make_bucket(self, name: str = "") -> str:
        """A new bucket of that name, or of one that no other has; its name."""
        name = name or f"bucket-{next(self._names)}"
        self.expect(200, "PUT", name)
        return name

    def add_keys(self, access: str, secret: str) -> None:
        """Further keys that are good for the same as its own."""
        key = ("--key-type=s3", f"--access-key={access}", f"--secret-key={secret}")
        self._run("radosgw-admin", *self._conf, "-n", "client.rgw.a", "key", "create", "--uid=tests", *key)

    def put(self, bucket: str, key: str, data: bytes, content_type: str = "") -> None:
        """An object; the key may be one that other clients cannot write."""
        self.expect(200, "PUT", bucket, key, body=data, headers={"Content-Type": content_type} if content_type else {})

    def get(self, bucket: str, key: str) -> bytes:
        return self.expect(200, "GET", bucket, key)

    def keys_in(self, bucket: str) -> list[str]:
        """The keys of a bucket with up to a thousand objects of ordinary names."""
        return re.findall(r"<Key>(.*?)</Key>", self.expect(200, "GET", bucket, query={"list-type": "2"}).decode())

    def uploads(self, bucket: str) -> list[str]:
        """The keys of uploads in parts that have begun and not ended."""
        return re.findall(r"<Key>(.*?)</Key>", self.expect(200, "GET", bucket, query={"uploads": ""}).decode())

    def expect(
        self,
        status: int,
        method: str,
        bucket: str,
        key: str = "",
        query: Mapping[str, str] | None = None,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> bytes:
        """The body of an answer that must have this status."""
        answer = self.request(method, f"/{bucket}/{key}" if key else f"/{bucket}", query or {}, body, headers or {})
        assert answer.status == status, f"{method} {bucket}/{key}: {answer.status} {answer.body[:500]!r}"
        return answer.body

    def request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Any signed request to the store; the path is not encoded yet, and goes as it is written."""
        target = quote(path, safe="/~") + (f"?{query_text(query)}" if query else "")
        keys = Keys(self.access_key, self.secret_key)
        digest = hashlib.sha256(body).hexdigest()
        signed = signed_headers(method, self.endpoint + target, self.region, keys, datetime.now(UTC), digest)
        connection = http.client.HTTPConnection(urlsplit(self.endpoint).netloc, timeout=DEADLINE)
        with contextlib.closing(connection):
            connection.request(method, target, body, {**(headers or {}), **signed})
            answer = connection.getresponse()
            return Answer((answer.status, answer.read()))

    def collect(self) -> None:
        """Give back the memory of what was removed or written over, which the store otherwise does after hours."""
        self._run("radosgw-admin", *self._conf, "-n", "client.rgw.a", "gc", "process", "--include-all")

    def pause(self) -> None:
        """Let it hang: connections are taken that nobody answers."""
        self._processes[-1].send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._processes[-1].send_signal(signal.SIGCONT)

    def die(self) -> None:
        """End what serves HTTP at once, as a crash would."""
        self._processes[-1].kill()
        self._processes[-1].wait()

    def close(self) -> None:
        """End its processes and remove everything of it."""
        for process in reversed(self._processes):
            process.kill()
        for process in self._processes:
            process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    # Its start

    def _start(self) -> None:
        monitor = _free_port(), _free_port()
        fsid, disk = str(uuid.uuid4()), str(uuid.uuid4())
        address = f"[v2:127.0.0.1:{monitor[0]},v1:127.0.0.1:{monitor[1]}]"
        for name in ("mon", "osd", "rgw"):
            (self.folder / name).mkdir()
        libraries = self._root / "usr" / "lib" / _triplet()
        (self.folder / "ceph.conf").write_text(
            _CONFIGURATION.format(fsid=fsid, monitor=address, folder=self.folder, libraries=libraries, port=self.port)
        )
        keyring = f"{self.folder}/keyring"
        self._run("monmaptool", "--create", "--fsid", fsid, "--addv", "a", address, f"{self.folder}/monmap")
        self._run("ceph-authtool", "--create-keyring", keyring, "--gen-key", "-n", "mon.", "--cap", "mon", "allow *")
        allow = [part for whom in ("mon", "osd", "mgr") for part in ("--cap", whom, "allow *")]
        self._run("ceph-authtool", keyring, "--gen-key", "-n", "client.admin", *allow)
        self._run(
            "ceph-mon", *self._conf, "--mkfs", "-i", "a", "--keyring", keyring, "--monmap", f"{self.folder}/monmap"
        )
        self._daemon("ceph-mon", "-i", "a")
        self._ceph("osd", "new", disk)
        profile = ("mon", "allow profile osd", "mgr", "allow profile osd", "osd", "allow *")
        self._ceph("auth", "get-or-create", "osd.0", *profile, "-o", f"{self.folder}/osd/keyring")
        access = ("mon", "allow rw", "osd", "allow rwx")
        self._ceph("auth", "get-or-create", "client.rgw.a", *access, "-o", f"{self.folder}/rgw/keyring")
        self._run("ceph-osd", *self._conf, "-i", "0", "--mkfs", "--osd-uuid", disk)
        self._daemon("ceph-osd", "-i", "0")
        self._ceph("osd", "crush", "add", "osd.0", "1.0", "host=localhost", "root=default")
        self._run(
            "radosgw-admin", *self._conf, "-n", "client.rgw.a", "user", "create", "--uid=tests", "--display-name=tests",
            f"--access-key={self.access_key}", f"--secret-key={self.secret_key}",
        )  # fmt: skip
        self._daemon("radosgw", "-n", "client.rgw.a")
        wait_until(self._answers, "radosgw")

    @property
    def _conf(self) -> tuple[str, str]:
        return "-c", f"{self.folder}/ceph.conf"

    @property
    def _environ(self) -> dict[str, str]:
        usr = self._root / "usr"
        libraries = usr / "lib" / _triplet()
        places = [self._root / "lib" / _triplet(), libraries, libraries / "ceph"]
        own = self._root != Path("/")
        return {
            "PATH": os.pathsep.join([f"{usr}/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin"]),
            "HOME": str(self.folder),
            "LANG": "C.UTF-8",
            **({"LD_LIBRARY_PATH": os.pathsep.join(map(str, places))} if own else {}),
            **({"PYTHONPATH": f"{usr}/lib/python3/dist-packages"} if own else {}),
        }

    def _ceph(self, *arguments: str) -> None:
        # A script for Debian's own Python, whatever `env python3` would find.
        self._run("/usr/bin/python3", f"{self._root}/usr/bin/ceph", *self._conf, *arguments)

    def _run(self, *command: str) -> None:
        with (self.folder / "commands").open("ab") as log:
            subprocess.run(
                command,
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                check=True,
                timeout=DEADLINE,
            )

    def _daemon(self, *command: str) -> None:
        with (self.folder / "commands").open("ab") as log:
            process = subprocess.Popen(
                [*command, *self._conf, "-f"],
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=_end_with_us,
            )
        self._processes.append(process)

    def _answers(self) -> bool:
        if self._processes[-1].poll() is not None:
            raise S3ServerFailed("radosgw has ended")
        try:
            return self.request("GET", "/").status == 200
        except OSError:
            return False

    def _said(self) -> str:
        with contextlib.suppress(OSError):
            return (self.folder / "commands").read_text(errors="replace")[-3000:]
        return ""


@pytest.fixture(scope="session")
def s3() -> Iterator[S3Server]:
    """A store that the tests of this process share, each with buckets of its own."""
    # Imported here: fixtures of engines are a plugin of their own, which must not be imported before pytest has rewritten it.
    from tests.engines.fixtures import absent

    try:
        server = S3Server()
    except S3ServerFailed as error:
        absent(f"Ceph's radosgw cannot be had on this machine; enable with: apt-get update\n{error}")
    yield server
    server.close()


@pytest.fixture
def bucket(s3: S3Server) -> str:
    """A new bucket of the shared store."""
    return s3.make_bucket()


def _end_with_us() -> None:
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _triplet() -> str:
    return f"{os.uname().machine}-linux-gnu"


def _programs() -> Path:
    """The root below which the programs are: the machine's, or the cache's, which the first call fills. Raises S3ServerFailed."""
    if all(shutil.which(name, path="/usr/bin:/usr/sbin") for name in PROGRAMS):
        return Path("/")
    cache = Path(os.environ.get("PENSTOCK_TEST_CACHE") or Path.home() / ".cache" / "penstock")
    cache.mkdir(parents=True, exist_ok=True)
    root = cache / f"ceph-{_triplet()}"
    with (cache / f"{root.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not root.exists():
            _unpack(root)
    return root


def _unpack(root: Path) -> None:
    """Fetch the packages, and those they need that the machine has not, and unpack them."""
    with tempfile.TemporaryDirectory(dir=root.parent, prefix="ceph-") as made:
        folder, packages = Path(made, "root"), Path(made, "packages")
        for one in (folder, packages):
            one.mkdir()
        try:
            plan = _output("apt-get", "install", "-s", "--no-install-recommends", *PACKAGES)
            wanted = re.findall(r"^Inst (\S+)", plan, re.MULTILINE)
            _output("apt-get", "download", "-q", *wanted, cwd=packages)
            for package in sorted(packages.glob("*.deb")):
                _output("dpkg-deb", "-x", str(package), str(folder))
        except (OSError, subprocess.SubprocessError) as error:
            said = getattr(error, "stderr", None) or ""
            raise S3ServerFailed(f"cannot fetch the packages {', '.join(PACKAGES)}: {error}\n{said[-1500:]}") from error
        folder.rename(root)


def _output(*command: str, cwd: Path | None = None) -> str:
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=True, timeout=1200).stdout


def main() -> None:
    """A store for trying things by hand, until Ctrl-C."""
    server = S3Server(port=7480)
    with contextlib.closing(server):
        for name, value in server.environ.items():
            print(f"export {name}={value}")
        print(f"export PENSTOCK_S3_BUCKETS={server.make_bucket('inbox')},{server.make_bucket('outbox')}", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            signal.pause()


if __name__ == "__main__":
    main()
