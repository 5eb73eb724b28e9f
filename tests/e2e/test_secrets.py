"""Secrets: readable by the functions that name them, and by nobody else, ever."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator

import pytest

from tests.e2e.programs import Workshop
from tests.e2e.serving import Answer, Penstock, serving, wait_until

VALUE = b"hunter2-\x00\xff-binary\n"

READER = """
import os, sys
directory = os.environ["PENSTOCK_SECRETS_DIR"]
for place in (directory, "/var/openfaas/secrets"):
    try:
        names = sorted(os.listdir(place))
    except OSError as error:
        print(place == directory, error.strerror)
        continue
    for name in names:
        path = os.path.join(place, name)
        print(place == directory, name, open(path, "rb").read().hex(), oct(os.stat(path).st_mode & 0o777))
try:
    open(os.path.join(directory, "new"), "w").write("x")
    print("written")
except OSError as error:
    print("cannot write")
"""


@pytest.fixture(scope="module")
def server() -> Iterator[Penstock]:
    with serving() as running:
        yield running


def secrets(server: Penstock, method: str, **body: str) -> Answer:
    return server.request(method, "/system/secrets", json.dumps(body).encode(), admin=True)


def deploy(server: Penstock, name: str, program: str, *names: str, method: str = "POST") -> Answer:
    spec = {"service": name, "envProcess": program, "secrets": list(names)}
    answer = server.request(method, "/system/functions", json.dumps(spec).encode(), admin=True)
    if answer.status == 202:
        server.wait_ready(name)
    return answer


def test_a_secret_is_created_listed_by_name_updated_and_removed(server: Penstock) -> None:
    assert secrets(server, "POST", name="life", value="one").status in (200, 201, 202)
    assert secrets(server, "POST", name="life", value="one").status == 409
    assert {"name": "life", "namespace": "openfaas-fn"} in server.request("GET", "/system/secrets", admin=True).json()
    assert secrets(server, "PUT", name="life", value="two").status in (200, 202)
    assert secrets(server, "DELETE", name="life").status in (200, 202)
    assert secrets(server, "DELETE", name="life").status == 404
    assert secrets(server, "PUT", name="life", value="x").status == 404


@pytest.mark.parametrize("name", ["", "..", "../escape", "a/b", "/etc/x", "a..b", "Ü", "x" * 300, "a\u0000b"])
def test_a_bad_name_is_refused(server: Penstock, name: str) -> None:
    assert secrets(server, "POST", name=name, value="v").status == 400


def test_a_function_reads_its_secrets_and_no_others(server: Penstock, workshop: Workshop) -> None:
    raw = base64.b64encode(VALUE).decode()
    assert secrets(server, "POST", name="mine", rawValue=raw).status in (200, 201, 202)
    assert secrets(server, "POST", name="theirs", value="not yours").status in (200, 201, 202)
    deploy(server, "reader", workshop.python("reader", READER), "mine")
    answer = server.invoke("reader")
    assert answer.status == 200, answer.text
    assert f"True mine {VALUE.hex()} 0o4" in answer.text
    assert "theirs" not in answer.text
    assert b"not yours".hex() not in answer.text
    deploy(server, "without", workshop.python("reader", READER))
    assert "mine" not in server.invoke("without").text


def test_where_the_sandbox_can_mount_they_are_where_functions_look_for_them(
    server: Penstock, workshop: Workshop
) -> None:
    secrets(server, "POST", name="known", value="place")
    deploy(server, "looks", workshop.python("looks", READER), "known")
    text = server.invoke("looks").text
    if "False No such file" in text:
        pytest.skip("no mount namespaces here; enable with: run as root, or allow unprivileged user namespaces")
    assert f"False known {b'place'.hex()}" in text


def test_a_deployment_that_names_a_missing_secret_is_refused(server: Penstock) -> None:
    answer = deploy(server, "needs", "cat", "no-such-secret")
    assert answer.status == 400
    assert "no-such-secret" in answer.text


def test_an_updated_value_is_seen_by_replicas_started_from_now_on(server: Penstock, workshop: Workshop) -> None:
    secrets(server, "POST", name="rotates", value="before")
    program = workshop.python(
        "rotates", "import os; print(open(os.environ['PENSTOCK_SECRETS_DIR'] + '/rotates').read())"
    )
    deploy(server, "rotating", program, "rotates")
    assert server.invoke("rotating").text == "before\n"
    secrets(server, "PUT", name="rotates", value="after")
    for replicas in (0, 1):
        body = json.dumps({"serviceName": "rotating", "replicas": replicas}).encode()
        server.request("POST", "/system/scale-function/rotating", body, admin=True)
    wait_until(lambda: server.invoke("rotating").text == "after\n", "the new value", 60.0)


def test_values_are_nowhere_to_be_seen(server: Penstock, workshop: Workshop) -> None:
    value = "s3cr3t-that-must-not-leak"
    secrets(server, "POST", name="quiet", value=value)
    deploy(server, "keeps", "cat", "quiet")
    seen = [
        server.request("GET", "/system/secrets", admin=True).text,
        server.request("GET", "/system/functions", admin=True).text,
        server.request("GET", "/system/function/keeps?usage=1", admin=True).text,
        server.request("GET", "/system/logs?name=keeps", admin=True).text,
        secrets(server, "POST", name="quiet", value=value).text,
        secrets(server, "POST", name="../quiet", value=value).text,
        server.invoke("keeps", b"x").text,
        server.printed(),
    ]
    assert not [text for text in seen if value in text]
    encoded = base64.b64encode(value.encode()).decode()
    assert not [text for text in seen if encoded in text]


def test_the_files_of_the_platform_are_for_its_user_only(server: Penstock) -> None:
    secrets(server, "POST", name="file", value="x")
    for directory in (server.home / "secrets", server.home / "auth", server.home / "run"):
        assert directory.stat().st_mode & 0o077 == 0, directory
    for path in (server.home / "secrets").rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path
    assert (server.home / "auth" / "basic-auth-password").stat().st_mode & 0o777 == 0o600


def test_a_sandboxed_function_does_not_see_the_platforms_files(server: Penstock, workshop: Workshop) -> None:
    program = workshop.python(
        "peeks",
        f"""
        import os
        for path in ({str(server.home / "auth" / "basic-auth-password")!r}, {str(server.home / "state.db")!r},
                     {str(server.home / "secrets")!r}, {str(server.home / "run" / "control.sock")!r}):
            print(os.path.exists(path))
        """,
    )
    deploy(server, "peeks", program)
    assert server.invoke("peeks").text.split() == ["False"] * 4
