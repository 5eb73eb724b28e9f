"""What a credential plugin is told and what it may say: real programs, written by the test."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import logging
import os
import shlex
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from penstock.errors import SettingsError
from penstock.providers.kubernetes.client.errors import CredentialsUnavailable
from penstock.providers.kubernetes.client.execplugin import DEADLINE, ExecPlugin
from penstock.providers.kubernetes.client.kubeconfig import Chosen, Cluster, Exec, User
from tests.engines.waiting import wait_until

V1 = "client.authentication.k8s.io/v1"
PATH = {"PATH": os.environ["PATH"]}


def answer(version: str = V1, **status: Any) -> str:
    return json.dumps({"apiVersion": version, "kind": "ExecCredential", "status": status})


class Plugin:
    """A script in a folder beside a kubeconfig."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, script: str) -> None:
        path = self.folder / "bin" / "plugin"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def says(self, text: str) -> None:
        self.write(f"printf %s {shlex.quote(text)}")

    def made(self, deadline: float = DEADLINE, cluster: Cluster | None = None, **fields: Any) -> ExecPlugin:
        entry = {"apiVersion": V1, "command": "./bin/plugin", **fields}
        chosen = Chosen(
            cluster=cluster or Cluster(server="https://c"),
            user=User(exec=msgspec.convert(entry, Exec)),
            cluster_named="cluster 'c' in /kubeconfig",
            user_named="user 'me' in /kubeconfig",
            cluster_folder=self.folder,
            user_folder=self.folder,
        )
        return ExecPlugin(chosen, PATH, deadline)


@pytest.fixture
def plugin(tmp_path: Path) -> Plugin:
    return Plugin(tmp_path)


@pytest.mark.parametrize("version", ["v1", "v1beta1", "v1alpha1"])
async def test_every_version_of_plugins_gives_its_token(plugin: Plugin, version: str) -> None:
    group = f"client.authentication.k8s.io/{version}"
    plugin.says(answer(group, token=" secret\n", expirationTimestamp="2026-01-01T00:00:00Z"))
    assert await plugin.made(apiVersion=group).token() == ("secret", datetime(2026, 1, 1, tzinfo=UTC))


async def test_a_token_without_a_time_holds(plugin: Plugin) -> None:
    plugin.says(answer(token="secret"))
    assert await plugin.made().token() == ("secret", None)


async def test_it_has_its_arguments_its_variables_and_is_told_of_the_cluster(plugin: Plugin, tmp_path: Path) -> None:
    plugin.write(
        f'printf "%s|" "$@" "$WHO" "$KUBERNETES_EXEC_INFO" > {tmp_path}/seen; printf %s {shlex.quote(answer(token="t"))}'
    )
    (tmp_path / "ca.crt").write_text("an authority")
    cluster = Cluster(
        server="https://c",
        tls_server_name="inner",
        certificate_authority="ca.crt",
        extensions=[{"name": "client.authentication.k8s.io/exec", "extension": {"audience": "a"}}],
    )
    fields: dict[str, Any] = {"args": ["get token", "*"], "env": [{"name": "WHO", "value": "me"}]}
    await plugin.made(cluster=cluster, provideClusterInfo=True, **fields).token()
    first, second, who, info, _ = (tmp_path / "seen").read_text().split("|")
    assert (first, second, who) == ("get token", "*", "me")
    assert json.loads(info) == {
        "apiVersion": V1,
        "kind": "ExecCredential",
        "spec": {
            "interactive": False,
            "cluster": {
                "server": "https://c",
                "tls-server-name": "inner",
                "certificate-authority-data": base64.b64encode(b"an authority").decode(),
                "config": {"audience": "a"},
            },
        },
    }
    await plugin.made(cluster=cluster, **fields).token()
    assert json.loads((tmp_path / "seen").read_text().split("|")[3])["spec"] == {"interactive": False}


async def test_one_in_the_path_is_found_there(plugin: Plugin, tmp_path: Path) -> None:
    plugin.says(answer(token="t"))
    environ: Any = [{"name": "PATH", "value": f"{tmp_path}/bin:{PATH['PATH']}"}]
    assert (await plugin.made(command="plugin", env=environ).token()).text == "t"


async def test_it_never_waits_for_somebody_to_type(plugin: Plugin) -> None:
    plugin.write(f"cat >/dev/null; printf %s {shlex.quote(answer(token='t'))}")
    assert (await plugin.made().token()).text == "t"


@pytest.mark.parametrize("script", ["sleep 600", "sleep 600 & exit 0", "exec >&- 2>&-; sleep 600", "yes >&2"])
async def test_one_that_hangs_is_ended_with_all_it_has_started(plugin: Plugin, tmp_path: Path, script: str) -> None:
    begun = tmp_path / "group"
    plugin.write(f"echo $$ > {begun}; {script}")
    deadline = 0.5
    while not (begun.is_file() and begun.read_text()):  # a slow machine has not started it within the first ones
        deadline *= 2
        with pytest.raises(CredentialsUnavailable) as caught:
            await plugin.made(deadline=deadline, args=["--now"]).token()
        told = f"'./bin/plugin --now' of user 'me' in /kubeconfig did not end within {deadline:g} s"
        assert told in str(caught.value)
    wait_until(lambda: int(begun.read_text()) not in _groups(), "the end of what was killed")


