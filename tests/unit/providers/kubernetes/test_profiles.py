"""Profiles: found by name, read from two kinds of objects, put on pods."""

from __future__ import annotations

from typing import Any

import pytest

from penstock.errors import InvalidInput
from penstock.model import Resources
from penstock.providers.kubernetes.profiles import MOST, Profile, combined, missing, read, wanted
from tests.unit.providers.kubernetes.objects import made, pod, spec

GPU = {"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}
SPOT = {"key": "spot", "operator": "Exists"}


def resource(fields: Any, name: str = "gpu") -> dict[str, Any]:
    return {"apiVersion": "openfaas.com/v1", "kind": "Profile", "metadata": {"name": name}, "spec": fields}


LABELLED = {"name": "gpu", "labels": {"com.penstock.kind": "profile", "team": "blue"}}


def configmap(text: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": LABELLED, "data": {"profile": text}}


def profile(**fields: Any) -> Profile:
    return Profile("gpu", fields)


def named(text: str) -> dict[str, Any]:
    return {"annotations": {"com.openfaas.profile": text}}


# Names


@pytest.mark.parametrize(
    ("text", "names"),
    [("gpu", ("gpu",)), ("gpu,spot", ("gpu", "spot")), (" spot , gpu,,spot", ("spot", "gpu")), ("", ()), (" , ", ())],
)
def test_a_function_names_its_profiles(text: str, names: tuple[str, ...]) -> None:
    assert wanted(spec(**named(text))) == names
    assert wanted(spec()) == ()


@pytest.mark.parametrize("text", ["A", "a b", "../a", "a/b", "é", "a\nb", "x" * 254])
def test_a_name_that_no_profile_can_have_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="cannot be the name of a profile"):
        wanted(spec(**named(text)))


def test_a_function_has_a_limited_number_of_profiles() -> None:
    with pytest.raises(InvalidInput, match="names 17 profiles"):
        wanted(spec(**named(",".join(f"p{number}" for number in range(MOST + 1)))))


def test_a_profile_that_was_not_found_is_said_with_how_to_make_it() -> None:
    function = spec(**named("gpu,spot"))
    error = missing(function, [Profile("gpu", {})], "penstock")
    assert isinstance(error, InvalidInput)
    assert "no profile 'spot' in namespace 'penstock'" in str(error) and "com.penstock.kind=profile" in str(error)
    assert missing(function, [Profile("gpu", {}), Profile("spot", {})], "penstock") is None
    assert missing(spec(), [], "penstock") is None


# Objects


def test_both_kinds_of_objects_say_the_same() -> None:
    text = "tolerations:\n- key: gpu\n  operator: Exists\n  effect: NoSchedule\nruntimeClassName: gvisor\n"
    same = {"tolerations": [GPU], "runtimeClassName": "gvisor"}
    assert read(configmap(text)) == read(resource(same)) == Profile("gpu", same)
    assert read(configmap('{"runtimeClassName": "gvisor"}')).fields == {"runtimeClassName": "gvisor"}


def test_what_is_empty_says_nothing() -> None:
    assert read(resource({"tolerations": [], "affinity": None, "dnsPolicy": ""})) == Profile("gpu", {})
    assert read(resource(None)) == read(configmap("")) == Profile("gpu", {})


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (resource({"hostNetwork": True}), "has no field 'hostNetwork'"),
        (resource({"tolerations": {}}), "tolerations must be a list of mappings"),
        (resource({"tolerations": ["gpu"]}), "tolerations must be a list of mappings"),
        (resource({"affinity": "x"}), "affinity must be a mapping"),
        (resource({"dnsPolicy": 1}), "dnsPolicy must be a text"),
        (resource({"resources": {"limits": []}}), "resources must be limits and requests"),
        (resource({"resources": {"limits": {"cpu": None}}}), "resources must be limits and requests"),
        (resource({"resources": {"claims": {}}}), "resources must be limits and requests"),
        (resource(["x"]), "must be a mapping of"),
        (configmap("- x"), "must be a mapping of"),
        (configmap("just words"), "must be a mapping of"),
        (configmap("1: x"), "has no field '1'"),
        (configmap("a: [b"), "cannot be read as YAML"),
        (configmap("a: !!python/object:os.system x"), "cannot be read as YAML"),
        (configmap("dnsPolicy: 2026-99-99"), "cannot be read as YAML"),
        (configmap("a: &a [1]\nb: *a"), "refers to other parts of itself"),
        (configmap("x" * 16_385), "at most 16384 are read"),
        ({"metadata": LABELLED, "data": {"other": ""}}, "has no key 'profile'"),
        ({"metadata": LABELLED, "data": None}, "has no key 'profile'"),
        ({"metadata": LABELLED, "kind": "ConfigMap"}, "has no key 'profile'"),
        ({"metadata": {"name": "gpu"}, "data": {"profile": "dnsPolicy: Default"}}, "has not the label"),
        ({"metadata": {"name": "gpu", "labels": None}, "kind": "ConfigMap"}, "has not the label"),
        ({"metadata": {"name": "gpu", "labels": {"com.penstock.kind": "lease"}}, "data": {}}, "has not the label"),
    ],
)
def test_a_profile_that_cannot_be_used_is_refused_by_name(document: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidInput, match=f"^profile gpu: .*{words}"):
        read(document)


