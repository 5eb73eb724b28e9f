"""The pods of a function."""

from __future__ import annotations

from typing import Any

import pytest

from penstock.model import Resources
from penstock.providers.kubernetes.manifests import Shape
from penstock.providers.kubernetes.podspec import literal
from tests.unit.providers.kubernetes.objects import SHAPE, container, environ, pod, spec

DOCKER = "kubernetes.io/dockerconfigjson"


def as_it_is(**fields: Any) -> dict[str, Any]:
    return {"env_process": "", **fields}


# Variables


def test_variables_are_sorted_by_name() -> None:
    names = [variable["name"] for variable in container(spec(env_vars={"b": "1", "A": "2", "z": "3"}))["env"]]
    assert names == sorted(names) and {"b", "A", "z", "fprocess"} <= set(names)


def test_the_program_that_is_named_wins_over_the_variables_and_over_the_image() -> None:
    wanted = spec(env_process="cat", env_vars={"fprocess": "wc", "function_process": "tac"})
    assert (environ(wanted)["fprocess"], environ(wanted)["function_process"]) == ("cat", "cat")


def test_a_program_among_the_variables_counts_as_well() -> None:
    assert environ(spec(env_process="", env_vars={"function_process": "tac"}))["fprocess"] == "tac"


def test_without_a_program_none_is_told() -> None:
    assert "fprocess" not in environ(spec(env_process=""))


def test_a_function_knows_its_name_unless_it_says_another() -> None:
    assert environ(spec())["OPENFAAS_NAME"] == "echo"
    assert environ(spec())["OPENFAAS_NAMESPACE"] == "openfaas-fn"
    assert environ(spec(env_vars={"OPENFAAS_NAME": "other"}))["OPENFAAS_NAME"] == "other"


def test_the_watchdogs_own_variables_cannot_be_given() -> None:
    assert "PENSTOCK_LIFELINE_FD" not in environ(spec(env_vars={"PENSTOCK_LIFELINE_FD": "3"}))


def test_an_empty_variable_is_written_as_the_api_writes_it() -> None:
    assert {"name": "EMPTY"} in container(spec(env_vars={"EMPTY": ""}))["env"]


def expanded(text: str, variables: dict[str, str]) -> str:
    """As the kubelet does it: `$$` is a dollar, `$(NAME)` a variable that is known."""
    result, at = "", 0
    while at < len(text):
        if text[at] == "$" and at + 1 < len(text):
            end = text.find(")", at)
            if text[at + 1] == "$":
                result, at = result + "$", at + 2
                continue
            if text[at + 1] == "(" and end > 0:
                name = text[at + 2 : end]
                result, at = result + variables.get(name, f"$({name})"), end + 1
                continue
        result, at = result + text[at], at + 1
    return result


@pytest.mark.parametrize(
    "text", ["", "$", "$HOME", "a$(B)c", "$$", "$$(B)", "$$$(B)$", "cost: 5$", "$(B", "$()", "sh -c 'echo $(date) $$'"]
)
def test_text_reaches_the_program_as_it_is(text: str) -> None:
    assert expanded(literal(text), {"B": "expanded"}) == text


def test_text_without_need_stays_readable() -> None:
    assert literal("$HOME costs 5$") == "$HOME costs 5$"


# Files


def test_secrets_are_files_that_nobody_can_write() -> None:
    document = pod(spec(secrets=("token", "api-key")))
    assert {
        "name": "secrets",
        "projected": {
            "sources": [{"secret": {"name": "api-key"}}, {"secret": {"name": "token"}}],
            "defaultMode": 0o444,
        },
    } in document["volumes"]
    mount = {"name": "secrets", "mountPath": "/var/openfaas/secrets", "readOnly": True}
    assert mount in document["containers"][0]["volumeMounts"]


def test_credentials_of_a_registry_pull_the_image_and_are_no_files() -> None:
    document = pod(spec(secrets=("registry", "token")), secret_types={"registry": DOCKER, "token": "Opaque"})
    assert document["imagePullSecrets"] == [{"name": "registry"}]
    [volume] = [volume for volume in document["volumes"] if volume["name"] == "secrets"]
    assert volume["projected"]["sources"] == [{"secret": {"name": "token"}}]


def test_with_credentials_alone_there_are_no_secret_files() -> None:
    document = pod(spec(secrets=("registry",)), secret_types={"registry": "kubernetes.io/dockercfg"})
    assert [volume["name"] for volume in document["volumes"]] == ["watchdog"]


