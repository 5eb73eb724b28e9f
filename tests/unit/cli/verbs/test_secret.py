"""`penstock secret`: values in every form, conflicts that fail, names without values."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from tests.unit.cli.support import Answer, ScriptedGateway, answer_json, run_cli

PATH = "/system/secrets"


def test_literal_is_sent_as_text(gateway: ScriptedGateway) -> None:
    gateway.on(f"POST {PATH}", Answer(202))
    result = run_cli("secret", "create", "key", "--from-literal", " s3cr3t ", "-n", "staging")
    assert gateway.requests[0].json == {"name": "key", "namespace": "staging", "value": "s3cr3t"}
    assert result.stdout == "Creating secret: key.staging\nCreated: 202 Accepted\n"


def test_no_trim_keeps_every_byte(gateway: ScriptedGateway) -> None:
    gateway.on(f"POST {PATH}", Answer(202))
    run_cli("secret", "create", "key", "--trim=false", stdin="line\n")
    assert gateway.requests[0].json == {"name": "key", "value": "line\n"}


def test_bytes_that_are_no_text_are_sent_in_base64_only(gateway: ScriptedGateway, tmp_path: Path) -> None:
    gateway.on(f"POST {PATH}", Answer(202))
    (tmp_path / "der").write_bytes(b"\x30\x82\xff\x00")
    run_cli("secret", "create", "cert", "--from-file", str(tmp_path / "der"))
    assert gateway.requests[0].json == {"name": "cert", "rawValue": base64.b64encode(b"\x30\x82\xff\x00").decode()}


def test_conflict_exits_1_and_names_replace(gateway: ScriptedGateway) -> None:
    gateway.on(f"POST {PATH}", Answer(409))
    result = run_cli("secret", "create", "key", "--from-literal", "v")
    assert result.exit_code == 1
    assert "--replace" in result.stderr


def test_replace_updates_what_exists(gateway: ScriptedGateway) -> None:
    gateway.on(f"POST {PATH}", Answer(409))
    gateway.on(f"PUT {PATH}", Answer(202))
    result = run_cli("secret", "create", "key", "--from-literal", "v", "--replace")
    assert result.exit_code == 0
    assert "Updated: 202 Accepted" in result.stdout
    assert gateway.requests[0].json == gateway.requests[1].json


@pytest.mark.parametrize("alias", ["update", "u"])
def test_update_puts_and_fails_when_there_is_none(gateway: ScriptedGateway, alias: str) -> None:
    assert run_cli("secret", alias, "key", "--from-literal", "v").exit_code == 1
    gateway.on(f"PUT {PATH}", Answer(202))
    assert run_cli("secret", alias, "key", "--from-literal", "v").exit_code == 0


def test_list_prints_names_and_json(gateway: ScriptedGateway) -> None:
    secrets = [{"name": "b", "namespace": "staging"}, {"name": "a", "namespace": "staging"}]
    gateway.on(f"GET {PATH}?namespace=staging", answer_json(secrets))
    assert run_cli("secret", "list", "-n", "staging").stdout == "NAME\na\nb\n"
    assert json.loads(run_cli("secret", "ls", "-n", "staging", "-j").stdout) == secrets


@pytest.mark.parametrize("alias", ["remove", "rm", "delete"])
def test_remove_sends_name_in_the_body(gateway: ScriptedGateway, alias: str) -> None:
    gateway.on(f"DELETE {PATH}", Answer(202))
    assert run_cli("secret", alias, "key", "-n", "staging").exit_code == 0
    assert gateway.requests[0].json == {"name": "key", "namespace": "staging"}


def test_remove_of_a_missing_one_exits_1(gateway: ScriptedGateway) -> None:
    assert run_cli("secret", "remove", "ghost").exit_code == 1


@pytest.mark.parametrize("name", ["..", "../../etc/passwd", "Upper", "a b", ""])
def test_unusable_names_are_refused_before_any_request(gateway: ScriptedGateway, name: str) -> None:
    assert run_cli("secret", "create", name, "--from-literal", "v").exit_code == 2
    assert gateway.requests == []


def test_an_empty_value_or_two_sources_are_refused(gateway: ScriptedGateway, tmp_path: Path) -> None:
    assert run_cli("secret", "create", "key", stdin=" \n").exit_code == 2
    assert run_cli("secret", "create", "key", "--from-literal", "v", "--from-file", "f").exit_code == 2
    assert run_cli("secret", "create", "key", "--from-file", str(tmp_path / "none")).exit_code == 2
    assert gateway.requests == []


def test_generate_prints_as_many_random_bytes_as_asked() -> None:
    first, second = (run_cli("secret", "generate", "--length", "48").stdout for _ in range(2))
    assert len(base64.b64decode(first)) == 48
    assert first != second


def test_generate_writes_a_private_file(tmp_path: Path) -> None:
    run_cli("secret", "generate", "-o", str(tmp_path / "s"))
    assert len(base64.b64decode((tmp_path / "s").read_text())) == 32
    assert (tmp_path / "s").stat().st_mode & 0o777 == 0o600


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory's folder of secrets."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".secrets" / "subfolder").mkdir(parents=True)
    return tmp_path / ".secrets"


def test_apply_creates_what_is_new_and_updates_what_exists(gateway: ScriptedGateway, folder: Path) -> None:
    (folder / "old").write_text(" value\n")
    (folder / "new").write_bytes(b"\xff\x00")
    gateway.on(f"GET {PATH}?namespace=staging", answer_json([{"name": "old", "namespace": "staging"}]))
    gateway.on(f"POST {PATH}", Answer(202))
    gateway.on(f"PUT {PATH}", Answer(202))
    result = run_cli("secret", "apply", "-n", "staging")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "Creating secret: new.staging",
        "Created: 202 Accepted",
        "Updating secret: old.staging",
        "Updated: 202 Accepted",
    ]
    assert [(request.method, request.json) for request in gateway.requests[1:]] == [
        ("POST", {"name": "new", "namespace": "staging", "rawValue": base64.b64encode(b"\xff\x00").decode()}),
        ("PUT", {"name": "old", "namespace": "staging", "value": "value"}),
    ]


def test_apply_goes_on_after_a_failure_and_names_it(gateway: ScriptedGateway, folder: Path) -> None:
    (folder / "Upper").write_text("v")
    (folder / "empty").write_text("\n")
    (folder / "good").write_text("v\n")
    gateway.on(f"GET {PATH}", answer_json([]))
    gateway.on(f"POST {PATH}", Answer(202))
    result = run_cli("secret", "apply", "--no-trim")
    assert result.exit_code == 1
    assert [request.json["value"] for request in gateway.requests[1:]] == ["\n", "v\n"]
    assert "1 of 3 secrets failed: Upper" in result.stderr
    assert run_cli("secret", "apply").exit_code == 1
    assert "v" not in result.stdout.splitlines()


def test_apply_without_a_folder_or_a_file_says_so(
    gateway: ScriptedGateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    missing = run_cli("secret", "apply")
    assert missing.exit_code == 1
    assert "there is no folder .secrets here" in missing.stderr
    (tmp_path / ".secrets").mkdir()
    assert run_cli("secret", "apply").exit_code == 0
    assert gateway.requests == []


def test_apply_stops_where_no_login_is(gateway: ScriptedGateway, folder: Path) -> None:
    (folder / "key").write_text("v")
    gateway.on(f"GET {PATH}", Answer(401))
    assert run_cli("secret", "apply").exit_code == 4


def test_keys_are_made_used_and_never_written_over(tmp_path: Path) -> None:
    key, sealed = tmp_path / "keys" / "key", tmp_path / "sealed"
    made = run_cli("secret", "keygen", "-o", str(key))
    assert made.exit_code == 0
    assert f"Key ID:            {(tmp_path / 'keys' / 'key.pub').read_text()[:8]}" in made.stdout
    assert key.stat().st_mode & 0o777 == 0o600
    before = key.read_text()
    again = run_cli("secret", "keygen", "-o", str(key))
    assert (again.exit_code, key.read_text()) == (1, before)
    (tmp_path / "file").write_bytes(b"\x00\xff\n")
    flags = ("--from-literal", "token=a=b ", "--from-file", f"ca.crt={tmp_path / 'file'}", "-o", str(sealed))
    done = run_cli("secret", "seal", f"{key}.pub", *flags)
    assert done.stdout == f"Sealed 2 secrets to {sealed}\n"
    assert sealed.stat().st_mode & 0o777 == 0o600
    every = run_cli("secret", "unseal", str(key), "--in", str(sealed))
    assert every.stdout_bytes == b"ca.crt=\x00\xff\n\ntoken=a=b \n"
    one = run_cli("secret", "unseal", str(key), "--in", str(sealed), "--key", "token")
    assert one.stdout == "a=b "
    as_json = run_cli("secret", "unseal", str(key), "--in", str(sealed), "-j")
    assert json.loads(as_json.stdout) == {"ca.crt_base64": "AP8K", "token": "a=b "}


@pytest.mark.parametrize(
    "flags",
    [
        (),
        ("--from-literal", "noequals"),
        ("--from-literal", "=v"),
        ("--from-literal", "k="),
        ("--from-file", "k=/no/such/file"),
        ("--from-literal", "k=1", "--from-literal", "k=2"),
    ],
)
def test_what_cannot_be_sealed_is_refused_and_nothing_is_written(tmp_path: Path, flags: tuple[str, ...]) -> None:
    run_cli("secret", "keygen", "-o", str(tmp_path / "key"))
    result = run_cli("secret", "seal", str(tmp_path / "key.pub"), *flags, "-o", str(tmp_path / "out"))
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: ")
    assert not (tmp_path / "out").exists()


def test_a_missing_key_file_is_named(tmp_path: Path) -> None:
    for verb in ("seal", "unseal"):
        flags = ("--from-literal", "a=b") if verb == "seal" else ()
        result = run_cli("secret", verb, str(tmp_path / "nokey"), *flags)
        assert result.exit_code == 2
        assert "nokey: No such file" in result.stderr
