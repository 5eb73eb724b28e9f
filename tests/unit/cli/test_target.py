"""Which gateway, and as whom."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from penstock.cli.config import config_path, save_login
from penstock.cli.target import DEFAULT_GATEWAY, Target, authorization_for, gateway_url
from penstock.errors import InvalidInput


def test_flag_then_our_variable_then_theirs_then_the_default() -> None:
    both = {"PENSTOCK_URL": "http://ours", "OPENFAAS_URL": "http://theirs"}
    assert gateway_url("http://flag", both) == "http://flag"
    assert gateway_url(None, both) == "http://ours"
    assert gateway_url(None, {"OPENFAAS_URL": "http://theirs"}) == "http://theirs"
    assert gateway_url(None, {"PENSTOCK_URL": ""}) == DEFAULT_GATEWAY


def test_the_default_given_as_a_flag_beats_the_environment() -> None:
    assert gateway_url(DEFAULT_GATEWAY, {"OPENFAAS_URL": "http://theirs"}) == DEFAULT_GATEWAY


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("localhost:9000", "http://localhost:9000"),
        ("HTTPS://Faas.Example.COM/Team/Path/", "https://faas.example.com/Team/Path"),
        ("http://[::1]:8080/", "http://[::1]:8080"),
        (" http://host \n", "http://host"),
    ],
)
def test_urls_are_completed_but_their_path_is_kept(text: str, url: str) -> None:
    assert gateway_url(text, {}) == url


@pytest.mark.parametrize(
    "text",
    ["ftp://host", "http://", "http://host:port", "http://host:0", "http://host:99999", "http://h?q=1", "http://h#f",
     "unix:///run/x", "http://user:pw@host", "http://[::1"],
)  # fmt: skip
def test_what_is_no_gateway_url_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        gateway_url(text, {})


@pytest.mark.parametrize(
    ("url", "loopback"),
    [("http://127.0.0.1:1", True), ("http://127.9.9.9", True), ("http://[::1]:1", True), ("http://localhost", True),
     ("http://localhost.evil.example", False), ("http://127.0.0.1.evil.example", False), ("http://10.0.0.1", False)],
)  # fmt: skip
def test_only_this_machine_is_loopback(url: str, loopback: bool) -> None:
    assert Target(url).loopback is loopback
    assert Target(url).plaintext is not loopback


def write_password(home: Path) -> None:
    (home / "auth").mkdir(parents=True)
    (home / "auth" / "basic-auth-user").write_text("admin\n")
    (home / "auth" / "basic-auth-password").write_text("s3cr3t\n")


LOCAL = "Basic " + base64.b64encode(b"admin:s3cr3t").decode()


def test_on_this_machine_the_servers_own_password_file_is_enough(tmp_path: Path) -> None:
    write_password(tmp_path / "home")
    environ = {"PENSTOCK_HOME": str(tmp_path / "home")}
    assert authorization_for("http://127.0.0.1:9999", None, environ) == LOCAL
    assert authorization_for("http://example.com", None, environ) == ""


def test_the_default_home_is_looked_into(tmp_path: Path) -> None:
    write_password(tmp_path / "user" / ".penstock")
    assert authorization_for("http://localhost:8080", None, {}) == LOCAL


def test_without_that_file_nothing_is_sent() -> None:
    assert authorization_for("http://127.0.0.1:8080", None, {"PENSTOCK_HOME": "/nonexistent"}) == ""


def test_token_beats_saved_login_beats_password_file(tmp_path: Path) -> None:
    write_password(tmp_path / "home")
    environ = {"PENSTOCK_HOME": str(tmp_path / "home")}
    save_login(config_path(environ), "http://127.0.0.1:8080", "c2F2ZWQ=")
    assert authorization_for("http://127.0.0.1:8080", None, environ) == "Basic c2F2ZWQ="
    assert authorization_for("http://127.0.0.1:8080", "jwt", environ) == "Bearer jwt"


@pytest.mark.parametrize("token", ["a\nb", "a\x00", "ä"])
def test_a_token_that_no_header_can_carry_is_refused(token: str) -> None:
    with pytest.raises(InvalidInput):
        authorization_for("http://127.0.0.1:8080", token, {})
