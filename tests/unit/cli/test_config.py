"""The saved logins: shared with faas-cli, private, never half written."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
import yaml

from penstock.cli import config
from penstock.cli.config import MAX_BYTES, basic_token, config_path, remove_login, save_login, saved_authorization
from penstock.errors import PenstockError

URL = "http://127.0.0.1:8080"


def test_the_path_is_faas_clis(tmp_path: Path) -> None:
    assert config_path({}) == str(tmp_path / "user" / ".openfaas" / "config.yml")
    assert config_path({"OPENFAAS_CONFIG": "/etc/faas"}) == "/etc/faas/config.yml"


def test_file_and_directory_are_private(tmp_path: Path) -> None:
    path = tmp_path / "new" / "config.yml"
    save_login(path, URL, basic_token("admin", "pw"))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert os.listdir(path.parent) == ["config.yml"]


def test_a_loose_file_becomes_private_when_written(tmp_path: Path) -> None:
    path = tmp_path / "config.yml"
    path.write_text("auths: []\n")
    path.chmod(0o644)
    save_login(path, URL, "dG9r")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_basic_and_a_bearer_login_are_read(tmp_path: Path) -> None:
    path = tmp_path / "config.yml"
    path.write_text(
        "auths:\n- gateway: http://a:1\n  auth: basic\n  token: YWRtaW46cHc=\n"
        "- gateway: http://b:1\n  auth: oauth2\n  token: jwt\n  options: []\n"
    )
    assert saved_authorization(path, "http://a:1") == "Basic YWRtaW46cHc="
    assert saved_authorization(path, "http://b:1") == "Bearer jwt"
    assert saved_authorization(path, "http://c:1") == ""


def test_a_login_saved_in_lower_case_or_with_a_slash_is_found(tmp_path: Path) -> None:
    path = tmp_path / "config.yml"
    path.write_text("auths:\n- {gateway: 'http://host/faas/', auth: basic, token: dA==}\n")
    assert saved_authorization(path, "http://host/FaaS") == "Basic dA=="


def test_unknown_keys_and_other_logins_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "config.yml"
    before = {
        "auths": [{"gateway": "http://other", "auth": "oauth2", "token": "t", "options": [{"name": "x"}]}],
        "more": {"a": 1},
    }
    path.write_text(yaml.safe_dump(before))
    save_login(path, URL, "dG9r")
    save_login(path, URL, "bmV3")
    after = yaml.safe_load(path.read_text())
    assert after["more"] == {"a": 1}
    assert after["auths"] == [*before["auths"], {"gateway": URL, "auth": "basic", "token": "bmV3"}]
    assert remove_login(path, URL)
    assert yaml.safe_load(path.read_text()) == before
    assert not remove_login(path, URL)


def test_a_symbolic_link_stays_one(tmp_path: Path) -> None:
    real, link = tmp_path / "real.yml", tmp_path / "config.yml"
    real.write_text("auths: []\n")
    link.symlink_to(real)
    save_login(link, URL, "dG9r")
    assert link.is_symlink()
    assert "dG9r" in real.read_text()


@pytest.mark.parametrize(
    "text", ["a: [", "- 1\n", "text", "auths: 5\n", "auths: [1]\n", "\x00", "!!python/object:os.system {}"]
)
def test_a_broken_file_is_named_and_left_alone(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.yml"
    path.write_text(text)
    for use in (lambda: saved_authorization(path, URL), lambda: save_login(path, URL, "x")):
        with pytest.raises(PenstockError, match=r"config\.yml"):
            use()
    assert path.read_text() == text


HOSTILE = {
    "nested without end": b"a: " + b"[" * 200_000,
    "mappings without end": b"? " * 200_000,
    "aliases that multiply": b"\n".join(
        [b"a0: &a0 [x, x, x, x, x, x, x, x, x]"]
        + [b"a%d: &a%d [%s]" % (n, n, b", ".join([b"*a%d" % (n - 1)] * 9)) for n in range(1, 10)]
    ),
    "an alias within itself": b"a: &a [*a]\n",
    "a number without end": b"auths: []\na: " + b"9" * 20_000,
    "a hexadecimal number without end": b"auths: []\na: 0x" + b"f" * 20_000,
    "a sexagesimal number without end": b"auths: []\na: 1" + b":59" * 20_000,
    "a day that no month has": b"auths: []\na: 2026-02-31\n",
    "a NUL": b"auths: []\na: \x00\n",
    "no UTF-8": b"auths: \xff\xfe\n",
    "UTF-16": "auths: []\n".encode("utf-16"),
    "half a character": b'auths: [{gateway: "\\ud800"}]\n',
    "a tag": b"auths: !!python/object/apply:os.system [id]\n",
    "a key that is a list": b"? [a, b]\n: c\n",
    "a key twice": b"auths: []\nauths: []\n",
    "two documents": b"auths: []\n---\nauths: []\n",
    "too large": b"# " + b"x" * MAX_BYTES,
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_file_is_refused_by_its_name_and_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "config.yml"
    path.write_bytes(content)
    for use in (
        lambda: saved_authorization(path, URL),
        lambda: save_login(path, URL, "x"),
        lambda: remove_login(path, URL),
    ):
        with pytest.raises(PenstockError, match=r"saved logins in .*config\.yml.*mend or remove the file") as caught:
            use()
        assert len(str(caught.value)) < 1000
    assert path.read_bytes() == content


PLAIN = {
    "as Penstock writes it": f"auths:\n- gateway: {URL}\n  auth: basic\n  token: YWRtaW46cHc=\n",
    "as faas-cli writes it": f"auths:\n- gateway: {URL}\n  auth: basic\n  token: YWRtaW46cHc=\n  options: []\n",
    "indented": f"auths:\n    - gateway: {URL}\n      auth: oauth2\n      token: eyJhbGciOi.J9.a-b_c\n      options: []\n",
    "two": "auths:\n"
    + f"- gateway: https://[::1]:8443/faas\n  auth: basic\n  token: abcdef\n- gateway: {URL}\n  auth: basic\n  token: ghijkl\n",
}
NOT_PLAIN = {
    "more": PLAIN["as Penstock writes it"] + "more: 1\n",
    "two indents": f"auths:\n- gateway: {URL}\n  auth: basic\n  token: abcdef\n - gateway: {URL}\n   auth: basic\n   token: abcdef\n",
    "a number": f"auths:\n- gateway: {URL}\n  auth: basic\n  token: 123456\n",
    "a word": f"auths:\n- gateway: {URL}\n  auth: basic\n  token: false\n",
    "a comment": f"auths:\n- gateway: {URL} # here\n  auth: basic\n  token: abcdef\n",
    "a mapping": f"auths:\n- gateway: {URL}:\n  auth: basic\n  token: abcdef\n",
    "no end of the line": f"auths:\n- gateway: {URL}\n  auth: basic\n  token: abcdef",
    "no logins": "auths:\n",
    "quotes": f"auths:\n- gateway: '{URL}'\n  auth: basic\n  token: abcdef\n",
    "carriage returns": PLAIN["as Penstock writes it"].replace("\n", "\r\n"),
}


@pytest.mark.parametrize("text", PLAIN.values(), ids=PLAIN.keys())
def test_what_both_programs_write_is_read_without_yaml_and_alike(text: str) -> None:
    found = config._plain_entries(text)
    document = yaml.safe_load(text)
    assert found == [{key: entry[key] for key in ("gateway", "auth", "token")} for entry in document["auths"]]


@pytest.mark.parametrize("text", NOT_PLAIN.values(), ids=NOT_PLAIN.keys())
def test_anything_else_is_left_to_yaml(text: str) -> None:
    assert config._plain_entries(text) is None


def test_what_we_write_is_plain(tmp_path: Path) -> None:
    path = tmp_path / "config.yml"
    for number in range(3):
        save_login(path, f"http://host-{number}:8080", basic_token("admin", "pässword"))
    assert len(config._plain_entries(path.read_text()) or []) == 3


@pytest.mark.parametrize("token", ["'a\tb'", '"a\\r\\nX-Evil: 1"', '"\\0"', "ä", "[a]", "{a: b}", "12"])
def test_a_token_that_no_header_can_carry_is_refused(tmp_path: Path, token: str) -> None:
    path = tmp_path / "config.yml"
    path.write_text(f"auths:\n- gateway: {URL}\n  token: {token}\n")
    with pytest.raises(PenstockError, match="penstock login"):
        saved_authorization(path, URL)


def test_a_pipe_is_no_file_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "config.yml")
    with pytest.raises(PenstockError, match="not a file"):
        saved_authorization(tmp_path / "config.yml", URL)


def test_an_unreadable_or_unwritable_place_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.yml").mkdir()
    with pytest.raises(PenstockError, match="cannot read"):
        saved_authorization(tmp_path / "config.yml", URL)
    (tmp_path / "file").write_text("")
    with pytest.raises(PenstockError, match="cannot"):
        save_login(tmp_path / "file" / "config.yml", URL, "x")


@pytest.mark.parametrize("text", ["", "auths:\n", "{}\n"])
def test_an_empty_file_holds_no_logins(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.yml").write_text(text)
    assert saved_authorization(tmp_path / "config.yml", URL) == ""
