"""Secrets as versions in the Swarm."""

from __future__ import annotations

import base64

import pytest

from penstock.errors import AlreadyExists, InvalidInput, SecretNotFound
from penstock.model import DEFAULT_NAMESPACE, Secret
from penstock.providers.swarm.secrets import Secrets
from tests.unit.providers.swarm.fake_swarm import FakeSwarm


def made() -> tuple[FakeSwarm, Secrets]:
    swarm = FakeSwarm()
    return swarm, Secrets(swarm.engine, "lab")


def use(swarm: FakeSwarm, name: str) -> None:
    swarm.used_secrets.add(swarm.find("secrets", name)["ID"])


async def test_each_value_is_a_version_and_the_last_one_counts() -> None:
    swarm, secrets = made()
    await secrets.create(Secret(name="key", value=b"1"))
    use(swarm, "lab.openfaas-fn.key.1")
    await secrets.update(Secret(name="key", value=b"2"))
    current = await secrets.current(DEFAULT_NAMESPACE)
    assert {name: secret["Spec"]["Name"] for name, secret in current.items()} == {"key": "lab.openfaas-fn.key.2"}
    assert swarm.names("secrets") == ["lab.openfaas-fn.key.1", "lab.openfaas-fn.key.2"]


async def test_values_that_nobody_uses_are_removed() -> None:
    swarm, secrets = made()
    await secrets.create(Secret(name="key", value=b"1"))
    use(swarm, "lab.openfaas-fn.key.1")
    await secrets.update(Secret(name="key", value=b"2"))
    assert await secrets.collect()
    swarm.used_secrets.clear()
    assert not await secrets.collect()
    assert swarm.names("secrets") == ["lab.openfaas-fn.key.2"]


async def test_a_deleted_secret_that_is_in_use_is_gone_for_everybody_else() -> None:
    swarm, secrets = made()
    await secrets.create(Secret(name="key", value=b"1"))
    use(swarm, "lab.openfaas-fn.key.1")
    await secrets.delete("key", DEFAULT_NAMESPACE)
    assert await secrets.names(DEFAULT_NAMESPACE) == []
    with pytest.raises(SecretNotFound):
        await secrets.update(Secret(name="key", value=b"2"))
    await secrets.create(Secret(name="key", value=b"3"))
    assert await secrets.names(DEFAULT_NAMESPACE) == ["key"]
    assert swarm.names("secrets") == ["lab.openfaas-fn.key.1", "lab.openfaas-fn.key.2"]


async def test_an_old_value_does_not_come_back_when_the_newest_is_deleted() -> None:
    swarm, secrets = made()
    await secrets.create(Secret(name="key", value=b"1"))
    use(swarm, "lab.openfaas-fn.key.1")
    await secrets.update(Secret(name="key", value=b"2"))
    await secrets.delete("key", DEFAULT_NAMESPACE)
    assert await secrets.names(DEFAULT_NAMESPACE) == []
    swarm.used_secrets.clear()
    assert not await secrets.collect()
    assert swarm.names("secrets") == []


async def test_versions_are_ordered_as_numbers() -> None:
    swarm, secrets = made()
    await secrets.create(Secret(name="key", value=b"1"))
    for number in range(2, 12):
        await secrets.update(Secret(name="key", value=str(number).encode()))
    current = await secrets.current(DEFAULT_NAMESPACE)
    assert current["key"]["Spec"]["Name"] == "lab.openfaas-fn.key.11"
    assert len(swarm.names("secrets")) == 11


async def test_an_empty_value_is_a_template_of_nothing() -> None:
    swarm, secrets = made()
    await secrets.create(Secret(name="none", value=b""))
    assert swarm.find("secrets", "lab.openfaas-fn.none.1")["Spec"]["Templating"] == {"Name": "golang"}
    assert base64.b64decode(swarm.bodies[-1]["Data"]) == b'{{""}}'


async def test_a_value_with_braces_is_no_template() -> None:
    swarm, secrets = made()
    await secrets.create(Secret(name="odd", value=b"{{.Service}}"))
    assert "Templating" not in swarm.find("secrets", "lab.openfaas-fn.odd.1")["Spec"]


@pytest.mark.parametrize("size", [512_000, 1 << 20])
async def test_a_value_that_a_swarm_does_not_keep_is_refused_with_the_limit(size: int) -> None:
    swarm, secrets = made()
    with pytest.raises(InvalidInput, match="less than 512000"):
        await secrets.create(Secret(name="big", value=b"x" * size))
    assert not swarm.bodies


async def test_the_largest_value_is_kept() -> None:
    _, secrets = made()
    await secrets.create(Secret(name="big", value=b"x" * 511_999))
    assert await secrets.names(DEFAULT_NAMESPACE) == ["big"]


async def test_creating_a_secret_twice_is_refused_whoever_was_faster() -> None:
    swarm, secrets = made()
    await secrets.create(Secret(name="key", value=b"1"))
    with pytest.raises(AlreadyExists, match="'key' already exists in namespace 'openfaas-fn'"):
        await secrets.create(Secret(name="key", value=b"1"))
    await swarm.post("/secrets/create", {"Name": "lab.openfaas-fn.race.1", "Data": "eA=="})
    with pytest.raises(AlreadyExists):
        await secrets.create(Secret(name="race", value=b"1"))


async def test_secrets_of_other_installations_and_namespaces_are_not_seen() -> None:
    swarm, secrets = made()
    await Secrets(swarm.engine, "theirs").create(Secret(name="key", value=b"1"))
    await secrets.create(Secret(name="key", namespace="team", value=b"1"))
    assert await secrets.names(DEFAULT_NAMESPACE) == []
    assert await secrets.names("team") == ["key"]


async def test_all_secrets_of_a_namespace_can_be_deleted() -> None:
    _, secrets = made()
    for name in ("a", "b"):
        await secrets.create(Secret(name=name, namespace="team", value=b"1"))
    await secrets.delete_all("team")
    assert await secrets.names("team") == []
