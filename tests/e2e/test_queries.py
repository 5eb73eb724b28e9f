"""Replicas follow an expression of PromQL, of a real Prometheus that scrapes the gateway, and stay while it has gone."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.e2e.gated import deploy, held, scaling, wait_replicas, wait_told
from tests.e2e.monitoring import end, held_port, start, target
from tests.e2e.programs import Workshop
from tests.e2e.serving import Penstock, serving, wait_until

pytestmark = pytest.mark.service("prometheus")

ASKED_AGAIN = 300.0
"""Seconds, generous: a Prometheus that was away is asked again after a minute at the latest."""

QUERY = 'sum(gateway_function_invocation_inflight{function_name=~"(one|other)[.]openfaas-fn"})'
"""The series are there as long as the functions are, and while the gateway can be scraped: otherwise nothing is known."""
FIXED = {"com.openfaas.scale.min": "1", "com.openfaas.scale.max": "1"}


class Scraper:
    """A Prometheus that can be killed and started again, with what it has stored, at the same address."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.folder = Path(tempfile.mkdtemp(prefix="pm-"))
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, server: Penstock) -> None:
        config = {"global": {"scrape_interval": "2s"}, "scrape_configs": [target(server)]}
        (self.folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        self._process = start(self.folder, "prometheus", "--storage.tsdb.path=data", listen=self.address)

    def kill(self) -> None:
        if self._process:
            end(self._process)


@contextlib.contextmanager
def scraping() -> Iterator[Scraper]:
    with held_port() as port:
        scraper = Scraper(f"127.0.0.1:{port}")
        try:
            yield scraper
        finally:
            scraper.kill()
            shutil.rmtree(scraper.folder)


def deploy_follower(server: Penstock) -> None:
    """A function with a replica for each two of what the query counts, which are calls of others."""
    labels = {
        "com.openfaas.scale.type": "query",
        "com.penstock.scale.query": QUERY,
        "com.openfaas.scale.target": "2",
        "com.openfaas.scale.target-proportion": "1",
        "com.openfaas.scale.down.window": "2s",
    }
    spec = {"service": "follower", "image": "", "envProcess": "cat", "labels": labels}
    assert server.request("POST", "/system/functions", json.dumps(spec).encode(), admin=True).status == 202
    server.wait_ready("follower")


def unknown(server: Penstock) -> str:
    """Why the load is not known; empty when it is."""
    return str(scaling(server, "follower")["load"].get("unknown", ""))


def last_rule(server: Penstock) -> str:
    """What decided last; that nothing was known may have been told before Prometheus was first asked, too."""
    return str(scaling(server, "follower")["decisions"][-1]["rule"])


def described(server: Penstock) -> str:
    login = ("login", "--timeout", "2m", "--password-stdin")
    assert server.cli(*login, stdin=server.password.encode()).returncode == 0
    return server.cli("describe", "follower").stdout.decode()


def test_replicas_follow_a_query_and_stay_while_prometheus_is_away(workshop: Workshop) -> None:
    with scraping() as scraper:
        flags = ("--autoscaling", "--prometheus-url", f"http://{scraper.address}")
        with serving(*flags) as server:
            scraper.start(server)
            one, other = deploy(server, "one", workshop, FIXED), deploy(server, "other", workshop, FIXED)
            deploy_follower(server)
            with held(server, "one", 6, one):
                wait_replicas(server, "follower", 3, ASKED_AGAIN)
                wait_told(server, "follower", "load")
                scraper.kill()
                fault = f"Prometheus at http://{scraper.address}/api/v1/query cannot be asked since"
                wait_until(lambda: fault in unknown(server), "notice that Prometheus has gone")
                with held(server, "other", 2, other):
                    wait_until(lambda: last_rule(server) == "unknown", "the reason why nothing changes")
                    report = scaling(server, "follower")
                    assert (report["replicas"], report["load"]["value"]) == (3, None)
                    last = report["decisions"][-1]
                    assert (last["rule"], last["before"], last["after"]) == ("unknown", 3, 3)
                    text = described(server)
                    assert fault in text
                    assert last["reason"] in text
                    scraper.start(server)
                    wait_replicas(server, "follower", 4, ASKED_AGAIN)
                    wait_until(lambda: not unknown(server), "a load that is known again")
            wait_replicas(server, "follower", 1, ASKED_AGAIN)
            wait_until(lambda: scaling(server, "follower")["load"]["value"] == 0, "no load")