async def test_one_that_nobody_waits_for_any_more_is_ended(plugin: Plugin, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "ready")
    plugin.write(f"echo $$ > {tmp_path}/ready; sleep 600")
    run = asyncio.create_task(plugin.made().token())
    group = int(await asyncio.wait_for(asyncio.to_thread((tmp_path / "ready").read_text), 60))
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    wait_until(lambda: group not in _groups(), "the end of what was killed")


def _groups() -> set[int]:
    """Groups of processes that are not only waiting to be counted."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
            state, _, group, *_ = path.read_text().rpartition(")")[2].split()
            if state != "Z":
                found.add(int(group))
    return found


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "says what is no JSON (0 bytes)"),
        ("Please log in", "says what is no JSON (13 bytes)"),
        ("[]", "says what is no ExecCredential"),
        ("{}", "says what is no ExecCredential"),
        ('{"kind": "ExecCredential"}', "speaks None, the kubeconfig wants client.authentication.k8s.io/v1"),
        (answer(f"{V1}beta1", token="t"), f"speaks {V1}beta1, the kubeconfig wants {V1}"),
        (json.dumps({"apiVersion": V1, "kind": "ExecCredential"}), "gives no status"),
        (json.dumps({"apiVersion": V1, "kind": "ExecCredential", "status": []}), "gives no status"),
        (answer(), "gives no token"),
        (answer(token=""), "gives no token"),
        (answer(token=5), "gives no token"),
        (answer(token="a\r\nb"), "characters that no header may have"),
        (
            answer(clientCertificateData="x", clientKeyData="y"),
            "gives no token, only a client certificate, which is not supported",
        ),
        (answer(token="t", expirationTimestamp="soon"), "expirationTimestamp that is no time: 'soon'"),
        (answer(token="t", expirationTimestamp=5), "expirationTimestamp that is no time: '5'"),
    ],
)
async def test_an_answer_that_cannot_be_used_says_what_is_wrong(plugin: Plugin, text: str, words: str) -> None:
    plugin.says(text)
    with pytest.raises(CredentialsUnavailable) as caught:
        await plugin.made().token()
    assert words in str(caught.value) and "'./bin/plugin' of user 'me' in /kubeconfig" in str(caught.value)


async def test_what_is_no_answer_is_not_shown_since_it_may_be_a_secret(plugin: Plugin) -> None:
    plugin.says("very-secret-token")
    with pytest.raises(CredentialsUnavailable) as caught:
        await plugin.made().token()
    assert "very-secret" not in str(caught.value)


async def test_an_answer_without_end_is_not_read(plugin: Plugin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penstock.providers.kubernetes.client.execplugin.MOST", 1000)
    plugin.write("head -c 2000 /dev/zero")
    with pytest.raises(CredentialsUnavailable, match="says more than"):
        await plugin.made().token()


async def test_one_that_fails_is_quoted(plugin: Plugin) -> None:
    plugin.write("echo 'your login is over: run \x1b[1mcloud login' >&2; exit 3")
    with pytest.raises(
        CredentialsUnavailable, match=r"failed with exit code 3: your login is over: run .*cloud login"
    ) as caught:
        await plugin.made().token()
    assert "\x1b" not in str(caught.value)
    plugin.write("exit 1")
    with pytest.raises(CredentialsUnavailable, match="exit code 1: it says nothing"):
        await plugin.made().token()


async def test_what_one_says_beside_its_answer_is_told(plugin: Plugin, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "penstock")
    plugin.write(f"echo 'this version is old' >&2; printf %s {shlex.quote(answer(token='t'))}")
    await plugin.made().token()
    assert "says: this version is old" in caplog.text


@pytest.mark.parametrize("command", ["no-such-plugin", "./no/such", "/no/such", "./bin", "./bin/text"])
async def test_one_that_is_missing_has_its_hint(plugin: Plugin, command: str) -> None:
    plugin.says("")
    (plugin.folder / "bin" / "text").write_text("no program")
    with pytest.raises(CredentialsUnavailable) as caught:
        await plugin.made(command=command, installHint="apt install it\n").token()
    assert "is not there, or is no program; apt install it" in str(caught.value)


async def test_one_that_cannot_be_started_says_why(plugin: Plugin) -> None:
    plugin.says("")
    (plugin.folder / "bin" / "plugin").write_text("#!/no/such/shell\n")
    with pytest.raises(CredentialsUnavailable, match="cannot be started: "):
        await plugin.made().token()


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"command": ""}, "names no command"),
        ({"apiVersion": "v2"}, "has the apiVersion 'v2'; known are client.authentication.k8s.io/v1,"),
        ({"interactiveMode": "Always"}, "wants a terminal"),
        (
            {"provideClusterInfo": True, "cluster": Cluster(server="https://c", certificate_authority="gone")},
            "gone: No such file",
        ),
    ],
)
def test_what_can_never_work_is_told_at_once(plugin: Plugin, fields: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        plugin.made(**fields)
