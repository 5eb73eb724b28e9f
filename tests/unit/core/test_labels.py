"""Labels of ours: known ones pass, others are refused with advice, and the documentation has all of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from penstock.core import topics
from penstock.core.labels import KNOWN, check_labels
from penstock.errors import InvalidInput
from penstock.examples import PACKAGE_ANNOTATION, PROGRAM_ANNOTATION
from penstock.providers.containers import labels

TREE = Path(__file__).parents[3]
ANNOTATIONS = {PACKAGE_ANNOTATION, PROGRAM_ANNOTATION} | topics.KNOWN
LITERAL = re.compile(r'"(com\.penstock\.[a-z._-]+[a-z])"')


def named(*patterns: str) -> set[str]:
    """Labels of ours that stand in files of the tree."""
    return {label for pattern in patterns for path in TREE.glob(pattern) for label in LITERAL.findall(path.read_text())}


WRITTEN = (
    {labels.OWNER, labels.KIND, labels.FUNCTION, labels.ORDER}
    | named("src/penstock/providers/swarm/marks.py")
    | (named("src/penstock/providers/kubernetes/*.py") - KNOWN)
)
"""What providers write on what is theirs."""


@pytest.mark.parametrize("name", sorted(KNOWN))
def test_a_known_label_passes_whatever_its_value(name: str) -> None:
    check_labels({name: "?"})


@pytest.mark.parametrize("name", ["a", "com.openfaas.scale.max", "com.penstockish.x", "penstock", "com.penstock", ""])
def test_labels_of_others_are_theirs(name: str) -> None:
    check_labels({name: "x"})


@pytest.mark.parametrize(
    ("slip", "meant"),
    [
        ("com.penstock.timout", "com.penstock.timeout"),
        ("com.penstock.max_inflight", "com.penstock.max-inflight"),
        ("com.penstock.Timeout", "com.penstock.timeout"),
        ("COM.PENSTOCK.ZERO", "com.penstock.zero"),
        ("com.penstock.http_port", "com.penstock.http-port"),
        ("com.penstock.limits.open-files", "com.penstock.limit.open-files"),
    ],
)
def test_a_slip_is_refused_with_what_was_meant(slip: str, meant: str) -> None:
    with pytest.raises(InvalidInput, match=rf"did you mean {re.escape(meant)}\?"):
        check_labels({slip: "1"})


def test_what_resembles_nothing_is_answered_with_all_there_are() -> None:
    with pytest.raises(InvalidInput) as caught:
        check_labels({"com.penstock.cheese-and-wine": "1"})
    assert all(name in str(caught.value) for name in KNOWN)


@pytest.mark.parametrize("name", sorted(WRITTEN))
def test_labels_by_which_containers_are_known_cannot_be_given(name: str) -> None:
    with pytest.raises(InvalidInput, match="functions have no label"):
        check_labels({name: "x"})


def test_a_hostile_name_is_told_escaped_and_shortened() -> None:
    with pytest.raises(InvalidInput) as caught:
        check_labels({"com.penstock.\n\x1b[2J" + "x" * 10_000: "1"})
    assert "\n" not in str(caught.value)
    assert "\x1b" not in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_every_label_of_the_source_is_one_that_is_given_or_written() -> None:
    """Whoever adds a label that users give adds it to `KNOWN` and to docs/reference/labels.md."""
    source = named("src/**/*.py") - named("src/penstock/testing/*.py")
    assert source - KNOWN - WRITTEN - ANNOTATIONS == set()


def test_every_label_of_the_list_is_read_somewhere() -> None:
    rooms = ("src/penstock/providers/**/*.py", "src/penstock/core/policy.py", "src/penstock/core/scalelabels.py")
    assert named(*rooms) >= KNOWN


def test_the_documentation_has_every_label() -> None:
    page = (TREE / "docs/reference/labels.md").read_text()
    assert {label for label in KNOWN | ANNOTATIONS if f"`{label}`" not in page} == set()
