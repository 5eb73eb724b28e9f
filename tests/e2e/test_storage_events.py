"""Objects are put into a real store, which notifies a real gateway, whose functions are told of them: once is enough, never is not."""

from __future__ import annotations

import json
import os
import shutil
import signal
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import psutil
import pytest

from tests.e2e.programs import Workshop, alive, descendants
from tests.e2e.serving import Penstock, serving, wait_until
from tests.s3server import S3Server

TREE = Path(__file__).parents[2]
INPUT = TREE / "examples" / "input"

TELL = """
    import os, sys
    with open({note!r}, "a") as note:
        note.write(os.environ["Http_X_Call_Id"] + " " + os.environ["Http_X_Object_Key"] + "\\n")
    {then}
    sys.stdout.write(os.environ["Http_X_Event_Name"] + ": " + sys.stdin.read())
    """
"""A function that notes each call in a file and answers with the event and the object."""


@pytest.fixture(scope="module")
def inbox(s3: S3Server) -> str:
    return s3.make_bucket()


@pytest.fixture(scope="module")
def outbox(s3: S3Server) -> str:
    return s3.make_bucket()


@pytest.fixture
def environ(s3: S3Server, inbox: str, outbox: str) -> dict[str, str]:
    return {**s3.environ, "PENSTOCK_S3_BUCKETS": f"{inbox},{outbox}"}


@pytest.fixture
def home() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="ps-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


def notify_from(s3: S3Server, bucket: str, server: Penstock, name: str = "one") -> None:
    """Have the store post what happens in a bucket to the gateway, with the token of stores as the password."""
    shown = server.request("GET", "/system/storage/events/token", admin=True).json()
    host, port = server.address
    endpoint = f"http://{shown['user']}:{shown['token']}@{host}:{port}/system/storage/events"
    topic = f"to-{port}-{name}"
    form = {
        "Action": "CreateTopic",
        "Name": topic,
        "Attributes.entry.1.key": "push-endpoint",
        "Attributes.entry.1.value": endpoint,
    }
    # The store takes a password only over TLS, or from a proxy that says so.
    headers = {"Content-Type": "application/x-www-form-urlencoded", "X-Forwarded-Proto": "https"}
    answer = s3.request("POST", "/", {}, urlencode(form).encode(), headers)
    assert answer.status == 200, answer.body
    configuration = (
        f"<NotificationConfiguration><TopicConfiguration><Id>n</Id><Topic>arn:aws:sns:default::{topic}</Topic>"
        "<Event>s3:ObjectCreated:*</Event><Event>s3:ObjectRemoved:*</Event></TopicConfiguration></NotificationConfiguration>"
    )
    s3.expect(200, "PUT", bucket, query={"notification": ""}, body=configuration.encode())


def silence(s3: S3Server, bucket: str) -> None:
    """The store would hold back whoever writes into the bucket while it waits for a gateway that is gone."""
    s3.expect(200, "DELETE", bucket, query={"notification": ""})


def deploy(server: Penstock, name: str, program: str, **annotations: str) -> None:
    spec = {"service": name, "envProcess": program, "annotations": annotations}
    assert server.request("POST", "/system/functions", json.dumps(spec).encode(), admin=True).status == 202
    server.wait_ready(name)


def deliveries(server: Penstock) -> Any:
    answer = server.request("GET", "/system/storage/deliveries", admin=True)
    return answer.json() if answer.status == 200 else {}


def wait_for_object(s3: S3Server, bucket: str, key: str) -> bytes:
    return (
        wait_until(
            lambda: s3.request("GET", f"/{bucket}/{key}").status == 200 and s3.get(bucket, key), f"{key} in {bucket}"
        )
        or b""
    )


def notes(path: Path) -> list[list[str]]:
    return [line.split(" ") for line in path.read_text().splitlines()] if path.exists() else []


