"""How an API server is reached, over real connections with and without TLS; and what cannot be used, with where it is said."""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from penstock.errors import SettingsError
from penstock.providers.kubernetes.client import exchange
from penstock.providers.kubernetes.client.api import Api
from penstock.providers.kubernetes.client.connect import connect, own_namespace
from penstock.providers.kubernetes.client.errors import ApiForbidden, ApiUnavailable
from penstock.providers.kubernetes.client.kinds import SECRET
from penstock.testing.clock import FakeClock
from tests.unit.providers.kubernetes.client.certificates import DAY, Authority
from tests.unit.providers.kubernetes.client.scripted_api import VERSION, kept, listening, refused, said

AUTHORITY = Authority()


class Config:
    """A kubeconfig in a folder, and what is beside it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "kubeconfig"

    def write(self, cluster: dict[str, Any], user: dict[str, Any] | None = None) -> dict[str, str]:
        """The environment that names it."""
        document = {
            "clusters": [{"name": "c", "cluster": cluster}],
            "users": [{"name": "u", "user": user}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "x",
        }
        self.path.write_text(yaml.safe_dump(document))
        return {"KUBECONFIG": str(self.path)}

    def file(self, name: str, content: bytes) -> str:
        """Its name, relative to the kubeconfig."""
        (self.folder / name).write_bytes(content)
        return name


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config(tmp_path)


async def reached(environ: dict[str, str]) -> str:
    api = Api("", environ)
    try:
        return await api.open()
    finally:
        await api.close()


def packed(data: bytes) -> str:
    return base64.b64encode(data).decode()


@pytest.mark.parametrize("how", ["file", "data", "data over file"])
async def test_a_server_is_known_by_the_authority_of_the_kubeconfig(config: Config, how: str) -> None:
    async with listening(AUTHORITY.server(config.folder, "127.0.0.1")) as script:
        script.answers = [said(VERSION)]
        fields = {"certificate-authority": config.file("ca.crt", AUTHORITY.certificate)} if how != "data" else {}
        if how != "file":
            fields["certificate-authority-data"] = packed(AUTHORITY.certificate)
        if how == "data over file":
            fields["certificate-authority"] = "gone"
        assert await reached(config.write({"server": script.url, **fields})) == "v1.30.1"


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "PATIENCE", 0.0)


@pytest.mark.usefixtures("impatient")
async def test_a_server_of_another_authority_or_name_is_not_spoken_to(config: Config) -> None:
    data = packed(AUTHORITY.certificate)
    async with listening(AUTHORITY.server(config.folder, "inner.example.org")) as script:
        for fields in (
            {},
            {"certificate-authority-data": packed(Authority().certificate)},
            {"certificate-authority-data": data},
        ):
            with pytest.raises(ApiUnavailable, match=r"(?i)certificate"):
                await reached(config.write({"server": script.url, **fields}))
    assert not script.asked


async def test_a_server_may_have_another_name_than_its_address(config: Config) -> None:
    data = packed(AUTHORITY.certificate)
    async with listening(AUTHORITY.server(config.folder, "inner.example.org")) as script:
        script.answers = [said(VERSION)]
        fields = {"certificate-authority-data": data, "tls-server-name": "inner.example.org"}
        assert await reached(config.write({"server": script.url, **fields})) == "v1.30.1"


async def test_a_server_may_be_anybody_where_the_kubeconfig_says_so(config: Config) -> None:
    async with listening(AUTHORITY.server(config.folder, "inner.example.org")) as script:
        script.answers = [said(VERSION)]
        assert await reached(config.write({"server": script.url, "insecure-skip-tls-verify": True})) == "v1.30.1"


@pytest.mark.parametrize("files", [True, False])
async def test_a_user_is_known_by_a_certificate(config: Config, files: bool) -> None:
    pair = AUTHORITY.issue("somebody")
    user = {"client-certificate-data": packed(pair.certificate), "client-key-data": packed(pair.key())}
    if files:
        user = {
            "client-certificate": config.file("u.crt", pair.certificate),
            "client-key": config.file("u.key", pair.key()),
        }
    async with listening(AUTHORITY.server(config.folder, "127.0.0.1", clients=True)) as script:
        script.answers = [said(VERSION)]
        cluster = {"server": script.url, "certificate-authority-data": packed(AUTHORITY.certificate)}
        assert await reached(config.write(cluster, user)) == "v1.30.1"


async def test_an_address_may_have_a_path_before_that_of_the_api(config: Config) -> None:
    async with listening() as script:
        script.answers = [said(VERSION), said(kept())]
        api = Api("", config.write({"server": f"{script.url}/k8s/clusters/one"}))
        await api.open()
        await api.get(SECRET, "a b", "n")
        await api.close()
    assert [asked[1] for asked in script.asked] == [
        "/k8s/clusters/one/version",
        "/k8s/clusters/one/api/v1/namespaces/n/secrets/a b",
    ]


async def test_a_server_without_tls_is_spoken_to_and_told_of_where_it_is_elsewhere(
    config: Config, caplog: pytest.LogCaptureFixture
) -> None:
    async with listening() as script:
        script.answers = [said(VERSION)]
        assert await reached(config.write({"server": script.url}, {"token": "t"})) == "v1.30.1"
    assert "without TLS" not in caplog.text
    connection = connect("", config.write({"server": "http://192.0.2.1"}, {"token": "t"}))
    await connection.close()
    assert "'c' in" in caplog.text and "is spoken to without TLS" in caplog.text


async def _proxy(seen: list[bytes]) -> asyncio.Server:
    """One that connects whom it is asked to, whatever the name, to the port that was asked for on this machine."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        seen.append(head)
        port = int(head.split()[1].rpartition(b":")[2])
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        await asyncio.gather(_pump(reader, inner_writer), _pump(inner_reader, writer))

    return await asyncio.start_server(serve, "127.0.0.1", 0)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    writer.close()


