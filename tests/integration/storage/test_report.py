"""What the log says of the store when the gateway starts, and until it answers."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from penstock.storage.report import AGAIN, report
from penstock.storagesettings import StorageSettings
from penstock.testing.clock import FakeClock
from tests.engines.waiting import DEADLINE
from tests.integration.providers.waiting import until
from tests.s3server import S3Server


async def asleep(clock: FakeClock) -> None:
    """Until it waits to ask again."""
    await until("the pause", lambda: clock.sleepers > 0)


async def test_a_fault_is_said_once_and_its_end_as_well(s3: S3Server, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "penstock.storage.report")
    clock, bucket = FakeClock(), "made-after-the-gateway"
    reporting = asyncio.create_task(report(s3.settings(bucket), s3.keys, clock))
    try:
        for _ in range(3):
            await asleep(clock)
            await clock.advance(AGAIN)
        await asleep(clock)
        assert caplog.messages == [f"object storage does not work: there is no bucket {bucket} in the object store"]
        s3.make_bucket(bucket)
        await clock.advance(AGAIN)
        async with asyncio.timeout(DEADLINE):
            await reporting
        assert caplog.messages[1:] == [f"object storage at {s3.endpoint} answers, for the buckets {bucket}"]
    finally:
        reporting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await reporting


async def test_without_buckets_nothing_is_said(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "penstock.storage.report")
    await report(StorageSettings(), {}, FakeClock())
    assert caplog.messages == []
