"""The keys of the object store: no function, process, log or state has them, and the start says whether the store answers."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.programs import Workshop, descendants
from tests.e2e.serving import Penstock, serving, wait_until
from tests.s3server import S3Server

SEEKER = """
import glob, os, sys
words = sys.stdin.buffer.read().split()
places = {"own": b"\\0".join(b"%s=%s" % item for item in os.environb.items())}
for path in glob.glob("/proc/[0-9]*/environ") + glob.glob("/proc/[0-9]*/cmdline"):
    try:
        places[path] = open(path, "rb").read()
    except OSError:
        pass
print("looked into", len(places) > 2)
for place, content in places.items():
    if any(word in content for word in words):
        print("found in", place, open(os.path.dirname(place) + "/cmdline").read() if place != "own" else "")
"""

KEYS = {
    "PENSTOCK_S3_ACCESS_KEY": "seek-access-1f0b",
    "PENSTOCK_S3_SECRET_KEY": "seek-secret-9c4e",
    "AWS_ACCESS_KEY_ID": "seek-access-77aa",
    "AWS_SECRET_ACCESS_KEY": "seek-secret-03d2",
    "AWS_SESSION_TOKEN": "seek-token-5e5e",
}


def test_no_function_finds_the_keys_and_nothing_is_written_of_them(workshop: Workshop) -> None:
    environ = {**KEYS, "PENSTOCK_S3_ENDPOINT": "http://127.0.0.1:1", "PENSTOCK_S3_BUCKETS": "bucket"}
    with serving("--log-level", "debug", environ=environ) as server:
        server.deploy("seek", workshop.python("seek", SEEKER))
        server.wait_ready("seek")
        said = server.invoke("seek", "\n".join(KEYS.values()).encode()).text
        assert said == "looked into True\n"
        wait_until(lambda: "object storage does not work" in server.printed(), "the report")
        _nothing_has(server)


def _nothing_has(server: Penstock) -> None:
    written = [server.printed().encode(), *(path.read_bytes() for path in _files(server.home))]
    for value in KEYS.values():
        assert not any(value.encode() in content for content in written)


def _files(home: Path) -> list[Path]:
    return [path for path in home.rglob("*") if path.is_file() and "logs" not in path.parts]


def test_the_start_says_that_the_store_answers(s3: S3Server) -> None:
    bucket = s3.make_bucket()
    with serving(environ={**s3.environ, "PENSTOCK_S3_BUCKETS": bucket}) as server:
        line = f"object storage at {s3.endpoint} answers, for the buckets {bucket}"
        wait_until(lambda: line in server.printed(), "the report")


@pytest.mark.parametrize(
    ("changed", "words"),
    (
        ({"PENSTOCK_S3_SECRET_KEY": "wrong"}, "refuses the gateway's credentials"),
        ({"PENSTOCK_S3_BUCKETS": "no-such-bucket"}, "there is no bucket no-such-bucket"),
        ({"PENSTOCK_S3_ENDPOINT": "http://127.0.0.1:1"}, "it refuses connections"),
        ({"PENSTOCK_S3_CREDENTIALS_FILE": "/none"}, "cannot read the credentials in /none"),
    ),
)
def test_the_start_says_what_is_wrong_and_goes_on(s3: S3Server, changed: dict[str, str], words: str) -> None:
    with serving(environ={**s3.environ, "PENSTOCK_S3_BUCKETS": s3.make_bucket(), **changed}) as server:
        wait_until(lambda: "object storage does not work" in server.printed(), "the report")
        assert words in server.printed()
        assert server.request("GET", "/healthz").status == 200


def test_without_buckets_nothing_is_asked_or_said() -> None:
    with serving(environ=KEYS) as server:
        assert "object storage" not in server.printed()
        for pid in (server.process.pid, *(process.pid for process in descendants(server.process.pid))):
            maps = Path(f"/proc/{pid}/maps").read_text()
            assert "obstore" not in maps
