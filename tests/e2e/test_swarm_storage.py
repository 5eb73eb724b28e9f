"""Object storage as `deploy/swarm/up.sh --minio` sets it up on a real Swarm: the keys stay secret, and functions get objects.

Ceph's radosgw stands in for MinIO, behind a service of that name that leads to it.
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.stack import Stack, stack_on
from tests.engines.fixtures import require
from tests.engines.images import import_busybox
from tests.engines.swarm import SwarmNode
from tests.engines.waiting import wait_until
from tests.image import TAG
from tests.s3server import S3Server

GATEWAY = "penstock_gateway"

pytestmark = pytest.mark.service("dockerd", "busybox")


@contextlib.contextmanager
def way_to(port: int, address: str) -> Iterator[int]:
    """A port of this address that leads to one of the machine's own."""

    def pass_on(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                target.sendall(data)
        for one in (source, target):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def serve(client: socket.socket) -> None:
        with client, socket.create_connection(("127.0.0.1", port)) as store:
            back = threading.Thread(target=pass_on, args=(store, client))
            back.start()
            pass_on(client, store)
            back.join()

    def take() -> None:
        with contextlib.suppress(OSError):  # the end of the context
            while True:
                threading.Thread(target=serve, args=(listening.accept()[0],), daemon=True).start()

    with socket.create_server((address, 0)) as listening:
        taking = threading.Thread(target=take)
        taking.start()
        try:
            yield listening.getsockname()[1]
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            taking.join()


@pytest.fixture(scope="module")
def stack(swarm_engine: SwarmNode, made_image: dict[str, Any], s3: S3Server) -> Iterator[Stack]:
    """The stack with a store, whose buckets are made when the gateway is there already."""
    require("busybox")
    outside = swarm_engine.sandbox.link.outside
    with way_to(s3.port, outside) as port:
        import_busybox(swarm_engine)
        lead = json.dumps(["/bin/sh", "-c", f"exec nc -ll -p 9000 -e nc {outside} {port}", "minio"])
        import_busybox(swarm_engine, "minio:it", [f"ENTRYPOINT {lead}"])
        swarm_engine.docker("load", data=Path(made_image["path"]).read_bytes())
        with stack_on(swarm_engine, TAG, "--minio", MINIO_IMAGE="minio:it", PENSTOCK_S3_BUCKETS="sw-in,sw-out") as up:
            [secret] = re.findall(r"access key penstock, secret key (\w+)", up.said)
            s3.add_keys("penstock", secret)
            wait_until(lambda: "there is no bucket sw-in" in log_of(up), "what is wrong with the store")
            for bucket in ("sw-in", "sw-out"):
                s3.make_bucket(bucket)
            wait_until(lambda: "answers, for the buckets sw-in, sw-out" in log_of(up), "that it answers")
            up.cli("deploy", "--name", "copy", "--image", "busybox:it", "--fprocess", "cat")
            up.wait_for("/function/copy", b"words", b"words")
            yield up


def log_of(stack: Stack) -> str:
    return "".join(stack.node.logs(one) for one in stack.containers(GATEWAY))


def test_the_keys_are_in_no_description_and_no_log(stack: Stack) -> None:
    [secret] = re.findall(r"access key penstock, secret key (\w+)", stack.said)
    docker = stack.node.docker
    services = docker("service", "ls", "--quiet").split()
    tasks = docker("service", "ps", "--quiet", GATEWAY, "penstock_minio").split()
    told = [docker("service", "inspect", *services), docker("inspect", *tasks), log_of(stack)]
    told += [docker("inspect", *docker("ps", "--all", "--quiet").split()), stack.cli("describe", "copy", "--json")]
    assert [secret in one for one in told] == [False] * len(told)
    [copy] = stack.containers("copy")
    assert "S3" not in docker("exec", copy, "env")


def test_a_pipeline_goes_from_object_to_object(stack: Stack, s3: S3Server) -> None:
    stack.cli("deploy", "--name", "first", "--image", "busybox:it", "--fprocess", "head -c 5")
    stack.cli("deploy", "--name", "start", "--pipeline", "copy | first")
    stack.cli("ready", "start")
    s3.put("sw-in", "words", b"words and more")
    stack.cli("invoke", "start", "--input-object", "s3://sw-in/words", "--output-object", "s3://sw-out/start")
    assert s3.get("sw-out", "start") == b"words"


def test_an_object_that_comes_is_told_of(stack: Stack, s3: S3Server) -> None:
    annotations = [
        "--annotation",
        "topic=s3:sw-in:new/",
        "--annotation",
        "com.penstock.storage.output=s3://sw-out/{key}",
    ]
    stack.cli("deploy", "--name", "told", "--image", "busybox:it", "--fprocess", "cat", *annotations)
    s3.put("sw-in", "new/object", b"told")
    token = stack.cli("storage", "events-token").strip()
    event = {"s3": {"bucket": {"name": "sw-in"}, "object": {"key": "new/object", "sequencer": "1"}}}
    record = {"eventName": "ObjectCreated:Put", "eventTime": "2026-01-02T03:04:05Z", **event}
    note = json.dumps({"Records": [record]}).encode()
    events = "/system/storage/events"
    assert stack.ask(events, note, user="events", password="wrong")[0] == 401
    assert stack.ask(events, note, user="events", password=token)[0] == 200
    wait_until(lambda: "new/object" in s3.keys_in("sw-out"), "the function's answer")
    assert s3.get("sw-out", "new/object") == b"told"
