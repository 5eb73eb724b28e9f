"""`penstock storage` as a program, against a real store."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from tests.engines.waiting import wait_until
from tests.s3server import S3Server

LARGE = 12 << 20


class Command:
    """Runs `penstock storage` in a folder, with the store told by variables."""

    def __init__(self, s3: S3Server, folder: Path) -> None:
        self.folder = folder
        self.environ = {**os.environ, **s3.environ}

    def __call__(self, *arguments: str, stdin: bytes = b"", code: int = 0) -> subprocess.CompletedProcess[bytes]:
        command = [sys.executable, "-m", "penstock", "storage", *arguments]
        done = subprocess.run(command, input=stdin, cwd=self.folder, env=self.environ, capture_output=True, check=False)
        assert done.returncode == code, done.stderr.decode()
        return done


@pytest.fixture
def storage(s3: S3Server, tmp_path: Path) -> Command:
    folder = tmp_path / "work"
    folder.mkdir()
    return Command(s3, folder)


def test_a_file_goes_there_and_comes_back(storage: Command, s3: S3Server, bucket: str) -> None:
    data = os.urandom(LARGE)
    (storage.folder / "a b.png").write_bytes(data)
    done = storage("cp", "a b.png", f"s3://{bucket}/in/", "--output", "json")
    (copied,) = json.loads(done.stdout)
    assert (copied["source"], copied["target"], copied["size"]) == ("a b.png", f"s3://{bucket}/in/a%20b.png", LARGE)
    assert s3.get(bucket, "in/a b.png") == data
    storage("cp", f"s3://{bucket}/in/a b.png", "back/again")
    assert (storage.folder / "back" / "again").read_bytes() == data
    assert [path.name for path in (storage.folder / "back").iterdir()] == ["again"]


def test_streams_go_through_stdin_and_stdout(storage: Command, s3: S3Server, bucket: str) -> None:
    data = os.urandom(LARGE)
    storage("cp", "-", f"s3://{bucket}/o", stdin=data)
    assert storage("cp", f"s3://{bucket}/o", "-").stdout == data
    storage("cp", f"s3://{bucket}/o", f"s3://{bucket}/copy")
    assert s3.get(bucket, "copy") == data


def test_what_describes_an_object_goes_to_its_copy(storage: Command, s3: S3Server, bucket: str) -> None:
    s3.put(bucket, "o", b"x", "text/csv")
    storage("cp", f"s3://{bucket}/o", f"s3://{bucket}/same")
    storage("cp", f"s3://{bucket}/o", f"s3://{bucket}/other", "--content-type", "text/plain")
    assert [_type_of(storage, f"s3://{bucket}/{key}") for key in ("same", "other")] == ["text/csv", "text/plain"]


def _type_of(storage: Command, reference: str) -> str:
    with urllib.request.urlopen(storage("presign", reference).stdout.decode().strip()) as answer:
        return str(answer.headers["Content-Type"])


def test_folders_are_copied_whole(storage: Command, s3: S3Server, bucket: str) -> None:
    tree = {"x": b"1", "deep/y": b"2", "deep/er/ü +%": b"3"}
    for name, data in tree.items():
        path = storage.folder / "tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    storage("cp", "-r", "tree", f"s3://{bucket}/there")
    assert sorted(s3.keys_in(bucket)) == sorted(f"there/{name}" for name in tree)
    storage("cp", "-r", f"s3://{bucket}/there", "back")
    found = {path.relative_to(storage.folder / "back"): path.read_bytes() for path in _files(storage.folder / "back")}
    assert found == {Path(name): data for name, data in tree.items()}


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_no_key_leads_out_of_the_folder(storage: Command, s3: S3Server, bucket: str) -> None:
    for key in ("t/../../out", "t//etc/out", "t/../out", "t/good"):
        s3.put(bucket, key, b"x")
    done = storage("cp", "-r", f"s3://{bucket}/t", "back", code=1)
    assert _files(storage.folder.parent) == [storage.folder / "back" / "good"]
    assert b"3 of the copies failed" in done.stderr


def test_what_exists_can_be_kept(storage: Command, s3: S3Server, bucket: str) -> None:
    s3.put(bucket, "o", b"before")
    (storage.folder / "f").write_bytes(b"after")
    assert b"already" in storage("cp", "f", f"s3://{bucket}/o", "--no-replace", code=1).stderr
    assert b"exists" in storage("cp", f"s3://{bucket}/o", "f", "--no-replace", code=2).stderr
    assert (s3.get(bucket, "o"), (storage.folder / "f").read_bytes()) == (b"before", b"after")


def test_listings_and_removals(storage: Command, s3: S3Server, bucket: str) -> None:
    for key in ("a/1", "a/2", "b"):
        s3.put(bucket, key, b"123")
    items = json.loads(storage("ls", f"s3://{bucket}/a/", "-j").stdout)
    assert [(item["key"], item["size"]) for item in items] == [("a/1", 3), ("a/2", 3)]
    assert storage("ls", f"s3://{bucket}").stdout.decode().split()[2::3] == ["a/1", "a/2", "b"]
    storage("rm", f"s3://{bucket}/b", f"s3://{bucket}/none")
    storage("rm", "-r", f"s3://{bucket}/a/")
    assert s3.keys_in(bucket) == []


def test_buckets_are_those_of_the_settings(storage: Command) -> None:
    storage.environ["PENSTOCK_S3_BUCKETS"] = "outbox,inbox"
    assert storage("ls").stdout == b"s3://inbox\ns3://outbox\n"


def test_a_signed_address_needs_no_keys(storage: Command, s3: S3Server, bucket: str) -> None:
    s3.put(bucket, "o", b"content")
    url = storage("presign", f"s3://{bucket}/o", "--expires", "10m").stdout.decode().strip()
    with urllib.request.urlopen(url) as answer:
        assert answer.read() == b"content"
    assert b"a week" in storage("presign", f"s3://{bucket}/o", "--expires", "169h", code=2).stderr


@pytest.mark.parametrize(
    ("arguments", "words", "code"),
    (
        (("cp", "s3://no-such-bucket/o", "-"), b"no bucket no-such-bucket", 1),
        (("cp", "a", "b"), b"one of the two must be an object", 2),
        (("cp", "-", "s3://bucket/"), b"no name of its own", 2),
        (("cp", "s3://bucket/o", "-", "-o", "json"), b"cannot both be on stdout", 2),
        (("cp", "-r", "none", "s3://bucket/"), b"none is no folder", 2),
        (("cp", "none", "s3://bucket/"), b"No such file", 1),
        (("cp", "-", "s3://bucket/o", "--content-type", "text/ü"), b"is not printable ASCII", 2),
        (("clean", "s3://no-such-bucket"), b"no bucket no-such-bucket", 1),
        (("clean", "s3://bucket", "--older", "long"), b"long", 2),
        (("ls", "s3://B"), b"no name of a bucket", 2),
        (("ls", "s3://bucket", "--endpoint", "minio:9000"), b"ENDPOINT: must be an address", 2),
        (("rm", "s3://bucket/"), b"names no object", 2),
    ),
)
def test_what_cannot_be_done_is_said(storage: Command, arguments: tuple[str, ...], words: bytes, code: int) -> None:
    assert words in storage(*arguments, code=code).stderr


def test_wrong_keys_are_said_and_not_shown(storage: Command, bucket: str) -> None:
    storage.environ["PENSTOCK_S3_SECRET_KEY"] = "hidden-value"
    done = storage("ls", f"s3://{bucket}", code=1)
    assert b"refuses" in done.stderr
    assert b"hidden-value" not in done.stderr + done.stdout


@pytest.mark.parametrize("number", (signal.SIGINT, signal.SIGTERM))
def test_an_upload_that_is_ended_by_a_signal_leaves_nothing(
    storage: Command, s3: S3Server, bucket: str, number: signal.Signals
) -> None:
    command = [sys.executable, "-m", "penstock", "storage", "cp", "-", f"s3://{bucket}/o"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, env=storage.environ, stderr=subprocess.DEVNULL) as process:
        assert process.stdin is not None
        process.stdin.write(bytes(LARGE))
        process.stdin.flush()
        wait_until(lambda: s3.uploads(bucket), "an upload in parts")
        process.send_signal(number)
        assert process.wait() == 128 + number
    assert (s3.keys_in(bucket), s3.uploads(bucket)) == ([], [])


def test_parts_that_a_killed_upload_has_left_are_removed(storage: Command, s3: S3Server, bucket: str) -> None:
    command = [sys.executable, "-m", "penstock", "storage", "cp", "-", f"s3://{bucket}/d/ü +%25&"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, env=storage.environ) as process:
        assert process.stdin is not None
        process.stdin.write(bytes(LARGE))
        process.stdin.flush()
        wait_until(lambda: s3.uploads(bucket), "an upload in parts")
        process.kill()
    for spared in (("--older", "24h"), ("--dry-run", "--older", "1ns"), ("--older", "1ns", f"s3://{bucket}/e")):
        place = () if spared[-1].startswith("s3:") else (f"s3://{bucket}",)
        storage("clean", *place, *spared)
        assert len(s3.uploads(bucket)) == 1
    done = storage("clean", f"s3://{bucket}/d/", "--older", "1ns")
    assert done.stdout.startswith(f"Removed: parts of s3://{bucket}/d/%C3%BC%20+%25&, begun 20".encode())
    assert s3.uploads(bucket) == []
    assert storage("clean", f"s3://{bucket}").stdout == b""


def test_a_named_pipe_is_copied(storage: Command, s3: S3Server, bucket: str) -> None:
    pipe = storage.folder / "pipe.csv"
    os.mkfifo(pipe)
    data = os.urandom(LARGE)
    (storage.folder / "data").write_bytes(data)
    with subprocess.Popen(["dd", "if=data", "of=pipe.csv", "bs=64k", "status=none"], cwd=storage.folder) as writer:
        try:
            storage("cp", "-q", "pipe.csv", f"s3://{bucket}/o")
        finally:
            writer.kill()
    assert s3.get(bucket, "o") == data


def test_a_copy_from_a_pipe_that_nobody_writes_can_be_ended(storage: Command, bucket: str) -> None:
    pipe = storage.folder / "pipe"
    os.mkfifo(pipe)
    command = [sys.executable, "-m", "penstock", "storage", "cp", str(pipe), f"s3://{bucket}/o"]
    with subprocess.Popen(command, env=storage.environ) as process:
        wait_until(lambda: _opened(process.pid, pipe), "the pipe to be opened")
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 128 + signal.SIGTERM


def _opened(pid: int, path: Path) -> bool:
    descriptors = Path(f"/proc/{pid}/fd")
    return any(os.path.realpath(descriptor) == str(path) for descriptor in descriptors.iterdir())


@pytest.mark.service("rclone")
def test_rclone_reads_what_we_write_and_the_other_way_round(storage: Command, s3: S3Server, bucket: str) -> None:
    data = os.urandom(LARGE)
    (storage.folder / "f").write_bytes(data)
    environ = {
        **os.environ,
        "RCLONE_CONFIG": os.devnull,
        "RCLONE_CONFIG_S_TYPE": "s3",
        "RCLONE_CONFIG_S_PROVIDER": "Ceph",
        "RCLONE_CONFIG_S_ENDPOINT": s3.endpoint,
        "RCLONE_CONFIG_S_ACCESS_KEY_ID": s3.access_key,
        "RCLONE_CONFIG_S_SECRET_ACCESS_KEY": s3.secret_key,
    }
    storage("cp", "f", f"s3://{bucket}/ours ü+")
    for source, target in ((f"S:{bucket}/ours ü+", "ours"), ("f", f"S:{bucket}/theirs ü+")):
        command = ["rclone", "copyto", source, target]
        subprocess.run(command, cwd=storage.folder, env=environ, check=True, capture_output=True)
    storage("cp", f"s3://{bucket}/theirs ü+", "theirs")
    assert (storage.folder / "ours").read_bytes() == data == (storage.folder / "theirs").read_bytes()
