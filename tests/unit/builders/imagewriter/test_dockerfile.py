"""Dockerfiles cut into instructions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.builders.imagewriter.dockerfile import LONGEST, base_images, parse
from penstock.errors import InvalidInput


def names(text: str) -> list[tuple[int, str, str]]:
    return [(each.line, each.name, each.rest) for each in parse(text).instructions]


def test_comments_empty_lines_and_continued_lines() -> None:
    text = "# a comment\n\nfrom  busybox\n  # another\nENV A=1 \\\n\n  # inside\n    B=2\nCMD x # no comment\n"
    assert names(text) == [(3, "FROM", "busybox"), (5, "ENV", "A=1     B=2"), (9, "CMD", "x # no comment")]


def test_line_ends_of_windows_and_a_byte_order_mark() -> None:
    assert names("\ufeffFROM a\r\nENV A=1 \\\r\n B=2\r\n") == [(1, "FROM", "a"), (2, "ENV", "A=1  B=2")]


def test_the_escape_directive() -> None:
    file = parse("# syntax=docker/dockerfile:1\n# escape=`\nFROM a\nENV A=C:\\ `\n  B=2\n")
    assert file.escape == "`"
    assert file.instructions[1].rest == "A=C:\\   B=2"


def test_a_directive_below_an_instruction_is_a_comment() -> None:
    assert parse("FROM a\n# escape=`\n").escape == "\\"


def test_flags() -> None:
    [copy] = parse("COPY --from=build --link --chown=1:2 a b\n").instructions
    assert copy.flags == {"from": "build", "link": "true", "chown": "1:2"}
    assert copy.rest == "a b"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("FROM a\n!!\n", r"Dockerfile:2: '!!' is no instruction"),
        ("# escape=x\nFROM a\n", "Dockerfile:1: escape='x'"),
        ("FROM a\nCOPY <<EOF /x\nhello\nEOF\n", "Dockerfile:2: COPY: here-documents"),
        ("FROM a\n\0", "zero byte"),
        ("#" * (LONGEST + 1), "longer than"),
    ],
    ids=["no-instruction", "escape", "here-document", "binary", "long"],
)
def test_what_cannot_be_read_is_named_with_its_line(text: str, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        parse(text)


def test_base_images_are_those_of_no_stage() -> None:
    text = "ARG W=own:latest\nARG BASE=debian\nFROM ${W} AS watchdog\nFROM ${BASE}-slim AS a\nFROM A\nFROM scratch\nFROM $W\n"
    assert base_images(text, {"BASE": "alpine"}) == ["own:latest", "alpine-slim"]


@given(st.text())
def test_any_text_is_read_or_refused_with_a_sentence(text: str) -> None:
    try:
        base_images(text, {})
    except InvalidInput as error:
        assert str(error).startswith("Dockerfile:")


@given(st.text(alphabet="FROM ARGCOPY\\\n\"'${}:-+=#` ab", max_size=200))
def test_what_looks_like_a_dockerfile_too(text: str) -> None:
    try:
        base_images(text, {"A": "$B", "B": "${A}"})
    except InvalidInput as error:
        assert str(error).startswith("Dockerfile:")