async def test_a_server_is_reached_by_a_proxy(config: Config) -> None:
    seen: list[bytes] = []
    proxy = await _proxy(seen)
    port = proxy.sockets[0].getsockname()[1]
    async with proxy, listening(AUTHORITY.server(config.folder, "inner.example.org")) as script:
        script.answers = [said(VERSION)]
        server = script.url.replace("127.0.0.1", "inner.example.org")
        cluster = {"server": server, "certificate-authority-data": packed(AUTHORITY.certificate)}
        environ = config.write({**cluster, "proxy-url": f"http://127.0.0.1:{port}"})
        assert await reached(environ) == "v1.30.1"
    assert seen[0].startswith(b"CONNECT inner.example.org:")


async def test_one_user_acts_as_another(config: Config) -> None:
    async with listening() as script:
        script.answers = [said(VERSION)]
        user = {"token": "t", "as": "them", "as-uid": "5", "as-groups": ["a", "b"], "as-user-extra": {"e/x": ["1"]}}
        await reached(config.write({"server": script.url}, user))
    found = {name: value for name, value in script.headers[0].items() if name.startswith("Impersonate")}
    assert found["Impersonate-User"] == "them" and found["Impersonate-Uid"] == "5"
    assert found["Impersonate-Group"] in ("a", "b") and found["Impersonate-Extra-e%2Fx"] == "1"


async def test_a_pod_has_all_it_needs_in_a_folder(tmp_path: Path) -> None:
    for name, content in (("ca.crt", AUTHORITY.certificate), ("token", b"of-the-pod\n")):
        (tmp_path / name).write_bytes(content)
    async with listening(AUTHORITY.server(tmp_path, "127.0.0.1")) as script:
        script.answers = [said(VERSION)]
        host, port = script.url.removeprefix("https://").split(":")
        environ = {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port}
        connection = connect("", environ, account=str(tmp_path))
        assert (await connection.client.get("/version")).json() == VERSION
        await connection.close()
    assert script.headers[0]["Authorization"] == "Bearer of-the-pod"
    (tmp_path / "token").unlink()
    with pytest.raises(SettingsError, match=f"token in {tmp_path}/token cannot be read: No such file"):
        connect("", environ, account=str(tmp_path))
    assert own_namespace({}) == ""


def _pair(config: Config, lasts: timedelta = DAY, password: bytes = b"") -> dict[str, str]:
    pair = AUTHORITY.issue("u", lasts)
    return {"client-certificate-data": packed(pair.certificate), "client-key-data": packed(pair.key(password))}


