"""Real programs between objects of a real store: what arrives, what is left when something breaks, and who may."""

from __future__ import annotations

import concurrent.futures
import functools
import hashlib
import http.client
import json
import random
import urllib.parse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import psutil
import pytest

from tests.e2e.programs import Workshop, below
from tests.e2e.serving import Answer, Penstock, serving, wait_until
from tests.s3server import S3Server

KEYS = (
    "a b",
    "ünïcödé/日本語/🚰",
    "a+b",
    "100%",
    "%2F",
    "a..b/...",
    "?x=1&y#z=",
    "<&>;'\"",
    "deep/" * 40 + "x",
    "k" * 1024,
)
PART = 8 << 20
LARGE = 256 << 20
MEMORY = 160 << 20
"""Bytes that a worker may hold at its highest while it passes on LARGE: itself, the library, parts in flight."""


@dataclass
class Site:
    """A gateway of two workers, and a store with a bucket for each direction."""

    server: Penstock
    s3: S3Server
    inbox: str
    outbox: str

    def headers(self, source: str | None = None, sink: str | None = None) -> dict[str, str]:
        fields = {}
        if source is not None:
            fields["X-Input-Object"] = f"s3://{self.inbox}/{urllib.parse.quote(source)}"
        if sink is not None:
            fields["X-Output-Object"] = f"s3://{self.outbox}/{urllib.parse.quote(sink)}"
        return fields

    def call(
        self, path: str, source: str | None = None, sink: str | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """A call by the administrator."""
        fields = {**self.headers(source, sink), **(headers or {})}
        return self.server.request("POST", f"/function/{path}", b"", fields, admin=True)

    def stored(self, key: str) -> bytes:
        return self.s3.get(self.outbox, key)

    def nothing_left(self) -> None:
        """No upload in parts is open any more."""
        wait_until(lambda: not self.s3.uploads(self.outbox), "the uploads to be removed")


def variables(s3: S3Server, *buckets: str, **others: str) -> dict[str, str]:
    return {**s3.environ, "PENSTOCK_S3_BUCKETS": ",".join(buckets), **others}


STREAMING = {"mode": "streaming"}

HALF = """\
    import sys, time

    for _ in range(3):
        sys.stdout.buffer.write(bytes(8 << 20))
    sys.stdout.flush()
    {then}
"""


@pytest.fixture(scope="module")
def site(s3: S3Server, workshop: Workshop) -> Iterator[Site]:
    inbox, outbox = s3.make_bucket(), s3.make_bucket()
    with serving("--workers", "2", environ=variables(s3, inbox, outbox)) as server:
        for name, program in {"cat": "cat", "digest": "sha256sum", "sort": "sort", "count": "wc -c"}.items():
            server.deploy(name, program, **STREAMING)
        server.deploy("breaks", workshop.python("breaks", HALF.format(then="sys.exit(3)")), **STREAMING)
        server.deploy("stops", workshop.python("stops", HALF.format(then="time.sleep(3600)")), **STREAMING)
        server.deploy("classic", "sort")
        yield Site(server, s3, inbox, outbox)


# What arrives.


def test_an_object_becomes_the_input_and_the_answer_an_object(site: Site) -> None:
    site.s3.put(site.inbox, "words", b"c\nb\na\n", "text/csv")
    answer = site.call("sort", "words", "sorted")
    about = answer.json()
    assert answer.status == 201
    assert (about["bucket"], about["key"], about["size"], about["contentType"]) == (
        site.outbox,
        "sorted",
        6,
        "application/octet-stream",
    )
    assert about["etag"] == hashlib.md5(b"a\nb\nc\n").hexdigest()
    assert about["durationSeconds"] > 0
    assert site.stored("sorted") == b"a\nb\nc\n"


def test_a_program_of_the_default_mode_is_fed_and_read_as_well(site: Site) -> None:
    site.s3.put(site.inbox, "words", b"b\na\n")
    assert site.call("classic", "words").body == b"a\nb\n"
    assert site.call("classic", "words", "of-classic").status == 201
    assert site.stored("of-classic") == b"a\nb\n"


@pytest.mark.parametrize("key", KEYS)
def test_every_key_is_read_and_written(site: Site, key: str) -> None:
    site.s3.put(site.inbox, key, key.encode())
    answer = site.call("cat", key, key)
    assert (answer.status, answer.json()["key"]) == (201, key)
    assert site.stored(key) == key.encode()


def test_an_empty_object_passes(site: Site) -> None:
    site.s3.put(site.inbox, "empty", b"")
    assert site.call("cat", "empty", "empty").json()["size"] == 0
    assert site.stored("empty") == b""


@pytest.mark.parametrize(
    ("asked", "part"),
    [("bytes=2-4", slice(2, 5)), ("bytes=9000000-", slice(9000000, None)), ("bytes=-3", slice(-3, None))],
)
def test_a_range_of_the_object_is_the_input(site: Site, asked: str, part: slice) -> None:
    data = random.Random(1).randbytes(PART + 1000000)
    site.s3.put(site.inbox, "ranged", data)
    assert site.call("cat", "ranged", headers={"Range": asked}).body == data[part]


def test_a_range_beyond_the_object_is_refused(site: Site) -> None:
    site.s3.put(site.inbox, "short", b"0123456789")
    assert site.call("cat", "short", headers={"Range": "bytes=10-"}).status == 416


def test_pipelines_go_from_object_to_object(site: Site) -> None:
    site.s3.put(site.inbox, "words", b"c\nb\na\n")
    answer = site.call("sort|cat|count", "words", "counted")
    assert answer.status == 201
    assert site.stored("counted").strip() == b"6"


def test_a_large_body_passes_whole_and_is_never_in_memory(site: Site) -> None:
    block = random.Random(2).randbytes(1 << 20)
    digest = hashlib.sha256()
    for _ in range(LARGE >> 20):
        digest.update(block)
    connection = http.client.HTTPConnection(*site.server.address, timeout=600)
    fields = {**site.server.admin, **site.headers(sink="large"), "Content-Length": str(LARGE)}
    connection.request("POST", "/function/cat", (block for _ in range(LARGE >> 20)), fields)
    answer = connection.getresponse()
    assert (answer.status, json.loads(answer.read())["size"]) == (201, LARGE)
    connection.close()
    back = {"X-Input-Object": f"s3://{site.outbox}/large"}
    assert site.call("digest", headers=back).body.split()[0].decode() == digest.hexdigest()
    assert site.call("cat", sink="large again", headers=back).json()["size"] == LARGE
    for worker in below(site.server.process.pid, "penstock.gateway.worker"):
        assert highest(worker) < MEMORY


def highest(process: psutil.Process) -> int:
    """Bytes that a process has had in memory at its highest."""
    with open(f"/proc/{process.pid}/status") as file:
        return next(int(line.split()[1]) << 10 for line in file if line.startswith("VmHWM"))


# What is left when something breaks.


def test_a_program_that_fails_in_the_middle_of_its_answer_leaves_nothing(site: Site) -> None:
    answer = site.call("breaks", sink="broken")
    assert answer.status == 502
    assert "nothing was stored" in answer.text
    site.nothing_left()
    assert "broken" not in site.s3.keys_in(site.outbox)


def test_a_client_that_leaves_in_the_middle_leaves_nothing(site: Site) -> None:
    connection = http.client.HTTPConnection(*site.server.address, timeout=60)
    connection.request("POST", "/function/stops", b"", {**site.server.admin, **site.headers(sink="left")})
    wait_until(lambda: site.s3.uploads(site.outbox), "the upload to begin")
    connection.close()
    site.nothing_left()
    assert "left" not in site.s3.keys_in(site.outbox)
    wait_until(lambda: ended(site.server, "stops.py"), "the program to be ended")


def test_an_answer_that_does_not_end_in_time_leaves_nothing(site: Site) -> None:
    answer = site.call("stops", sink="late", headers={"X-Timeout": "3s"})
    assert answer.status == 504
    site.nothing_left()
    assert "late" not in site.s3.keys_in(site.outbox)


def test_a_missing_object_is_a_404_that_names_it(site: Site) -> None:
    answer = site.call("cat", "not there")
    assert answer.status == 404
    assert "not%20there" in answer.text


def test_a_bucket_that_is_not_allowed_is_a_403_whether_it_exists_or_not(site: Site) -> None:
    for bucket in (site.s3.make_bucket(), "no-such-bucket"):
        answer = site.call("cat", headers={"X-Input-Object": f"s3://{bucket}/x"})
        assert answer.status == 403


def test_a_functions_own_list_holds(site: Site) -> None:
    spec = {
        "service": "narrow",
        "image": "",
        "envProcess": "cat",
        "annotations": {"com.penstock.storage.buckets": site.inbox},
    }
    assert site.server.request("POST", "/system/functions", json.dumps(spec).encode(), admin=True).status == 202
    site.server.wait_ready("narrow")
    site.s3.put(site.inbox, "words", b"words")
    assert site.call("narrow", "words").body == b"words"
    assert site.call("narrow", "words", "out").status == 403


def ended(server: Penstock, program: str) -> bool:
    return not below(server.process.pid, program)


# Who may.


def test_the_token_of_the_command_line_opens_its_function_and_no_other(site: Site) -> None:
    site.s3.put(site.inbox, "words", b"b\na\n")
    login = site.server.cli("login", "-u", site.server.user, "--password-stdin", stdin=site.server.password.encode())
    assert login.returncode == 0, login.stderr
    token = site.server.cli("token", "sort").stdout.decode().strip()
    bearer = {**site.headers("words"), "Authorization": f"Bearer {token}"}
    for _ in range(8):  # both workers
        assert site.server.invoke("sort", headers=bearer).body == b"a\nb\n"
    assert site.server.invoke("cat", headers=bearer).status == 403
    assert site.server.invoke("sort|cat", headers=bearer).status == 403
    assert site.server.invoke("sort", headers={**bearer, "Authorization": f"Bearer {token[::-1]}"}).status == 403
    assert site.server.invoke("sort", headers=site.headers("words")).status == 401


def test_a_token_is_good_after_a_restart(s3: S3Server, workshop: Workshop) -> None:
    bucket = s3.make_bucket()
    s3.put(bucket, "words", b"words")
    home = workshop.file("home")
    home.mkdir()
    token = ""
    for _ in range(2):
        server = Penstock(home=home, environ=variables(s3, bucket))
        try:
            server.deploy("cat", "cat")
            server.wait_ready("cat")
            fetched = server.request("GET", "/system/function/cat/token", admin=True).json()["token"]
            assert token in ("", fetched)
            token = fetched
            headers = {"X-Input-Object": f"s3://{bucket}/words", "Authorization": f"Bearer {token}"}
            assert server.invoke("cat", headers=headers).body == b"words"
        finally:
            server.stop()


# A gateway that ends.


def test_a_gateway_that_is_stopped_gives_up_its_uploads(s3: S3Server, workshop: Workshop) -> None:
    bucket = s3.make_bucket()
    server = Penstock(environ=variables(s3, bucket, PENSTOCK_WIRE_DRAIN_TIMEOUT="100ms"))
    try:
        stops = workshop.python("never-ends", HALF.format(then="time.sleep(3600)"))
        server.deploy("stops", stops, **STREAMING)
        connection = http.client.HTTPConnection(*server.address, timeout=60)
        fields = {**server.admin, "X-Output-Object": f"s3://{bucket}/never"}
        connection.request("POST", "/function/stops", b"", fields)
        wait_until(lambda: s3.uploads(bucket), "the upload to begin")
        assert server.stop() == 1  # a request was cut
        connection.close()
    finally:
        server.kill()
    assert (s3.keys_in(bucket), s3.uploads(bucket)) == ([], [])


# A store that goes away.

WRITES = """\
    import os, sys, time

    part = bytes(8 << 20)
    for _ in range(3):
        sys.stdout.buffer.write(part)
    sys.stdout.flush()
    while not os.path.exists({flag!r}):
        time.sleep(0.05)
    for _ in range(8):
        sys.stdout.buffer.write(part)
"""

READS = """\
    import os, sys, time

    sys.stdin.buffer.read(1 << 20)
    open({begun!r}, "w").close()
    while not os.path.exists({flag!r}):
        time.sleep(0.05)
    print(len(sys.stdin.buffer.read()))
"""


@pytest.mark.usefixtures("s3")  # where there is no store at all, this is skipped as the others are
def test_a_store_that_dies_in_the_middle_is_told_to_the_client_and_the_program_is_ended(workshop: Workshop) -> None:
    own = S3Server()
    try:
        bucket = own.make_bucket()
        own.put(bucket, "large", bytes(64 << 20))
        flag, begun = workshop.file("flag"), workshop.file("begun")
        impatient = variables(own, bucket, PENSTOCK_S3_RETRY_TIMEOUT="1s", PENSTOCK_S3_TIMEOUT="5s")
        with serving(environ=impatient) as server, concurrent.futures.ThreadPoolExecutor(2) as pool:
            site = Site(server, own, bucket, bucket)
            server.deploy("writes", workshop.python("writes", WRITES.format(flag=str(flag))), **STREAMING)
            program = workshop.python("reads", READS.format(flag=str(flag), begun=str(begun)))
            server.deploy("reads", program, **STREAMING)
            calls = [pool.submit(site.call, "writes", None, "never"), pool.submit(site.call, "reads", "large")]
            wait_until(lambda: own.uploads(bucket), "the upload to begin")
            wait_until(begun.exists, "the object to be read")
            own.die()
            flag.touch()
            writes, reads = (call.result() for call in calls)
            assert writes.status in (502, 503)
            assert reads.status == 502
            assert "the object could not be read to its end" in reads.text
            for answer in (writes, reads):
                assert answer.headers["x-openfaas-internal"] == "gateway"
            assert f"s3://{bucket}/large: the object could not be read to its end" in server.printed()
            for program in ("writes.py", "reads.py"):
                wait_until(functools.partial(ended, server, program), f"{program} to be ended")
    finally:
        own.close()
