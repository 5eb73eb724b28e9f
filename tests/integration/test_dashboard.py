"""Every query of the dashboard that is shipped, asked of a real Prometheus that has read our metrics."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from aiohttp import web

from tests.integration.prometheus import DEADLINE, prometheus_in, ready
from tests.unit.test_monitoring import CAPACITY, DASHBOARD, KEY, Everything

pytestmark = pytest.mark.service("prometheus")

VARIABLES = {"$__rate_interval": "10m", "$function": ".+"}
"""What Grafana puts in their places: an interval in which there are scrapes however slow the machine is, and the value of All."""


@pytest.fixture
async def target() -> AsyncIterator[str]:
    """Host and port of a gateway's metrics, of which there are more at each scrape."""
    everything = Everything()

    async def metrics(request: web.Request) -> web.Response:
        everything.grow()
        return web.Response(body=await everything.page(), headers={"Content-Type": "text/plain; version=0.0.4"})

    application = web.Application()
    application.router.add_get("/metrics", metrics)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield f"127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


@pytest.fixture
def program(target: str, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    scrape = {"job_name": "gateway", "scrape_interval": "1s", "static_configs": [{"targets": [target]}]}
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump({"scrape_configs": [scrape]}))
    with prometheus_in(tmp_path) as process:
        yield process


class Questions:
    """What Prometheus answers, as a dashboard asks for it."""

    def __init__(self, session: aiohttp.ClientSession, port: int) -> None:
        self._session = session
        self._base = f"http://127.0.0.1:{port}/api/v1"

    async def found(self, expression: str) -> list[dict[str, Any]]:
        """The first samples that there are: a rate needs two scrapes, and after a scrape that was late there is nothing for a moment."""
        async with asyncio.timeout(DEADLINE):
            while not (samples := await self.samples(expression)):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        return samples

    async def samples(self, expression: str) -> list[dict[str, Any]]:
        document = await self._get("query", query=filled(expression))
        result: list[dict[str, Any]] = document["data"]["result"]
        return result

    async def values(self, label: str, metric: str) -> list[str]:
        document = await self._get(f"label/{label}/values", **{"match[]": metric})
        found: list[str] = document["data"]
        return found

    async def _get(self, path: str, **parameters: str) -> Any:
        async with self._session.get(f"{self._base}/{path}", params=parameters) as answer:
            document = await answer.json()
        assert document["status"] == "success", (parameters, document)
        return document


def filled(expression: str) -> str:
    for name, value in VARIABLES.items():
        expression = expression.replace(name, value)
    assert "$" not in expression, "a variable that no dashboard of ours has"
    return expression


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(DASHBOARD.read_text())["panels"]
    return found


async def test_every_query_of_the_dashboard_finds_what_its_legend_names(program: subprocess.Popen[bytes]) -> None:
    port = await ready(program)
    async with aiohttp.ClientSession() as session:
        ask = Questions(session, port)
        await ask.found("rate(gateway_function_invocation_total[10m])")
        for panel in panels():
            for query in panel["targets"]:
                try:
                    samples = await ask.found(query["expr"])
                except TimeoutError:
                    pytest.fail(f"{panel['title']}: nothing for {query['expr']}")
                assert all(sample["value"][1] != "NaN" for sample in samples), query["expr"]
                for label in re.findall(r"{{(\w+)}}", query["legendFormat"]):
                    assert all(label in sample["metric"] for sample in samples), (panel["title"], label)
        assert {KEY, CAPACITY, "resting"} == set(await ask.values("function_name", "gateway_service_count"))
