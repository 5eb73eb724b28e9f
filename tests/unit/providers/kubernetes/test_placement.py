"""Constraints of a function, and the nodes that they mean."""

from __future__ import annotations

import pytest

from penstock.errors import InvalidInput
from penstock.providers.kubernetes.placement import Placement, placement_of, with_expressions
from tests.unit.providers.kubernetes.objects import pod, spec


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("disk=ssd", "disk", "ssd"),
        ("disk==ssd", "disk", "ssd"),
        (" disk == ssd\n", "disk", "ssd"),
        ("example.com/Pool=a_b.c", "example.com/Pool", "a_b.c"),
        ("gpu=", "gpu", ""),
        ("node.labels.disk==ssd", "disk", "ssd"),
        ("node.labels.example.com/pool == x", "example.com/pool", "x"),
        ("node.hostname==one", "kubernetes.io/hostname", "one"),
        ("node.platform.os == linux", "kubernetes.io/os", "linux"),
        ("node.platform.arch==x86_64", "kubernetes.io/arch", "amd64"),
        ("kubernetes.io/arch=aarch64", "kubernetes.io/arch", "arm64"),
        ("kubernetes.io/arch=arm64", "kubernetes.io/arch", "arm64"),
    ],
)
def test_a_label_with_a_value(text: str, key: str, value: str) -> None:
    assert placement_of([text]) == Placement({key: value}, ())
    assert pod(spec(constraints=(text,)))["nodeSelector"] == {key: value}


@pytest.mark.parametrize(
    ("text", "expression"),
    [
        ("disk!=ssd", {"key": "disk", "operator": "NotIn", "values": ["ssd"]}),
        ("node.labels.disk != ssd", {"key": "disk", "operator": "NotIn", "values": ["ssd"]}),
        ("node.role==worker", {"key": "node-role.kubernetes.io/control-plane", "operator": "DoesNotExist"}),
        ("node.role!=manager", {"key": "node-role.kubernetes.io/control-plane", "operator": "DoesNotExist"}),
        ("node.role==manager", {"key": "node-role.kubernetes.io/control-plane", "operator": "Exists"}),
    ],
)
def test_what_a_node_shall_not_have(text: str, expression: dict[str, object]) -> None:
    assert placement_of([text]).expressions == (expression,)
    required = pod(spec(constraints=(text,)))["affinity"]["nodeAffinity"]
    assert required == {
        "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}
    }


def test_without_constraints_pods_run_anywhere() -> None:
    assert not {"nodeSelector", "affinity"} & pod(spec()).keys()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "must be KEY=VALUE"),
        ("disk", "must be KEY=VALUE"),
        ("=ssd", "must be KEY=VALUE"),
        ("disk=a b", "must be KEY=VALUE"),
        ("disk>1", "must be KEY=VALUE"),
        ("disk=" + "x" * 2000, "must be KEY=VALUE"),
        ("disk=" + "x" * 64, "no label has the value"),
        ("disk=-x", "no label has the value"),
        ("-disk=x", "cannot be the name of a label"),
        ("a/b/c=x", "cannot be the name of a label"),
        ("node.labels.=x", "cannot be the name of a label"),
        ("node.id==abc", "have no node.id"),
        ("engine.labels.disk==ssd", r"have no engine\.labels\.disk"),
        ("node.role==boss", "manager or worker"),
    ],
)
def test_what_cannot_be_asked_of_a_cluster_is_refused(text: str, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        placement_of([text])


def test_one_label_with_two_values_never_holds() -> None:
    with pytest.raises(InvalidInput, match="cannot be 'ssd' and 'hdd' at once"):
        placement_of(["disk=ssd", "node.labels.disk==hdd"])
    assert placement_of(["disk=ssd", "disk==ssd"]).selector == {"disk": "ssd"}


def test_every_alternative_of_an_affinity_gets_what_must_hold() -> None:
    kept = {"podAntiAffinity": {"x": 1}}
    terms = [{"matchExpressions": [{"key": "a", "operator": "Exists"}]}, {"matchFields": [{"key": "b"}]}]
    given = {**kept, "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}
    added = {"key": "disk", "operator": "NotIn", "values": ["ssd"]}
    assert with_expressions(given, [added]) == {
        **kept,
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [
                    {"matchExpressions": [{"key": "a", "operator": "Exists"}, added]},
                    {"matchFields": [{"key": "b"}], "matchExpressions": [added]},
                ]
            }
        },
    }
    assert with_expressions(given, []) == given
