"""What is asked of a Swarm for a function."""

from __future__ import annotations

import json
from typing import Any

import pytest

from penstock.errors import InvalidInput
from penstock.model import Resources
from penstock.providers.containers import labels
from penstock.providers.containers.plan import Plan
from penstock.providers.swarm import marks
from penstock.providers.swarm.generation import generation_of
from penstock.providers.swarm.services import Outfit, check_placeable, completed, draft, floored, literal, scaled
from tests.unit.providers.swarm.samples import FACTS, OUTFIT, PLAN, generation, service, spec

INJECTED = Plan(
    injected=True,
    port=8080,
    entrypoint=("/penstock/penstock-watchdog",),
    command=(),
    environ={"fprocess": "cat"},
    user="12000:12000",
    healthcheck=("CMD", "/penstock/penstock-watchdog", "--run-healthcheck"),
)


def container(plan: Plan = PLAN, outfit: Outfit = OUTFIT, **fields: Any) -> dict[str, object]:
    of = generation(spec=spec(**fields))
    body = completed(draft(of, "lab"), of, FACTS, plan, outfit)
    found: dict[str, object] = body["TaskTemplate"]["ContainerSpec"]
    return found


def test_a_draft_keeps_what_is_wanted_and_runs_nothing() -> None:
    of = generation(3, desired=5, planned=False, port=0, network="", spec=spec(env_vars={"A": "1"}))
    body = draft(of, "lab")
    assert body["Mode"] == {"Replicated": {"Replicas": 0}}
    read = generation_of({"ID": "svc3", "Spec": {**body, "Name": "echo__3"}})
    assert read == of


def test_a_completed_service_is_read_back() -> None:
    of = generation(2, desired=4)
    read = generation_of(service(of))
    assert read is not None
    assert (read.number, read.desired, read.planned, read.port, read.network) == (2, 4, True, 8080, "net1")
    assert read.spec == of.spec and read.created_at == of.created_at


def test_a_service_with_other_labels_is_none_of_ours() -> None:
    assert generation_of({"ID": "x", "Spec": {"Labels": {}}}) is None
    broken = service(generation())
    broken["Spec"]["Labels"][marks.SPEC] = "{"
    assert generation_of(broken) is None


def test_replicas_are_reached_without_a_virtual_address_by_a_port_of_their_node() -> None:
    endpoint = service(generation())["Spec"]["EndpointSpec"]
    assert endpoint == {
        "Mode": "dnsrr",
        "Ports": [{"TargetPort": 8080, "PublishMode": "host", "Protocol": "tcp"}],
    }


def test_other_functions_find_it_by_its_name_whatever_its_generation() -> None:
    task = service(generation(4))["Spec"]["TaskTemplate"]
    assert task["Networks"] == [{"Target": "net1", "Aliases": ["echo", "echo.openfaas-fn"]}]


def test_a_scaled_service_differs_in_its_replicas_only() -> None:
    body = service(generation())["Spec"]
    more = scaled(body, 3)
    assert more.pop("Mode") == {"Replicated": {"Replicas": 3}}
    assert more == {name: value for name, value in body.items() if name != "Mode"}


def test_a_draft_is_scaled_without_starting_anything() -> None:
    body = scaled(draft(generation(planned=False), "lab"), 3)
    assert body["Mode"] == {"Replicated": {"Replicas": 0}}
    assert body["Labels"][marks.DESIRED] == "3"


@pytest.mark.parametrize("planned", [True, False])
def test_a_floor_is_kept_until_another_is_given_or_nothing_is_wanted(planned: bool) -> None:
    def floor(body: dict[str, Any]) -> int:
        read = generation_of({"ID": "svc1", "Spec": body})
        assert read is not None
        return read.floor

    body = service(generation())["Spec"] if planned else draft(generation(planned=False), "lab")
    held = floored(scaled(body, 3), 3)
    assert floor(held) == floor(scaled(held, 5)) == 3
    assert floored(held, 0) == scaled(body, 3)
    assert floor(scaled(scaled(held, 0), 2)) == 0


def test_a_floor_goes_along_to_the_next_specification() -> None:
    of = generation(2, desired=4, floor=3)
    read = generation_of(service(of))
    assert read is not None
    assert (read.desired, read.floor) == (4, 3)


def test_nothing_is_allowed_that_a_function_does_not_need() -> None:
    body = container()
    assert body["CapabilityDrop"] == ["ALL"]
    assert body["Privileges"] == {"NoNewPrivileges": True}
    assert body["Init"] is True
    assert body["ReadOnly"] is False and body["Mounts"] == []


def test_capabilities_are_added_by_label_to_none() -> None:
    assert "CapabilityAdd" not in container()
    body = container(labels={labels.CAPABILITIES: "setuid, CAP_CHOWN"})
    assert (body["CapabilityDrop"], body["CapabilityAdd"]) == (["ALL"], ["CHOWN", "SETUID"])
    assert body["Privileges"] == {"NoNewPrivileges": True}


def test_a_read_only_root_has_a_place_for_temporary_files() -> None:
    body = container(read_only_root=True)
    assert body["ReadOnly"] is True
    assert body["Mounts"] == [{"Type": "tmpfs", "Target": "/tmp", "TmpfsOptions": {"Mode": 0o1777}}]