def test_what_is_put_into_a_bucket_is_told_by_the_store_and_the_answer_appears_in_another(
    s3: S3Server, inbox: str, outbox: str, environ: dict[str, str], workshop: Workshop
) -> None:
    with serving(environ=environ) as server:
        program = workshop.python("tell", TELL.format(note=str(workshop.file("told")), then=""))
        annotations = {"topic": f"s3:{inbox}:in/*:.txt", "com.penstock.storage.output": f"s3://{outbox}/{{stem}}.out"}
        deploy(server, "tell", program, **annotations)
        notify_from(s3, inbox, server)
        s3.put(inbox, "in/not for it.jpg", b"a picture")
        s3.put(inbox, "in/a b+c%41ü.txt", b"hello")
        assert wait_for_object(s3, outbox, "a b+c%41ü.out") == b"s3:ObjectCreated:Put: hello"
        wait_until(lambda: deliveries(server).get("pending") == 0, "all deliveries to be over")
        assert [key for _, key in notes(workshop.file("told"))] == ["in/a%20b%2Bc%2541%C3%BC.txt"]
        silence(s3, inbox)


def test_an_event_that_was_accepted_outlives_kill_9_and_its_repetition_has_the_same_call_id(
    s3: S3Server, inbox: str, outbox: str, environ: dict[str, str], workshop: Workshop, home: Path
) -> None:
    note, gate = workshop.file("held"), workshop.file("gate")
    held = f"import time\n    while not os.path.exists({str(gate)!r}): time.sleep(0.05)"
    annotations = {"topic": f"s3:{inbox}:kept/", "com.penstock.storage.output": f"s3://{outbox}/{{key}}"}
    first = Penstock(home=home, environ=environ)
    try:
        deploy(first, "hold", workshop.python("hold", TELL.format(note=str(note), then=held)), **annotations)
        notify_from(s3, inbox, first)
        for number in range(12):
            s3.put(inbox, f"kept/{number}", b"%d" % number)
        wait_until(lambda: len(notes(note)) >= 2, "the first calls")
        assert deliveries(first)["pending"] == 12
    finally:
        everything = [psutil.Process(first.process.pid), *descendants(first.process.pid)]
        kill_all(everything)
        first.kill()
    begun = {key: call for call, key in notes(note)}
    silence(s3, inbox)
    gate.touch()
    second = Penstock(home=home, environ=environ)
    try:
        for number in range(12):
            assert wait_for_object(s3, outbox, f"kept/{number}").endswith(b": %d" % number)
        wait_until(lambda: deliveries(second).get("pending") == 0, "all deliveries to be over")
        calls: dict[str, set[str]] = {}
        for call, key in notes(note):
            calls.setdefault(key, set()).add(call)
        assert {key: len(ids) for key, ids in calls.items()} == {f"kept/{number}": 1 for number in range(12)}
        assert all(calls[key] == {call} for key, call in begun.items())
        assert second.stop() == 0
    finally:
        second.kill()


def kill_all(processes: list[psutil.Process]) -> None:
    """At once, as far as that can be: those that others would end in order are stopped first."""
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for process in processes:
            if alive(process.pid):
                os.kill(process.pid, number)
    wait_until(lambda: not any(alive(process.pid) for process in processes), "the end of all processes")


def test_two_functions_that_feed_each_other_come_to_an_end(s3: S3Server) -> None:
    here, there = s3.make_bucket(), s3.make_bucket()
    with serving(environ={**s3.environ, "PENSTOCK_S3_BUCKETS": f"{here},{there}"}) as server:
        for name, source, target in (("ping", here, there), ("pong", there, here)):
            annotations = {"topic": f"s3:{source}", "com.penstock.storage.output": f"s3://{target}/{{key}}"}
            deploy(server, name, "cat", **annotations)
            notify_from(s3, source, server, name)
        s3.put(here, "ball", b"ball")
        wait_until(lambda: deliveries(server).get("dead") == 1, "the object to be given up")
        (given_up,) = deliveries(server)["givenUp"]
        assert (given_up["function"], given_up["attempts"]) == ("ping.openfaas-fn", 1)
        assert "they seem to feed each other" in given_up["reason"]
        assert "they seem to feed each other" in server.printed()
        silence(s3, here)
        silence(s3, there)


