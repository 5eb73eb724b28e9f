"""References to images: Docker's defaults, and what no reference may be."""

from __future__ import annotations

import pytest

from penstock.errors import InvalidInput
from penstock.providers.containers.reference import Reference, parse

DIGEST = "sha256:" + "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("text", "registry", "repository", "tag"),
    [
        ("nginx", "docker.io", "library/nginx", "latest"),
        ("nginx:1.27-alpine", "docker.io", "library/nginx", "1.27-alpine"),
        ("openfaas/figlet", "docker.io", "openfaas/figlet", "latest"),
        ("docker.io/nginx", "docker.io", "library/nginx", "latest"),
        ("index.docker.io/openfaas/figlet", "docker.io", "openfaas/figlet", "latest"),
        ("ghcr.io/openfaas/figlet:latest", "ghcr.io", "openfaas/figlet", "latest"),
        ("localhost/echo", "localhost", "echo", "latest"),
        ("localhost:5000/a/b/c:1", "localhost:5000", "a/b/c", "1"),
        ("10.0.0.1:5000/echo", "10.0.0.1:5000", "echo", "latest"),
        ("REGISTRY/echo", "REGISTRY", "echo", "latest"),
        ("a__b/c-d.e", "docker.io", "a__b/c-d.e", "latest"),
    ],
)
def test_what_is_left_out_is_filled_in_as_docker_does(text: str, registry: str, repository: str, tag: str) -> None:
    assert parse(text) == Reference(registry, repository, tag)


def test_a_digest_needs_no_tag() -> None:
    assert parse(f"nginx@{DIGEST}") == Reference("docker.io", "library/nginx", "", DIGEST)


def test_a_digest_wins_over_a_tag() -> None:
    reference = parse(f"ghcr.io/a/b:1@{DIGEST}")
    assert reference.version == DIGEST
    assert reference.exact == f"ghcr.io/a/b@{DIGEST}"
    assert str(reference) == f"ghcr.io/a/b:1@{DIGEST}"


@pytest.mark.parametrize("text", ["nginx:1", "openfaas/figlet:latest", "ghcr.io/a/b:c", f"localhost:5000/x@{DIGEST}"])
def test_a_reference_is_shown_as_people_write_it(text: str) -> None:
    assert str(parse(text)) == text
    assert parse(str(parse(text))) == parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "Nginx",
        "nginx ",
        "nginx\n",
        "nginx:1\n",
        "nginx:",
        "nginx:-1",
        "nginx:a/b",
        "nginx@",
        "nginx@sha256:12",
        f"nginx@{DIGEST}x",
        f"nginx@{DIGEST.upper()}",
        f"nginx@md5:{'0' * 32}",
        f"nginx@{DIGEST}@{DIGEST}",
        "../../info",
        "a/../b",
        "a//b",
        "/nginx",
        "nginx/",
        "a/./b",
        "nginx?all=1",
        "nginx#x",
        "nginx%2f..",
        "nginx/json?x=",
        "user:password@host/x",
        "http://localhost:5000/x",
        "local_host.x:5000/y",
        "localhost:0/x",
        "localhost:99999/x",
        "localhost:5000000/x",
        "localhost:٣/x",
        "-a.example/x",
        "[::1]:5000/x",
        "nginx\x00",
        "ng\u0131nx",
        "a" * 256,
        "nginx:" + "a" * 129,
        "0" * 64,
        DIGEST,
        "$(reboot)",
        "`x`",
        "a;b",
        "--help",
    ],
)
def test_what_cannot_name_an_image_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"^image: "):
        parse(text)


def test_a_refusal_shows_hostile_text_escaped_and_short() -> None:
    with pytest.raises(InvalidInput) as refusal:
        parse("\x1b[2J\n" + "x" * 100_000)
    assert "\x1b" not in str(refusal.value)
    assert len(str(refusal.value)) < 1000


def test_long_names_of_separators_are_judged_at_once() -> None:
    with pytest.raises(InvalidInput):
        parse("a" + "-" * 100_000 + "!")