HTTPS = {"server": "https://127.0.0.1:1"}
FAULTS: list[tuple[dict[str, Any], Callable[[Config], dict[str, Any]], str]] = [
    ({}, lambda config: {}, "must be https://HOST:PORT or http://HOST:PORT, not ''"),
    ({"server": "host:6443"}, lambda config: {}, "must be https://HOST:PORT"),
    ({"server": "https://[::1"}, lambda config: {}, "server of cluster 'c' in"),
    ({"server": "https://h:x"}, lambda config: {}, "server of cluster 'c' in"),
    ({**HTTPS, "certificate-authority": "gone.crt"}, lambda config: {}, "/gone.crt: No such file or directory"),
    ({**HTTPS, "certificate-authority": "."}, lambda config: {}, "certificate-authority of cluster 'c' in"),
    ({**HTTPS, "certificate-authority-data": "%%"}, lambda config: {}, "its data is no base64"),
    ({**HTTPS, "certificate-authority-data": packed(b"text")}, lambda config: {}, "has no certificate in PEM"),
    ({**HTTPS, "certificate-authority-data": packed(b"\xff")}, lambda config: {}, "has no certificate in PEM"),
    (
        {**HTTPS, "certificate-authority-data": packed(AUTHORITY.certificate), "insecure-skip-tls-verify": True},
        lambda config: {},
        "insecure-skip-tls-verify; remove one of them",
    ),
    ({**HTTPS, "insecure-skip-tls-verify": "yes"}, lambda config: {}, "cluster 'c': Expected `bool`, got `str`"),
    ({**HTTPS, "proxy-url": "ftp://proxy"}, lambda config: {}, "proxy-url of cluster 'c' in"),
    ({**HTTPS, "proxy-url": "socks5://proxy:1"}, lambda config: {}, "proxy-url of cluster 'c' in"),
    (HTTPS, lambda config: {"client-certificate": "u.crt", "client-key": "u.key"}, "/u.crt: No such file or directory"),
    (HTTPS, lambda config: {"client-certificate-data": _pair(config)["client-certificate-data"]}, "user 'u' in"),
    (HTTPS, lambda config: {"client-key-data": _pair(config)["client-key-data"]}, "has no client-certificate"),
    (HTTPS, lambda config: {**_pair(config), "client-certificate-data": packed(b"x")}, "is no certificate in PEM"),
    (HTTPS, lambda config: {**_pair(config), "client-key-data": packed(b"x")}, "in PEM and without a password"),
    (
        HTTPS,
        lambda config: {**_pair(config), "client-key-data": _pair(config)["client-key-data"]},
        "must belong together",
    ),
    (HTTPS, lambda config: _pair(config, password=b"secret"), "in PEM and without a password"),
    (HTTPS, lambda config: _pair(config, timedelta(hours=-1)), "is over since 20"),
    (HTTPS, lambda config: {"auth-provider": {"name": "gcp"}}, "has an auth-provider, which Kubernetes has given up"),
    (HTTPS, lambda config: {"tokenFile": "gone"}, "/gone cannot be read: No such file"),
    (HTTPS, lambda config: {"tokenFile": config.file("empty", b"\n")}, "empty is no token"),
    (HTTPS, lambda config: {"token": "a\nb"}, "token of user 'u' in"),
    (HTTPS, lambda config: {"exec": {"apiVersion": "v1", "command": "x"}}, "has the apiVersion 'v1'"),
]


@pytest.mark.parametrize(("cluster", "user", "words"), FAULTS, ids=[words for *_, words in FAULTS])
def test_what_cannot_be_used_is_one_line_that_names_the_file(
    config: Config, cluster: dict[str, Any], user: Callable[[Config], dict[str, Any]], words: str
) -> None:
    environ = config.write(cluster, user(config))
    with pytest.raises(SettingsError) as caught:
        connect("", environ)
    message = str(caught.value)
    assert words in message and str(config.folder) in message and "\n" not in message


async def test_a_certificate_that_ends_while_the_gateway_runs_is_named(config: Config) -> None:
    clock = FakeClock(datetime.now(UTC))
    connection = connect("", config.write(HTTPS, _pair(config)), clock)
    assert connection.who == f"user 'u' in {config.path}"
    await clock.advance(25 * 3600)
    assert f"user 'u' in {config.path}, whose client certificate is over since 20" in connection.who
    await connection.close()


async def test_credentials_that_are_refused_are_told_with_whose_they_are(config: Config) -> None:
    async with listening() as script:
        script.answers = [refused(401, "Unauthorized")]
        with pytest.raises(ApiForbidden, match=rf"credentials \(user 'u' in {config.path}\): Unauthorized"):
            await reached(config.write({"server": script.url}, {"token": "t"}))


def test_requests_are_not_told_one_by_one(config: Config) -> None:
    connect("", config.write(HTTPS))
    assert logging.getLogger("httpx2").level == logging.getLogger("httpcore2").level == logging.WARNING
