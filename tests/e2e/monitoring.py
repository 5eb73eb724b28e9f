"""A real Prometheus and Alertmanager, of Debian's packages, with the files that we ship."""

from __future__ import annotations

import contextlib
import re
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import yaml

from tests.conftest import debian_path
from tests.e2e.serving import Penstock, wait_until

SHIPPED = Path(__file__).parents[2] / "deploy" / "prometheus"


def shipped(name: str) -> Any:
    return yaml.safe_load((SHIPPED / name).read_text())


def start(folder: Path, name: str, *flags: str, listen: str = "127.0.0.1:0") -> subprocess.Popen[bytes]:
    """A program with its configuration `NAME.yml` in this folder, where its log is as well; it has begun to listen."""
    program = shutil.which(name, path=debian_path()) or name
    config = f"--config.file={name.removeprefix('prometheus-')}.yml"
    with log_of(folder, name).open("ab") as log:
        process = subprocess.Popen(
            [program, config, f"--web.listen-address={listen}", *flags],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        wait_until(lambda: ports(process, log_of(folder, name)), name)
    except BaseException:
        end(process)
        raise
    return process


@contextlib.contextmanager
def held_port() -> Iterator[int]:
    """A port where a program can listen, and again after it was killed: the system gives it to nobody else meanwhile."""
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("0.0.0.0", 0))
        yield int(holder.getsockname()[1])


def end(process: subprocess.Popen[bytes]) -> None:
    """At once: nothing that it keeps is of use later."""
    process.kill()
    process.wait()


def log_of(folder: Path, name: str) -> Path:
    return folder / f"{name}.log"


def ports(process: subprocess.Popen[bytes], log: Path) -> list[int]:
    """Those that it listens on."""
    assert process.poll() is None, log.read_text(errors="replace")[-4000:]
    found = psutil.Process(process.pid).net_connections("tcp")
    return [one.laddr.port for one in found if one.status == psutil.CONN_LISTEN]


@contextlib.contextmanager
def running(folder: Path, name: str, *flags: str) -> Iterator[int]:
    """A program for as long as the context lasts; the port that it listens on."""
    process = start(folder, name, *flags)
    try:
        yield ports(process, log_of(folder, name))[0]
    finally:
        end(process)


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
    config = shipped("prometheus.yml")
    config["rule_files"] = [str(SHIPPED / "alert.rules.yml")]
    config["alerting"]["alertmanagers"] = [{"static_configs": [{"targets": [f"127.0.0.1:{alertmanager}"]}]}]
    config["scrape_configs"] = [target(server)]
    return config


def target(server: Penstock) -> Any:
    """The gateway as something to scrape."""
    port = wait_until(lambda: re.findall(r"metrics on port (\d+)", server.printed()), "the metrics port")[0]
    return {"job_name": "gateway", "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}
