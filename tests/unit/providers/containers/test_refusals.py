"""Why a pull failed, from what engines really say (Docker 20.10 to 27)."""

from __future__ import annotations

import pytest

from penstock.providers.containers.credentials import Login
from penstock.providers.containers.reference import parse
from penstock.providers.containers.refusals import refusal_of

UNKNOWN = Login()


@pytest.mark.parametrize(
    ("message", "cause"),
    [
        ("manifest for a/b:1 not found: manifest unknown: manifest unknown", "missing"),
        ("manifest unknown: manifest unknown", "missing"),
        ("name unknown: repository name not known to registry", "missing"),
        (
            "pull access denied for a/b, repository does not exist or may require 'docker login': denied: requested access "
            "to the resource is denied",
            "login",
        ),
        ('Head "http://r:5000/v2/a/b/manifests/1": no basic auth credentials', "login"),
        ('Head "http://r:5000/v2/a/b/manifests/1": unauthorized: authentication required', "login"),
        ("toomanyrequests: You have reached your pull rate limit.", "limit"),
        ("failed to register layer: write /bin/x: no space left on device", "space"),
        ("write /var/lib/docker/tmp/GetImageBlob1: no space left on device", "space"),
        ("no matching manifest for linux/amd64 in the manifest list entries", "platform"),
        ('image operating system "windows" cannot be used on this platform', "platform"),
        ('Get "https://r:5000/v2/": http: server gave HTTP response to HTTPS client', "insecure"),
        ('Get "https://r/v2/": x509: certificate signed by unknown authority', "certificate"),
        ('Get "http://r:1/v2/": dial tcp 127.0.0.1:1: connect: connection refused', "unreachable"),
        ('Get "https://r/v2/": dial tcp: lookup r on 1.1.1.1:53: no such host', "unreachable"),
        (
            'Get "https://r/v2/": net/http: request canceled while waiting for connection (Client.Timeout exceeded while '
            "awaiting headers)",
            "unreachable",
        ),
        ('Get "https://r/v2/": net/http: TLS handshake timeout', "unreachable"),
        ('Get "https://r/v2/": EOF', "unreachable"),
        ("unexpected EOF", "unreachable"),
        ("filesystem layer verification failed for digest sha256:0", "other"),
        ("", "other"),
    ],
)
def test_the_cause_is_known_by_the_engines_words(message: str, cause: str) -> None:
    assert refusal_of(parse("a/b:1"), message, UNKNOWN).cause == cause


def test_a_name_that_reads_like_a_cause_is_none() -> None:
    reference = parse("x509/unauthorized:denied")
    message = f"manifest for {reference} not found: manifest unknown: manifest unknown"
    assert refusal_of(reference, message, UNKNOWN).cause == "missing"


def test_the_words_name_image_registry_cause_remedy_and_what_was_said() -> None:
    message = 'Get "http://r:5000/v2/": dial tcp 10.0.0.1:5000: connect: connection refused'
    assert refusal_of(parse("r:5000/a/b:1"), message, UNKNOWN).text == (
        "image r:5000/a/b:1 cannot be pulled: r:5000 cannot be reached from the engine's machine; check its address, the "
        f"network and the engine's proxy settings; the next try comes by itself (the engine says: {message})"
    )


def test_a_platform_is_named() -> None:
    refusal = refusal_of(parse("a/b"), "no matching manifest for linux/arm64/v8", UNKNOWN, "linux/arm64")
    assert "build it for linux/arm64" in refusal.text


def test_without_a_login_one_is_advised() -> None:
    text = refusal_of(parse("ghcr.io/a/b"), "unauthorized", Login(trouble="/root/.docker/config.json is no JSON")).text
    assert "none is known (/root/.docker/config.json is no JSON)" in text
    assert "docker login ghcr.io" in text


def test_a_login_that_does_not_help_is_named_without_its_secret() -> None:
    login = Login(header="c2VjcmV0", user="{registry} %s")
    text = refusal_of(parse("ghcr.io/a/b"), "unauthorized", login).text
    assert "the login of" in text
    assert "c2VjcmV0" not in text


def test_somebody_elses_words_are_shown_in_one_short_line_without_control_characters() -> None:
    text = refusal_of(parse("a/b"), "\x1b[2Jbad\r\n\tthings {registry}" + "x" * 100_000, UNKNOWN).text
    assert text.isprintable()
    assert len(text) < 1000