@pytest.mark.parametrize("text", ["a: " + "[" * 16_000, "- " * 8_000, "? " * 8_000, "a: " + "[" * 33 + "]" * 33])
def test_depth_without_end_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"nested more than 32 deep|cannot be read as YAML"):
        read(configmap(text))


# Together


def test_of_several_profiles_lists_add_up_and_the_last_word_counts() -> None:
    first = profile(tolerations=[GPU], runtimeClassName="a", nodeSelector={"x": "1", "y": "1"})
    second = profile(tolerations=[GPU, SPOT], runtimeClassName="b", nodeSelector={"y": "2"})
    assert combined([first, second]) == {
        "tolerations": [GPU, SPOT],
        "runtimeClassName": "b",
        "nodeSelector": {"x": "1", "y": "2"},
    }
    assert first.fields["tolerations"] == [GPU]


def test_resources_of_several_profiles_add_up_by_kind() -> None:
    first = profile(resources={"limits": {"cpu": 1, "gpu.example.com/a": 1}})
    second = profile(resources={"limits": {"cpu": "2"}, "requests": {"cpu": "1"}})
    assert combined([first, second])["resources"] == {
        "limits": {"cpu": "2", "gpu.example.com/a": "1"},
        "requests": {"cpu": "1"},
    }


def test_a_strategy_is_taken_whole() -> None:
    first = profile(strategy={"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "50%"}})
    document = made(spec(), profiles=[first, profile(strategy={"type": "Recreate"})])
    assert document["spec"]["strategy"] == {"type": "Recreate"}


# On pods


def test_all_that_a_profile_can_say_is_on_the_pod() -> None:
    affinity: dict[str, Any] = {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}}
    document = pod(
        spec(),
        profiles=[
            profile(
                affinity=affinity,
                dnsConfig={"options": [{"name": "ndots", "value": "1"}]},
                dnsPolicy="None",
                nodeSelector={"disk": "ssd"},
                podSecurityContext={"fsGroup": 3000},
                priorityClassName="high",
                resources={"limits": {"nvidia.com/gpu": 1}},
                runtimeClassName="gvisor",
                tolerations=[GPU],
                topologySpreadConstraints=[
                    {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"},
                ],
            )
        ],
    )
    assert document["affinity"] == affinity
    assert (document["dnsPolicy"], document["priorityClassName"], document["runtimeClassName"]) == (
        "None",
        "high",
        "gvisor",
    )
    assert document["dnsConfig"] == {"options": [{"name": "ndots", "value": "1"}]}
    assert document["nodeSelector"] == {"disk": "ssd"}
    assert document["securityContext"]["fsGroup"] == 3000 and document["securityContext"]["runAsNonRoot"] is True
    assert document["containers"][0]["resources"] == {"limits": {"nvidia.com/gpu": "1"}}
    assert document["tolerations"] == [GPU]
    assert document["topologySpreadConstraints"] == [
        {
            "labelSelector": {"matchLabels": {"faas_function": "echo"}},
            "maxSkew": 1,
            "topologyKey": "zone",
            "whenUnsatisfiable": "ScheduleAnyway",
        }
    ]


def test_the_function_has_the_last_word_about_its_amounts_and_nodes() -> None:
    document = pod(
        spec(constraints=("disk=hdd", "zone!=a"), limits=Resources(memory="64Mi")),
        profiles=[
            profile(
                nodeSelector={"disk": "ssd", "pool": "x"},
                resources={"limits": {"memory": "1Gi", "cpu": "1"}},
                affinity={
                    "nodeAffinity": {
                        "requiredDuringSchedulingIgnoredDuringExecution": {
                            "nodeSelectorTerms": [{"matchExpressions": [{"key": "k", "operator": "Exists"}]}]
                        }
                    }
                },
            )
        ],
    )
    assert document["nodeSelector"] == {"disk": "hdd", "pool": "x"}
    assert document["containers"][0]["resources"] == {"limits": {"memory": "64Mi", "cpu": "1"}}
    assert document["initContainers"][0]["resources"] == {"limits": {"memory": "64Mi", "cpu": "1"}}
    [term] = document["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    assert [expression["key"] for expression in term["matchExpressions"]] == ["k", "zone"]


def test_a_selector_of_a_topology_is_left_as_it_is() -> None:
    own = {
        "maxSkew": 1,
        "topologyKey": "zone",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": {"team": "blue"}},
    }
    assert pod(spec(), profiles=[profile(topologySpreadConstraints=[own])])["topologySpreadConstraints"] == [own]


def test_a_profile_is_not_changed_by_its_use() -> None:
    used = profile(tolerations=[GPU], resources={"limits": {"cpu": 1}}, affinity={"nodeAffinity": {}})
    pod(spec(constraints=("zone!=a",), limits=Resources(cpu="2")), profiles=[used, used])
    assert used.fields == {
        "tolerations": [GPU],
        "resources": {"limits": {"cpu": 1}},
        "affinity": {"nodeAffinity": {}},
    }