def test_a_removal_is_told_without_an_object(
    s3: S3Server, inbox: str, environ: dict[str, str], workshop: Workshop
) -> None:
    note = workshop.file("removed")
    with serving(environ=environ) as server:
        annotations = {"topic": f"s3:{inbox}:gone/", "com.penstock.storage.events": "removed"}
        deploy(server, "gone", workshop.python("gone", TELL.format(note=str(note), then="")), **annotations)
        notify_from(s3, inbox, server)
        s3.put(inbox, "gone/x", b"1")
        s3.expect(204, "DELETE", inbox, "gone/x")
        wait_until(lambda: notes(note), "the call")
        silence(s3, inbox)
    assert [key for _, key in notes(note)] == ["gone/x"]


def test_a_bucket_of_a_store_that_does_not_notify_is_looked_into_also_after_kill_9(
    s3: S3Server, environ: dict[str, str], workshop: Workshop, home: Path
) -> None:
    bucket, note = s3.make_bucket(), workshop.file("polled")
    s3.put(bucket, "before", b"0")
    environ |= {
        "PENSTOCK_S3_BUCKETS": bucket,
        "PENSTOCK_S3_POLL": bucket,
        "PENSTOCK_S3_POLL_INTERVAL": "300ms",
    }
    first = Penstock(home=home, environ=environ)
    try:
        program = workshop.python("look", TELL.format(note=str(note), then=""))
        deploy(first, "look", program, topic=f"s3:{bucket}")
        wait_until(lambda: "looked into for the first time" in first.printed(), "the first look")
        s3.put(bucket, "while it runs", b"1")
        wait_until(lambda: len(notes(note)) == 1, "the call")
        wait_until(lambda: deliveries(first).get("pending") == 0, "its note")
    finally:
        kill_all([psutil.Process(first.process.pid), *descendants(first.process.pid)])
        first.kill()
    s3.put(bucket, "while it is away", b"2")
    second = Penstock(home=home, environ=environ)
    try:
        wait_until(lambda: len(notes(note)) == 2, "the call")
        wait_until(lambda: deliveries(second).get("pending") == 0, "its note")
        assert second.stop() == 0
    finally:
        second.kill()
    assert [key for _, key in notes(note)] == ["while%20it%20runs", "while%20it%20is%20away"]


@pytest.mark.service("convert", "tesseract")
def test_an_uploaded_picture_gets_a_small_copy_and_its_words_as_the_example_says(
    s3: S3Server, environ: dict[str, str]
) -> None:
    pictures, results = s3.make_bucket(), s3.make_bucket()
    environ |= {"PENSTOCK_S3_BUCKETS": f"{pictures},{results}", "INBOX": pictures, "OUTBOX": results}
    with serving(environ=environ) as server:
        assert (
            server.cli("login", "--timeout", "2m", "--password-stdin", stdin=server.password.encode()).returncode == 0
        )
        done = server.cli("deploy", "-f", str(TREE / "examples" / "on-upload.yml"), "-g", server.base)
        assert done.returncode == 0, done.stderr
        for name in ("small-copy", "words-in-picture"):
            server.wait_ready(name)
        notify_from(s3, pictures, server)
        s3.put(pictures, "in/sentence.png", (INPUT / "sentence.png").read_bytes(), "image/png")
        s3.put(pictures, "in/picture.jpg", (INPUT / "picture.jpg").read_bytes(), "image/jpeg")
        assert wait_for_object(s3, results, "text/sentence.txt").split()[:3] == [b"A", b"penstock", b"carries"]
        for name in ("sentence", "picture"):
            assert max(size_of_png(wait_for_object(s3, results, f"small/{name}.png"))) == 320
        wait_until(lambda: deliveries(server).get("pending") == 0, "all deliveries to be over")
        assert sorted(s3.keys_in(results)) == ["small/picture.png", "small/sentence.png", "text/sentence.txt"]
        assert deliveries(server)["dead"] == 0
        silence(s3, pictures)


def size_of_png(data: bytes) -> tuple[int, int]:
    assert data.startswith(b"\x89PNG")
    width, height = struct.unpack(">II", data[16:24])
    return width, height
