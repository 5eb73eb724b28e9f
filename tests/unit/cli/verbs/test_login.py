"""`penstock login` and `logout`: only working credentials are kept, and where faas-cli keeps them."""

from __future__ import annotations

import base64
from pathlib import Path

import yaml

from tests.unit.cli.support import Answer, ScriptedGateway, answer_json, run_cli

BASIC = base64.b64encode(b"admin:s3cr3t").decode()


def config(tmp_path: Path) -> Path:
    return tmp_path / "user" / ".openfaas" / "config.yml"


def test_login_validates_saves_and_is_used(gateway: ScriptedGateway, tmp_path: Path) -> None:
    gateway.on("GET /system/functions", answer_json([]))
    result = run_cli("login", "--password-stdin", stdin="s3cr3t\n")
    assert result.stdout == f"credentials saved for admin {gateway.url}\n"
    assert yaml.safe_load(config(tmp_path).read_text()) == {
        "auths": [{"gateway": gateway.url, "auth": "basic", "token": BASIC}]
    }
    run_cli("list")
    assert [request.headers["Authorization"] for request in gateway.requests] == [f"Basic {BASIC}"] * 2


def test_wrong_password_exits_4_and_saves_nothing(gateway: ScriptedGateway, tmp_path: Path) -> None:
    gateway.on("GET /system/functions", Answer(401))
    result = run_cli("login", "-s", stdin="wrong")
    assert result.exit_code == 4
    assert "nothing was saved" in result.stderr
    assert not config(tmp_path).exists()


def test_password_on_the_command_line_is_warned_about(gateway: ScriptedGateway) -> None:
    gateway.on("GET /system/functions", answer_json([]))
    result = run_cli("login", "-u", "kim", "-p", "s3cr3t")
    assert result.exit_code == 0
    assert "--password-stdin" in result.stderr


def test_login_without_any_password_is_refused(gateway: ScriptedGateway) -> None:
    assert run_cli("login", stdin="").exit_code == 2
    assert run_cli("login", "-s", stdin=" \n").exit_code == 2
    assert run_cli("login", "-u", "a:b", "-p", "x").exit_code == 2
    assert run_cli("login", "-s", "-p", "x", stdin="y").exit_code == 2
    assert gateway.requests == []


def test_logout_forgets_one_gateway(gateway: ScriptedGateway, tmp_path: Path) -> None:
    gateway.on("GET /system/functions", answer_json([]))
    run_cli("login", "-s", stdin="s3cr3t")
    assert run_cli("logout").stdout == f"credentials removed for {gateway.url}\n"
    assert yaml.safe_load(config(tmp_path).read_text()) == {"auths": []}


def test_logout_without_a_login_exits_1(gateway: ScriptedGateway) -> None:
    assert run_cli("logout").exit_code == 1
