"""The shared client: credentials on every request, TLS, proxies, redirects, connections that fail half way."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import penstock
from penstock.cli.client import Gateway, Reply, segment, talk
from penstock.cli.target import Target
from penstock.errors import GatewayUnavailable, InvalidInput, PenstockError
from tests.unit.cli.support import Answer, ScriptedGateway, answer_json, run_cli


def test_every_request_says_who_and_what_we_are(gateway: ScriptedGateway) -> None:
    gateway.on("GET /system/functions", answer_json([]))
    talk(Target(gateway.url, authorization="Basic abc"), Gateway.functions)
    headers = gateway.requests[0].headers
    assert headers["Authorization"] == "Basic abc"
    assert headers["User-Agent"] == f"penstock/{penstock.__version__}"


def test_without_credentials_no_header_is_sent(gateway: ScriptedGateway) -> None:
    gateway.on("GET /system/functions", answer_json([]))
    talk(Target(gateway.url), Gateway.functions)
    assert "Authorization" not in gateway.requests[0].headers


def test_a_netrc_file_is_not_consulted(gateway: ScriptedGateway, tmp_path: Path) -> None:
    (tmp_path / "user").mkdir()
    (tmp_path / "user" / ".netrc").write_text("machine 127.0.0.1 login a password b\n")
    gateway.on("GET /system/functions", answer_json([]))
    talk(Target(gateway.url), Gateway.functions)
    assert "Authorization" not in gateway.requests[0].headers


def test_a_path_in_the_gateways_url_comes_before_ours(gateway: ScriptedGateway) -> None:
    gateway.on("GET /Team/faas/system/functions", answer_json([]))
    talk(Target(f"{gateway.url}/Team/faas"), Gateway.functions)


def test_redirects_are_not_followed(gateway: ScriptedGateway) -> None:
    gateway.on("GET /system/functions", Answer(307, headers={"Location": "http://127.0.0.1:1/"}))
    with pytest.raises(PenstockError, match="307"):
        talk(Target(gateway.url, authorization="Basic abc"), Gateway.functions)
    assert len(gateway.requests) == 1


def test_a_proxy_is_used_for_others_but_not_for_this_machine(
    gateway: ScriptedGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", gateway.url)
    gateway.on("GET http://faas.example.com/system/functions", answer_json([]))
    gateway.on("GET /system/functions", answer_json([]))
    talk(Target("http://faas.example.com"), Gateway.functions)
    talk(Target(gateway.url), Gateway.functions)
    assert gateway.lines == ["GET http://faas.example.com/system/functions", "GET /system/functions"]
    monkeypatch.setenv("no_proxy", "faas.invalid")
    with pytest.raises(PenstockError):
        talk(Target("http://faas.invalid", timeout=5), Gateway.functions)
    assert len(gateway.requests) == 2


def test_an_answer_cut_short_is_not_taken_for_a_whole_one(gateway: ScriptedGateway) -> None:
    gateway.on("GET /system/functions", Answer(200, b"[]", cut=True))
    with pytest.raises(PenstockError, match="in the middle of its answer"):
        talk(Target(gateway.url), Gateway.functions)


@pytest.mark.parametrize(
    "junk", [b"", b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 banana\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"]
)
def test_something_else_on_that_port_is_an_error_that_names_the_url(junk: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"

        def answer() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection:
                        connection.recv(1 << 16)
                        connection.sendall(junk)

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(GatewayUnavailable, match=url):
            talk(Target(url, timeout=60), Gateway.functions)
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_a_gateway_that_hangs_is_given_up(gateway: ScriptedGateway) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(PenstockError, match="longer than"):
            talk(Target(url, timeout=0.2), Gateway.functions)


@pytest.fixture
def tls_url() -> Iterator[str]:
    """A TLS server with a certificate that nobody vouches for, answering every request with an empty list."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(Path(__file__).parent / "data" / "unknown-issuer.pem")
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            try:
                with context.wrap_socket(connection, server_side=True) as stream:
                    stream.recv(1 << 16)
                    stream.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n[]")
            except OSError:
                connection.close()

    thread = threading.Thread(target=serve)
    thread.start()
    yield f"https://127.0.0.1:{listener.getsockname()[1]}"
    listener.shutdown(socket.SHUT_RDWR)
    thread.join()
    listener.close()


def test_an_unknown_certificate_is_refused_unless_told_otherwise(tls_url: str) -> None:
    refused = run_cli("list", "-g", tls_url)
    assert refused.exit_code == 3
    assert "certificate" in refused.stderr
    accepted = run_cli("list", "-g", tls_url, "--tls-no-verify")
    assert accepted.exit_code == 0


def test_version_checks_certificates_the_same_way(tls_url: str) -> None:
    assert "certificate" in run_cli("version", "-g", tls_url).stderr
    assert "/system/info" not in run_cli("version", "-g", tls_url, "--tls-no-verify").stderr


def test_names_become_one_path_segment() -> None:
    assert segment("a|b c%2f") == "a%7Cb%20c%252f"
    for name in ("", ".", "..", "a/b", "a\x00", "a\n"):
        with pytest.raises(InvalidInput):
            segment(name)


def test_a_reply_of_any_bytes_has_a_text() -> None:
    assert Reply(500, "", b"\xff oops\n").text == "\ufffd oops"
