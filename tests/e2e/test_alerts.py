"""Scaling by alerts, from load to more replicas and back: a real Prometheus and Alertmanager with the files that we ship."""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from tests.conftest import debian_path
from tests.e2e.serving import Penstock, serving, wait_until

SHIPPED = Path(__file__).parents[2] / "deploy" / "prometheus"


def shipped(name: str) -> Any:
    return yaml.safe_load((SHIPPED / name).read_text())


@contextlib.contextmanager
def running(folder: Path, name: str, *flags: str) -> Iterator[int]:
    """A program with its configuration `NAME.yml` in this folder; the port that it listens on."""
    program = shutil.which(name, path=debian_path()) or name
    config = f"--config.file={name.removeprefix('prometheus-')}.yml"
    command = [program, config, "--web.listen-address=127.0.0.1:0", *flags]
    with (folder / f"{name}.log").open("w+b") as log:
        process = subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            yield wait_until(lambda: listening(process, folder / log.name), name)[0]
        finally:
            process.terminate()
            process.wait()


def listening(process: subprocess.Popen[bytes], log: Path) -> list[int]:
    assert process.poll() is None, log.read_text(errors="replace")[-4000:]
    found = psutil.Process(process.pid).net_connections("tcp")
    return [one.laddr.port for one in found if one.status == psutil.CONN_LISTEN]


@contextlib.contextmanager
def monitoring(server: Penstock) -> Iterator[None]:
    """Prometheus scrapes the gateway, Alertmanager tells it of alerts."""
    folder = Path(tempfile.mkdtemp(prefix="pm-"))
    try:
        (folder / "alertmanager.yml").write_text(yaml.safe_dump(receiver(server)))
        alertmanager = ["prometheus-alertmanager", "--storage.path=alertmanager", "--cluster.listen-address="]
        prometheus = ["prometheus", "--storage.tsdb.path=prometheus"]
        with running(folder, *alertmanager) as alertmanager_port:
            (folder / "prometheus.yml").write_text(yaml.safe_dump(scrape(server, alertmanager_port)))
            with running(folder, *prometheus):
                yield
    finally:
        shutil.rmtree(folder)


def receiver(server: Penstock) -> Any:
    """Alertmanager's configuration, with this gateway in it."""
    config = shipped("alertmanager.yml")
    [webhook] = next(one for one in config["receivers"] if one["name"] == "scale-up")["webhook_configs"]
    webhook["url"] = f"{server.base}/system/alert"
    webhook["http_config"]["basic_auth"] = {"username": server.user, "password": server.password}
    return config


def scrape(server: Penstock, alertmanager: int) -> Any:
    """Prometheus' configuration, with this gateway in it and Alertmanager at this port."""
    port = wait_until(lambda: re.findall(r"metrics on port (\d+)", server.printed()), "the metrics port")[0]
    config = shipped("prometheus.yml")
    config["rule_files"] = [str(SHIPPED / "alert.rules.yml")]
    config["alerting"]["alertmanagers"] = [{"static_configs": [{"targets": [f"127.0.0.1:{alertmanager}"]}]}]
    config["scrape_configs"] = [{"job_name": "gateway", "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}]
    return config


@contextlib.contextmanager
def load(server: Penstock, function: str) -> Iterator[None]:
    """Calls, one after the other."""
    over = threading.Event()

    def call() -> None:
        while not over.wait(0.02):
            server.invoke(function, b"x")

    caller = threading.Thread(target=call)
    caller.start()
    try:
        yield
    finally:
        over.set()
        caller.join()


@pytest.mark.service("prometheus", "prometheus-alertmanager")
def test_load_brings_replicas_and_its_end_takes_them_away() -> None:
    with serving() as server, monitoring(server):
        server.deploy("busy", "cat")
        server.deploy("idle", "cat")
        with load(server, "busy"):
            wait_until(lambda: server.function("busy").get("availableReplicas", 0) >= 3, "more replicas")
        wait_until(lambda: server.function("busy")["replicas"] == 1, "the end of the alert")
        assert server.function("idle")["replicas"] == 1
        assert "busy.openfaas-fn: an alert fires: 3 replicas, not 1" in server.printed()
        assert "busy.openfaas-fn: an alert is over: 1 replicas" in server.printed()