def test_the_watchdog_is_mounted_read_only_where_it_is_injected() -> None:
    body = container(INJECTED, Outfit(network="net1", watchdog="vol"))
    assert body["Command"] == ["/penstock/penstock-watchdog"] and body["Args"] == [] and body["User"] == "12000:12000"
    assert body["Mounts"] == [
        {
            "Type": "volume",
            "Source": "vol",
            "Target": "/penstock",
            "ReadOnly": True,
            "VolumeOptions": {"NoCopy": True, "Labels": {labels.OWNER: "lab", labels.KIND: "bundle"}},
        }
    ]
    read = generation_of({**service(generation(), INJECTED), "ID": "svc1"})
    assert read is not None and read.watchdog == ""


def test_an_image_that_runs_as_it_is_keeps_its_program_user_and_health_check() -> None:
    assert not {"Command", "Args", "User", "Healthcheck"} & container().keys()


def test_an_injected_watchdog_is_asked_about_its_health_only_when_annotations_want_it() -> None:
    assert container(INJECTED)["Healthcheck"] == {"Test": ["NONE"]}
    asked = {"com.openfaas.health.http.periodSeconds": "3", "com.openfaas.health.http.failureThreshold": "4"}
    assert container(INJECTED, annotations=asked)["Healthcheck"] == {
        "Test": ["CMD", "/penstock/penstock-watchdog", "--run-healthcheck"],
        "Interval": 3_000_000_000,
        "Timeout": 1_000_000_000,
        "StartPeriod": 0,
        "Retries": 4,
    }


def test_variables_reach_the_program_as_they_were_given() -> None:
    plan = Plan(injected=False, port=8080, environ={"T": "{{.Service.Name}} {{"})
    assert container(plan)["Env"] == ['T={{"{{"}}.Service.Name}} {{"{{"}}']
    assert literal("{ {x} }}") == "{ {x} }}"


def test_secrets_are_files_and_no_variables() -> None:
    outfit = Outfit(network="n", secrets={"key": {"ID": "s1", "Spec": {"Name": "penstock.openfaas-fn.key.2"}}})
    body = container(outfit=outfit)
    assert body["Secrets"] == [
        {
            "SecretID": "s1",
            "SecretName": "penstock.openfaas-fn.key.2",
            "File": {"Name": "/var/openfaas/secrets/key", "UID": "0", "GID": "0", "Mode": 0o444},
        }
    ]
    assert body["Env"] == []


def test_limits_and_requests_are_enforced_within_what_engines_take() -> None:
    of = generation(
        spec=spec(limits=Resources(memory="1Mi", cpu="500m"), requests=Resources(memory="64Mi", cpu="0.25"))
    )
    task = service(of)["Spec"]["TaskTemplate"]
    assert task["Resources"] == {
        "Limits": {"MemoryBytes": 6 << 20, "NanoCPUs": 500_000_000, "Pids": 1024},
        "Reservations": {"MemoryBytes": 6 << 20, "NanoCPUs": 250_000_000},
    }


def test_labels_say_how_many_files_and_how_much_log_there_may_be() -> None:
    given = {"com.penstock.limit.open-files": "64", "com.penstock.logs.max-bytes": "8192", "team": "x"}
    of = generation(spec=spec(labels=given, env_vars={"write_timeout": "90s"}))
    task = service(of)["Spec"]["TaskTemplate"]
    assert task["ContainerSpec"]["Ulimits"] == [{"Name": "nofile", "Soft": 64, "Hard": 64}]
    assert task["ContainerSpec"]["StopGracePeriod"] == 90_000_000_000
    assert task["ContainerSpec"]["Labels"]["team"] == "x"
    assert task["ContainerSpec"]["Labels"][labels.KIND] == "task"
    assert task["LogDriver"] == {"Name": "json-file", "Options": {"max-size": "4096", "max-file": "2"}}


def test_tasks_go_where_constraints_and_the_image_let_them() -> None:
    of = generation(spec=spec(constraints=(" node.role==worker ",)))
    assert service(of)["Spec"]["TaskTemplate"]["Placement"] == {
        "Constraints": ["node.role==worker"],
        "Platforms": [{"OS": "linux", "Architecture": "amd64"}],
    }


@pytest.mark.parametrize(
    "constraint",
    [
        "node.role==worker",
        "node.role != manager",
        "node.labels.zone==eu-1",
        "node.labels.com.example/disk == ssd",
        "engine.labels.gpu==yes",
        "node.hostname==w1.example.org",
        "node.platform.arch==x86_64",
    ],
)
def test_constraints_of_swarm_are_taken(constraint: str) -> None:
    check_placeable(spec(constraints=(constraint,)))


@pytest.mark.parametrize(
    "constraint",
    ["", "zone=eu", "node.labels.==x", "node.role==", "node.rule==worker", "node.role==a\nb", "node.role==*"],
)
def test_other_constraints_are_refused_with_what_would_do(constraint: str) -> None:
    with pytest.raises(InvalidInput, match=r"node\.labels\.KEY==VALUE"):
        check_placeable(spec(constraints=(constraint,)))


def test_a_function_without_an_image_is_refused() -> None:
    with pytest.raises(InvalidInput, match="image: is required"):
        check_placeable(spec(image=""))


def test_a_specification_too_large_for_the_swarms_log_is_refused() -> None:
    many = {f"V{number}": "x" * 100_000 for number in range(5)}
    with pytest.raises(InvalidInput, match="at most 400000"):
        check_placeable(spec(env_vars=many))


def test_a_service_can_be_sent_as_json() -> None:
    json.dumps(service(generation())["Spec"])
