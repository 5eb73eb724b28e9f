"""Build arguments that a Dockerfile takes, and those that change nothing."""

from __future__ import annotations

import pytest

from penstock.builders.arguments import takes, tell_of_unknown
from tests.unit.builders.requests import request


@pytest.mark.parametrize(
    "dockerfile",
    [
        "ARG NAME\n",
        "arg NAME=x\n",
        "  ARG NAME=x\r\n",
        "ARG OTHER=1 NAME=x\n",
        "ARG NAME",
        "FROM x\nARG OTHER \\\n    NAME=1\n",
        "ARG OTHER \\\n# a comment\n    NAME=1\n",
    ],
)
def test_a_name_that_is_taken(dockerfile: str) -> None:
    assert takes(dockerfile, "NAME")


@pytest.mark.parametrize(
    "dockerfile", ["", "ARG NAMES=x\n", "ARG A_NAME\n", "ENV NAME=x\n", "ARG name=x\n", "# ARG NAME=x\n", "RUN ARG\n"]
)
def test_a_name_that_is_not(dockerfile: str) -> None:
    assert not takes(dockerfile, "NAME")


def test_who_mistypes_a_name_is_told() -> None:
    told: list[str] = []
    given = {"NAME": "1", "NMAE": "1", "a.*(": "1", "ADDITIONAL_PACKAGE": "", "HTTP_PROXY": "x", "TARGETARCH": "arm64"}
    tell_of_unknown(request(None, build_args=given), "ARG NAME\n", told.append)
    assert told == [
        f"Warning: the build argument {name} changes nothing, for the Dockerfile has no ARG of that name"
        for name in ("NMAE", "a.*(")
    ]