def test_credentials_of_the_installation_are_used_by_all_functions() -> None:
    shape = Shape(installation="lab", watchdog_image="penstock:1", image_pull_secrets=("shared", "registry"))
    document = pod(spec(secrets=("registry",)), shape=shape, secret_types={"registry": DOCKER})
    assert document["imagePullSecrets"] == [{"name": "registry"}, {"name": "shared"}]


def test_a_read_only_root_has_a_place_for_temporary_files() -> None:
    document = pod(spec(read_only_root=True))
    assert {"name": "temp", "emptyDir": {}} in document["volumes"]
    assert {"name": "temp", "mountPath": "/tmp"} in document["containers"][0]["volumeMounts"]
    assert document["containers"][0]["securityContext"]["readOnlyRootFilesystem"] is True


def test_an_image_that_runs_as_it_is_gets_nothing_mounted() -> None:
    document = pod(spec(**as_it_is()))
    assert "volumes" not in document and "initContainers" not in document
    assert not {"volumeMounts", "command", "args"} & document["containers"][0].keys()


# The watchdog


def test_a_program_is_started_through_a_watchdog_that_is_copied_first() -> None:
    document = pod(spec())
    [helper], [function] = document["initContainers"], document["containers"]
    assert helper["image"] == "penstock:1"
    assert helper["command"] == ["/penstock/penstock-watchdog", "--copy-to", "/copy"]
    assert helper["volumeMounts"] == [{"name": "watchdog", "mountPath": "/copy"}]
    assert function["volumeMounts"] == [{"name": "watchdog", "mountPath": "/penstock", "readOnly": True}]
    assert function["command"] == ["/penstock/penstock-watchdog", "--give-way"]
    assert document["volumes"] == [{"name": "watchdog", "emptyDir": {}}]


def test_the_copying_container_takes_what_the_function_may_take() -> None:
    document = pod(spec(limits=Resources(memory="16Mi", cpu="500m"), requests=Resources(memory="16Mi")))
    [helper] = document["initContainers"]
    assert helper["resources"] == {"limits": {"cpu": "500m", "memory": "64Mi"}, "requests": {"memory": "64Mi"}}


def test_how_images_are_pulled_is_said_where_it_is_set() -> None:
    shape = Shape(
        installation="lab", watchdog_image="penstock:1", pull_policy="Always", watchdog_pull_policy="IfNotPresent"
    )
    document = pod(spec(), shape=shape)
    assert document["containers"][0]["imagePullPolicy"] == "Always"
    assert document["initContainers"][0]["imagePullPolicy"] == "IfNotPresent"
    document = pod(spec())
    assert not any("imagePullPolicy" in each for each in document["containers"] + document["initContainers"])


# The rest


@pytest.mark.parametrize(
    ("variables", "seconds"),
    [
        ({}, 35),
        ({"write_timeout": "2m"}, 125),
        ({"write_timeout": "10s", "exec_timeout": "60"}, 65),
        ({"exec_timeout": "1500ms"}, 35),
        ({"write_timeout": "soon"}, 35),
    ],
)
def test_a_pod_may_take_longer_to_end_than_a_request(variables: dict[str, str], seconds: int) -> None:
    assert pod(spec(env_vars=variables))["terminationGracePeriodSeconds"] == seconds


def test_pods_have_no_token_unless_an_account_is_named() -> None:
    document = pod(spec())
    assert (document["serviceAccountName"], document["automountServiceAccountToken"]) == ("function-echo", False)
    document = pod(spec(annotations={"com.openfaas.serviceaccount": "reader"}))
    assert (document["serviceAccountName"], document["automountServiceAccountToken"]) == ("reader", True)


def test_pods_are_not_told_of_other_services() -> None:
    assert pod(spec())["enableServiceLinks"] is False


def test_the_port_is_that_of_the_watchdog() -> None:
    assert container(spec(env_vars={"port": "9000"}))["ports"] == [
        {"name": "http", "containerPort": 9000, "protocol": "TCP"}
    ]


def test_nothing_of_the_node_is_in_reach() -> None:
    document = pod(spec(read_only_root=True, secrets=("token",), labels={"com.penstock.capabilities": "CHOWN"}))
    assert not {"hostNetwork", "hostPID", "hostIPC", "hostUsers"} & document.keys()
    assert all({"emptyDir", "projected"} & volume.keys() for volume in document["volumes"])
    assert not any("privileged" in each["securityContext"] for each in document["containers"])
    assert SHAPE.user == 12000
