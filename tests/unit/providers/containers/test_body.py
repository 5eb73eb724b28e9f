"""The document by which a container is created."""

from __future__ import annotations

from typing import Any

import msgspec

from penstock.core.health import Check
from penstock.model import FunctionSpec
from penstock.providers.containers import labels
from penstock.providers.containers.adopting import read_record
from penstock.providers.containers.body import Site, body_of, name_of
from penstock.providers.containers.entry import record_of
from penstock.providers.containers.plan import Plan
from penstock.providers.runtimes.base import Order

SITE = Site(installation="mine", network="penstock")
INJECTED = Plan(injected=True, port=8080, entrypoint=("/penstock/fwatchdog",), command=(), environ={"fprocess": "cat"})
AS_IT_IS = Plan(injected=False, port=80)


def order(**fields: Any) -> Order:
    spec = FunctionSpec(**{"name": "f", "image": "busybox:1", **fields})
    return Order(token="abc", replica="f-1", spec=spec, generation=2, deployed="today", secrets={"key": b"hush"})


def body(plan: Plan = INJECTED, site: Site = SITE, bundle: str = "", secrets: bool = False, **fields: Any) -> Any:
    return body_of(record_of(order(**fields), plan), plan, site, bundle, secrets)


def test_a_name_has_the_function_and_the_token() -> None:
    assert name_of(order()) == "penstock-f-abc"


def test_an_injected_watchdog_takes_the_place_of_the_images_program() -> None:
    document = body()
    assert (document["Entrypoint"], document["Cmd"]) == (["/penstock/fwatchdog"], [])
    assert document["Env"] == ["fprocess=cat"]
    assert document["Healthcheck"] == {"Test": ["NONE"]}


def test_an_image_that_runs_as_it_is_keeps_its_program_user_and_health_check() -> None:
    assert not {"Entrypoint", "Cmd", "User", "Healthcheck"} & set(body(AS_IT_IS))


def test_nothing_is_allowed_that_is_not_needed() -> None:
    config = body()["HostConfig"]
    assert config["CapDrop"] == ["ALL"]
    assert config["SecurityOpt"] == ["no-new-privileges"]
    assert config["RestartPolicy"] == {"Name": "no"}
    assert not {"Privileged", "PidMode", "IpcMode", "Binds", "Devices", "CapAdd", "AutoRemove", "PortBindings"} & set(
        config
    )


def test_new_privileges_are_allowed_by_label_only() -> None:
    assert body(labels={"com.penstock.allow-new-privileges": "true"})["HostConfig"]["SecurityOpt"] == []


def test_capabilities_are_added_by_label_to_none() -> None:
    config = body(AS_IT_IS, labels={"com.penstock.capabilities": "setuid,CAP_CHOWN"})["HostConfig"]
    assert (config["CapDrop"], config["CapAdd"]) == (["ALL"], ["CHOWN", "SETUID"])
    assert config["SecurityOpt"] == ["no-new-privileges"]


def test_labels_of_ours_win_over_those_of_the_function() -> None:
    given = body(labels={labels.OWNER: "another", "team": "x"})["Labels"]
    assert (given[labels.OWNER], given[labels.KIND], given["team"]) == ("mine", "replica", "x")
    assert given[labels.FUNCTION] == "f.openfaas-fn"


def test_the_order_on_a_container_reads_back_without_secrets() -> None:
    text = body()["Labels"][labels.ORDER]
    record = read_record(text)
    assert "hush" not in text
    assert record
    assert record.order == msgspec.structs.replace(order(), secrets={})
    assert (record.port, record.check) == (8080, Check())


def test_what_is_no_record_reads_as_none() -> None:
    for text in ("", "{}", "[]", "null", "{", '{"order": 1, "port": 2}'):
        assert read_record(text) is None


def test_readiness_is_asked_for_in_the_way_that_the_image_knows() -> None:
    lenient = Plan(injected=False, port=80, lenient_ready=True)
    assert record_of(order(), lenient).check == Check(passes="any")
    assert record_of(order(), AS_IT_IS).check == Check(path="/_/health")


def test_the_watchdog_is_mounted_read_only_and_secrets_have_a_volume_of_their_own() -> None:
    bundle, secrets = body(bundle="v", secrets=True)["HostConfig"]["Mounts"]
    assert (bundle["Source"], bundle["Target"], bundle["ReadOnly"]) == ("v", "/penstock", True)
    assert secrets == {"Type": "volume", "Target": "/var/openfaas/secrets", "VolumeOptions": {"NoCopy": True}}
    assert body()["HostConfig"]["Mounts"] == []


def test_a_read_only_root_has_a_place_for_temporary_files() -> None:
    config = body(read_only_root=True)["HostConfig"]
    assert config["ReadonlyRootfs"] is True
    assert config["Tmpfs"] == {"/tmp": "rw,nosuid,nodev,mode=1777"}
    assert "ReadonlyRootfs" not in body()["HostConfig"]


def test_a_port_is_published_where_the_site_says() -> None:
    site = Site(installation="mine", network="penstock", publish="127.0.0.1")
    assert body(site=site)["HostConfig"]["PortBindings"] == {"8080/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}]}


def test_logs_are_bounded_by_the_functions_label() -> None:
    config = body(labels={"com.penstock.logs.max-bytes": "4096"})["HostConfig"]["LogConfig"]
    assert config == {"Type": "json-file", "Config": {"max-size": "2048", "max-file": "2"}}


def test_a_replicas_id_is_the_host_name_where_it_fits() -> None:
    assert body()["Hostname"] == "f-1"
    long = msgspec.structs.replace(order(), replica="f" * 64)
    assert "Hostname" not in body_of(record_of(long, INJECTED), INJECTED, SITE)
