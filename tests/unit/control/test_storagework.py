"""What is put together for events, from settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from penstock.control.feed import Feed
from penstock.control.storagework import GRACE, StorageWork
from penstock.core.policy import Policy
from penstock.credentials import Credentials
from penstock.errors import NotSupported
from penstock.model import FunctionSpec
from penstock.providers.memory import MemoryProvider
from penstock.storagesettings import StorageSettings
from tests.unit.control.support import PASSWORD, USER, scaler_of, settings_for, until


def work_of(
    provider: MemoryProvider, feed: Feed, home: Path, credentials: Credentials | None, **changes: Any
) -> StorageWork:
    storage = StorageSettings(buckets="photos", poll=changes.pop("poll", ""))
    settings = settings_for(home, storage=storage, port=8080, **changes)
    return StorageWork(settings, provider, feed, scaler_of(provider, feed), credentials)


@pytest.mark.parametrize(
    ("host", "base"),
    [
        ("127.0.0.1", "http://127.0.0.1:8080"),
        ("0.0.0.0", "http://127.0.0.1:8080"),
        ("::", "http://[::1]:8080"),
        ("192.0.2.7", "http://192.0.2.7:8080"),
    ],
)
def test_functions_are_called_through_the_public_port_of_this_machine(
    provider: MemoryProvider, feed: Feed, tmp_path: Path, host: str, base: str
) -> None:
    work = work_of(provider, feed, tmp_path, Credentials(USER, PASSWORD), host=host)
    assert str(work.caller._base).rstrip("/") == base
    assert Credentials(USER, PASSWORD).accept(work.caller._headers["Authorization"])


async def test_without_authentication_there_are_no_credentials_and_no_token(
    provider: MemoryProvider, feed: Feed, tmp_path: Path
) -> None:
    work = work_of(provider, feed, tmp_path, None, no_auth=True)
    assert work.caller._headers == {}
    with pytest.raises(NotSupported):
        await work.events.token.text()


async def test_a_call_may_take_as_long_as_the_function_and_its_queue_allow(
    provider: MemoryProvider, feed: Feed, tmp_path: Path
) -> None:
    work = work_of(provider, feed, tmp_path, None, no_auth=True, upstream_timeout=60.0, queue_timeout=30.0)
    for name, timeout in (("quick", "2s"), ("endless", "0")):
        await provider.deploy(FunctionSpec(name=name, env_process="cat", labels={"com.penstock.timeout": timeout}))
    await until(lambda: len(feed.functions) == 2)
    assert work._longest("quick.openfaas-fn") == 2 + 30 + GRACE
    assert work._longest("endless.openfaas-fn") == 0
    assert work._longest("gone.openfaas-fn") == Policy().timeout + Policy().queue_timeout + GRACE


@pytest.mark.parametrize(
    ("poll", "autoscaling", "works"), [("", True, 1), ("", False, 1), ("photos", True, 2), ("photos", False, 3)]
)
def test_buckets_are_looked_into_where_the_settings_name_them_and_the_lease_is_asked_for_where_the_scaler_does_not(
    provider: MemoryProvider, feed: Feed, tmp_path: Path, poll: str, autoscaling: bool, works: int
) -> None:
    work = work_of(provider, feed, tmp_path, None, no_auth=True, poll=poll, autoscaling=autoscaling)
    coroutines = list(work.works())
    for coroutine in coroutines:
        coroutine.close()
    assert len(coroutines) == works
    assert any("penstock_storage_looks_total" in line for line in work.lines()) is bool(poll)
