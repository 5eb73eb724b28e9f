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
