"""The registry client against registries that misbehave."""

from __future__ import annotations

import base64
import contextlib
import json
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

import pytest

from penstock.builders.imagewriter import registry as module
from penstock.builders.imagewriter import transport as transport_module
from penstock.builders.imagewriter.auth import User
from penstock.builders.imagewriter.image import (
    CONFIG,
    LAYER,
    MANIFEST,
    MANIFEST_LIST,
    Image,
    Layer,
    config_document,
    digest_of,
    dump,
)
from penstock.builders.imagewriter.interpret import Platform
from penstock.builders.imagewriter.registry import Registry, check_login
from penstock.builders.imagewriter.store import Store
from penstock.builders.imagewriter.transport import Answer, Lost, Transport
from penstock.errors import BuildFailed, NotFound, NotSupported, Unauthorized
from penstock.providers.containers.reference import parse
from tests.unit.builders.imagewriter.scripted import Request, Script, Scripted

AMD = Platform("linux", "amd64")
BLOB = b"a layer"
CONFIG_DOCUMENT = dump({"os": "linux", "architecture": "amd64", "rootfs": {"diff_ids": [digest_of(b"plain")]}})


def manifest(blob: bytes = BLOB, config: bytes = CONFIG_DOCUMENT, kind: str = LAYER) -> bytes:
    return dump(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {"mediaType": CONFIG, "size": len(config), "digest": digest_of(config)},
            "layers": [{"mediaType": kind, "size": len(blob), "digest": digest_of(blob)}],
        }
    )


def serve(files: dict[str, bytes]) -> Script:
    """Answers paths with what is there, and others with 404."""

    def script(request: Request) -> None:
        found = files.get(request.path)
        request.reply(404) if found is None else request.reply(200, found)

    return script


def files(**changes: bytes) -> dict[str, bytes]:
    return {
        "/v2/a/manifests/1": changes.get("manifest", manifest()),
        f"/v2/a/blobs/{digest_of(CONFIG_DOCUMENT)}": changes.get("config", CONFIG_DOCUMENT),
        f"/v2/a/blobs/{digest_of(BLOB)}": changes.get("blob", BLOB),
    }


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSES", (0.0, 0.0, 0.0))


@pytest.fixture
def environ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    monkeypatch.chdir(tmp_path)
    return {"PENSTOCK_BUILDS": str(tmp_path / "builds"), "DOCKER_CONFIG": str(tmp_path / "docker")}


def login(environ: dict[str, str], host: str, user: str = "ada", password: str = "secret") -> None:
    folder = Path(environ["DOCKER_CONFIG"])
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"auths": {host: {"username": user, "password": password}}}))


def pull(
    environ: dict[str, str], server: Scripted, name: str = "a:1", platform: Platform = AMD, silence: float = 30.0
) -> Image:
    registry = Registry(environ, Store(environ), Transport(environ, silence))
    return registry.pull(parse(f"{server.host}/{name}"), platform, lambda words: None)


def blobs(environ: dict[str, str]) -> list[str]:
    return sorted(path.name for path in (Path(environ["PENSTOCK_BUILDS"]) / ".images").rglob("*") if path.is_file())


def test_an_image_is_pulled_once(environ: dict[str, str]) -> None:
    with Scripted(serve(files())) as server:
        assert [layer.digest for layer in pull(environ, server).layers] == [digest_of(BLOB)]
        pull(environ, server)
        assert server.lines == [
            "GET /v2/a/manifests/1",
            f"GET /v2/a/blobs/{digest_of(CONFIG_DOCUMENT)}",
            f"GET /v2/a/blobs/{digest_of(BLOB)}",
            "GET /v2/a/manifests/1",
        ]


@pytest.mark.parametrize("name", ["blob", "config"])
@pytest.mark.parametrize("change", ["other", "longer", "shorter"])
def test_something_else_than_the_digest_says_is_refused(environ: dict[str, str], name: str, change: str) -> None:
    right = {"blob": BLOB, "config": CONFIG_DOCUMENT}[name]
    wrong = {"other": right[::-1], "longer": right + b"!", "shorter": right[:-1]}[change]
    with Scripted(serve(files(**{name: wrong}))) as server, pytest.raises(BuildFailed, match="it is refused"):
        pull(environ, server)
    assert digest_of(right).removeprefix("sha256:") not in blobs(environ)


@pytest.mark.parametrize("name", ["blob", "config", "manifest"])
@pytest.mark.parametrize("length", ["longer", "endless", "none"])
def test_a_length_that_is_a_lie(environ: dict[str, str], name: str, length: str) -> None:
    """Longer than what comes, endless, and shorter than what comes, so that the rest is not read."""
    said = {"longer": 1 << 30, "endless": 1 << 62, "none": 0}[length]
    place = {"blob": digest_of(BLOB), "config": digest_of(CONFIG_DOCUMENT), "manifest": "manifests/1"}[name]

    def script(request: Request) -> None:
        if request.path.endswith(place):
            request.reply(200, files()[request.path], length=said)
        else:
            serve(files())(request)

    with Scripted(script) as server, pytest.raises(BuildFailed, match=r"too early|refused|not JSON|cut off"):
        pull(environ, server)
    assert {digest_of(BLOB).removeprefix("sha256:"), digest_of(CONFIG_DOCUMENT).removeprefix("sha256:")} & set(
        blobs(environ)
    ) == (set() if name != "blob" else {digest_of(CONFIG_DOCUMENT).removeprefix("sha256:")})


@pytest.mark.parametrize("name", ["blob", "config", "manifest", "token"])
def test_what_does_not_end_is_cut(environ: dict[str, str], name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_DOCUMENT", 1 << 16)
    monkeypatch.setattr(transport_module.Answer.read, "__defaults__", (1 << 16,))
    place = {
        "blob": digest_of(BLOB),
        "config": digest_of(CONFIG_DOCUMENT),
        "manifest": "manifests/1",
        "token": "/token",
    }

    def script(request: Request) -> None:
        if place[name] in request.path:
            request.send_response(200)
            request.end_headers()
            with contextlib.suppress(OSError):  # we go away
                while True:
                    request.wfile.write(b" " * (1 << 16))
            request.close_connection = True
        elif name == "token":
            request.reply(401, WWW_Authenticate=f'Bearer realm="http://{server.host}/token"')
        else:
            serve(files())(request)

    with Scripted(script) as server, pytest.raises(BuildFailed, match="more than"):
        pull(environ, server)


def test_another_manifest_than_the_one_asked_for_is_refused(environ: dict[str, str]) -> None:
    digest = digest_of(b"another")
    with (
        Scripted(serve({f"/v2/a/manifests/{digest}": manifest()})) as server,
        pytest.raises(BuildFailed, match="another manifest"),
    ):
        pull(environ, server, f"a@{digest}")


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (b"no", "is not JSON"),
        (b"[]", "is not a JSON object"),
        (b"[" * 100_000, "is not JSON"),
        (b"{}", "of version"),
        (b'{"schemaVersion": 1}', "of version '1'"),
        (b'{"schemaVersion": 2}', "no list of at most 256 layers"),
        (b'{"schemaVersion": 2, "layers": []}', "no descriptor"),
        (b'{"schemaVersion": 2, "manifests": 7}', "not there for linux/amd64"),
        (manifest().replace(digest_of(BLOB).encode(), b"sha256:../../../../etc/passwd"), "no SHA-256 digest"),
        (manifest().replace(b'"size":7', b'"size":-7'), "the size"),
        (manifest().replace(b'"size":7', b'"size":1e99'), "the size"),
        (b" " * (5 << 20), "more than 4194304 bytes"),
    ],
    ids=[
        "text",
        "list",
        "deep",
        "empty",
        "old",
        "no-layers",
        "no-config",
        "no-list",
        "path",
        "negative",
        "huge",
        "long",
    ],
)
def test_hostile_manifests(environ: dict[str, str], document: bytes, words: str) -> None:
    with Scripted(serve(files(manifest=document))) as server, pytest.raises((BuildFailed, NotFound), match=words):
        pull(environ, server)


def test_a_layer_of_an_unknown_kind_is_not_supported(environ: dict[str, str]) -> None:
    zstd = manifest(kind="application/vnd.oci.image.layer.v1.tar+zstd")
    with Scripted(serve(files(manifest=zstd))) as server, pytest.raises(NotSupported, match="zstd"):
        pull(environ, server)


def test_the_manifest_of_the_platform_is_chosen(environ: dict[str, str]) -> None:
    entry = {"mediaType": MANIFEST, "size": len(manifest()), "digest": digest_of(manifest())}
    wrong = {**entry, "digest": digest_of(b"x"), "platform": {"os": "linux", "architecture": "arm64"}}
    right = {**entry, "platform": {"os": "linux", "architecture": "amd64"}}
    listed = dump(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST_LIST,
            "manifests": [wrong, right],
        }
    )
    served = {**files(manifest=listed), f"/v2/a/manifests/{digest_of(manifest())}": manifest()}
    with Scripted(serve(served)) as server:
        assert len(pull(environ, server).layers) == 1
        with pytest.raises(NotFound, match="not there for linux/riscv64, but for linux/arm64, linux/amd64"):
            pull(environ, server, platform=Platform("linux", "riscv64"))


def test_redirects_take_no_credentials_to_another_host(environ: dict[str, str]) -> None:
    with Scripted(serve({"/elsewhere": BLOB})) as other:

        def script(request: Request) -> None:
            if not request.headers.get("Authorization"):
                request.reply(401, WWW_Authenticate='Basic realm="x"')
            elif request.path.endswith(digest_of(BLOB)):
                request.reply(307, Location=f"http://{other.host}/elsewhere")
            else:
                serve(files())(request)

        with Scripted(script) as server:
            login(environ, server.host)
            pull(environ, server)
        [request] = other.seen
        assert request.headers["Authorization"] is None


def test_redirects_without_end_are_given_up(environ: dict[str, str]) -> None:
    with Scripted(lambda request: request.reply(302, Location=request.path)) as server:
        with pytest.raises(BuildFailed, match="more than 5 redirects"):
            pull(environ, server)
        assert len(server.seen) == 6


@pytest.mark.parametrize("location", ["", "file:///etc/passwd", "http://[", "http://a b/", "gopher://x/"])
def test_redirects_to_what_is_no_url(environ: dict[str, str], location: str) -> None:
    with Scripted(lambda request: request.reply(302, Location=location)) as server, pytest.raises(BuildFailed):
        pull(environ, server)


def test_a_token_is_got_and_used_again(environ: dict[str, str]) -> None:
    def script(request: Request) -> None:
        if request.path.startswith("/token?"):
            request.reply(200, b'{"token": "tok"}')
        elif request.headers.get("Authorization") != "Bearer tok":
            realm = f"http://{server.host}/token"
            request.reply(401, WWW_Authenticate=f'Bearer realm="{realm}",service="serv ice",scope="repository:a:pull"')
        else:
            serve(files())(request)

    with Scripted(script) as server:
        login(environ, server.host)
        pull(environ, server)
        assert server.lines[:3] == [
            "GET /v2/a/manifests/1",
            "GET /token?service=serv+ice&scope=repository%3Aa%3Apull",
            "GET /v2/a/manifests/1",
        ]
        assert len(server.seen) == 5
        assert server.seen[1].headers["Authorization"] == f"Basic {base64.b64encode(b'ada:secret').decode()}"


@pytest.mark.parametrize("answer", [b"no", b"{}", b'{"token": 7}', b'{"token": "a\\nb"}', b"[]"])
def test_what_is_no_token(environ: dict[str, str], answer: bytes) -> None:
    def script(request: Request) -> None:
        if request.path.startswith("/token"):
            request.reply(200, answer)
        else:
            request.reply(401, WWW_Authenticate=f'Bearer realm="http://{server.host}/token"')

    with Scripted(script) as server, pytest.raises(BuildFailed, match="token"):
        pull(environ, server)


@pytest.mark.parametrize("kind", ["Bearer", "Basic", "Negotiate", "nothing"])
def test_a_login_that_is_asked_for_again_and_again_is_given_up(environ: dict[str, str], kind: str) -> None:
    def script(request: Request) -> None:
        if request.path.startswith("/token"):
            request.reply(200, b'{"token": "tok"}')
            return
        if kind == "nothing":
            request.reply(401)
        else:
            request.reply(401, WWW_Authenticate=f'{kind} realm="http://{server.host}/token"')

    with Scripted(script) as server:
        login(environ, server.host)
        with pytest.raises(Unauthorized, match="refuses ada"):
            pull(environ, server)
        assert len([line for line in server.lines if "/v2/" in line]) <= 2
        assert len(server.lines) <= 3


def test_a_token_server_that_sends_round_in_circles_is_given_up(environ: dict[str, str]) -> None:
    def script(request: Request) -> None:
        if request.path.startswith("/token"):
            request.reply(307, Location=request.path)
        else:
            request.reply(401, WWW_Authenticate=f'Bearer realm="http://{server.host}/token"')

    with Scripted(script) as server:
        with pytest.raises(BuildFailed, match="more than 5 redirects"):
            pull(environ, server)
        assert len(server.seen) == 7


def test_a_token_servers_redirect_takes_no_password_to_another_host(environ: dict[str, str]) -> None:
    with Scripted(lambda request: request.reply(200, b'{"token": "tok"}')) as other:

        def script(request: Request) -> None:
            if request.path.startswith("/token"):
                request.reply(307, Location=f"http://{other.host}/token")
            elif request.headers.get("Authorization") == "Bearer tok":
                serve(files())(request)
            else:
                request.reply(401, WWW_Authenticate=f'Bearer realm="http://{server.host}/token"')

        with Scripted(script) as server:
            login(environ, server.host)
            pull(environ, server)
        [request] = other.seen
        assert request.headers["Authorization"] is None


@pytest.mark.parametrize(
    "realm",
    [
        "http://registry.example.com/token",
        "file:///etc/passwd",
        "ftp://x/",
        "https://a b/",
        "",
        "https://[/",
        "\\x1b[31m",
    ],
)
def test_a_realm_that_is_no_safe_url_gets_no_password(environ: dict[str, str], realm: str) -> None:
    environ["PENSTOCK_INSECURE_REGISTRIES"] = ""
    with Scripted(lambda request: request.reply(401, WWW_Authenticate=f'Bearer realm="{realm}"')) as server:
        login(environ, server.host)
        transport = Transport(environ)
        transport.is_plain = lambda registry: False  # type: ignore[method-assign]
        transport.root = lambda registry: f"http://{registry}"  # type: ignore[method-assign]
        registry = Registry(environ, Store(environ), transport)
        with pytest.raises(BuildFailed, match=r"no URL|not encrypted"):
            registry.pull(parse(f"{server.host}/a:1"), AMD, lambda words: None)


def test_who_has_no_login_is_told_how_to_get_one(environ: dict[str, str]) -> None:
    with Scripted(lambda request: request.reply(401, WWW_Authenticate="Basic realm=x")) as server:
        with pytest.raises(Unauthorized, match=f"docker login {server.host}"):
            pull(environ, server)
        login(environ, server.host)
        with pytest.raises(Unauthorized, match="refuses ada"):
            pull(environ, server)


def test_what_a_registry_says_does_not_steer_the_terminal(environ: dict[str, str]) -> None:
    red = "\x1b[31mred\x9b2J"
    with Scripted(lambda request: request.reply(418, red.encode())) as server, pytest.raises(BuildFailed) as refused:
        pull(environ, server)
    listed = dump({"schemaVersion": 2, "manifests": [{"platform": {"os": red, "architecture": red}}]})
    with Scripted(serve({"/v2/a/manifests/1": listed})) as server, pytest.raises(NotFound) as absent:
        pull(environ, server)
    for caught in (refused, absent):
        assert "\ufffd[31mred\ufffd2J" in str(caught.value)
        assert "\x1b" not in str(caught.value)


def test_a_registry_that_is_broken_for_a_moment_is_asked_again(environ: dict[str, str]) -> None:
    answers = iter([503, 500])

    def script(request: Request) -> None:
        status = next(answers, 200)
        request.reply(status) if status != 200 else serve(files())(request)

    with Scripted(script) as server:
        pull(environ, server)


def test_a_transfer_that_is_cut_is_begun_again(environ: dict[str, str]) -> None:
    cut = iter([True, True])

    def script(request: Request) -> None:
        if request.path.endswith(digest_of(BLOB)) and next(cut, False):
            request.reply(200, BLOB[:3], length=len(BLOB))
        else:
            serve(files())(request)

    with Scripted(script) as server:
        pull(environ, server)
        assert server.lines.count(f"GET /v2/a/blobs/{digest_of(BLOB)}") == 3


def test_a_registry_that_says_nothing_is_given_up(environ: dict[str, str]) -> None:
    over = threading.Event()

    def script(request: Request) -> None:
        over.wait(120)

    with Scripted(script) as server:
        with pytest.raises(Lost, match="does not answer within"):
            pull(environ, server, silence=0.2)
        over.set()


def test_cancelling_ends_a_transfer_that_hangs(environ: dict[str, str]) -> None:
    begun, over = threading.Event(), threading.Event()

    def script(request: Request) -> None:
        begun.set()
        over.wait(120)

    failures: list[str] = []
    with Scripted(script) as server:
        registry = Registry(environ, Store(environ))

        def work() -> None:
            try:
                registry.pull(parse(f"{server.host}/a:1"), AMD, lambda words: None)
            except BuildFailed as error:
                failures.append(str(error))

        thread = threading.Thread(target=work)
        thread.start()
        try:
            assert begun.wait(60)
            registry.cancel()
            thread.join(60)
        finally:
            over.set()
    assert failures == ["the build was cancelled"]


def test_pushing_sends_what_is_missing_in_pieces(environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK", 3)
    store = Store(environ)
    digest = store.add(BLOB)
    config = dict(json.loads(CONFIG_DOCUMENT))
    image = Image(config, (layer_of(digest),))

    def script(request: Request) -> None:
        if request.command == "HEAD":
            request.reply(200 if request.path.endswith(digest_of(config_document(image))) else 404)
        elif request.command == "POST":
            request.reply(202, Location="/v2/a/blobs/uploads/1?state=x")
        elif request.command == "PATCH":
            request.reply(202, Location="/v2/a/blobs/uploads/1?state=y")
        else:
            request.reply(201)

    with Scripted(script) as server:
        Registry(environ, store).push(parse(f"{server.host}/a:1"), image, lambda words: None)
        sent = [request for request in server.seen if request.command == "PATCH"]
        assert [request.body for request in sent] == [b"a l", b"aye", b"r"]
        assert [request.headers["Content-Range"] for request in sent] == ["0-2", "3-5", "6-6"]
        assert server.lines[-1] == "PUT /v2/a/manifests/1"
        put = next(line for line in server.lines if line.startswith("PUT /v2/a/blobs"))
        assert put == f"PUT /v2/a/blobs/uploads/1?state=y&digest={digest.replace(':', '%3A')}"


def uploads(request: Request, mounted: int = 201) -> None:
    """A registry that has nothing yet; `mounted` is what it answers to who wants a blob of another repository."""
    if request.command == "HEAD":
        request.reply(404)
    elif request.command == "POST":
        status = mounted if "mount=" in request.path else 202
        request.reply(status, Location="/v2/mine/blobs/uploads/1")
    else:
        request.reply(202 if request.command == "PATCH" else 201)


def pushed_after_pull(environ: dict[str, str], mounted: int) -> list[str]:
    """What is asked of a registry for the layer of an image of which it has the base in another repository."""

    def script(request: Request) -> None:
        serve(files())(request) if "/v2/a/" in request.path else uploads(request, mounted)

    with Scripted(script) as server:
        registry = Registry(environ, Store(environ))
        image = registry.pull(parse(f"{server.host}/a:1"), AMD, lambda words: None)
        before = len(server.lines)
        registry.push(parse(f"{server.host}/mine:1"), image, lambda words: None)
        return server.lines[before:]


MOUNT = f"POST /v2/mine/blobs/uploads/?mount={digest_of(BLOB).replace(':', '%3A')}&from=a"


def test_a_blob_of_another_repository_is_not_sent_again(environ: dict[str, str]) -> None:
    asked = pushed_after_pull(environ, 201)
    assert asked[:2] == [f"HEAD /v2/mine/blobs/{digest_of(BLOB)}", MOUNT]
    assert sum(line.startswith("PATCH") for line in asked) == 1  # the configuration, which is its own


@pytest.mark.parametrize("status", [202, 401, 403, 404, 405])
def test_unless_the_registry_does_not_want_it_so(environ: dict[str, str], status: int) -> None:
    asked = pushed_after_pull(environ, status)
    assert MOUNT in asked
    assert sum(line.startswith("PATCH") for line in asked) == 2
    assert asked[-1] == "PUT /v2/mine/manifests/1"


def test_blobs_are_known_by_registry(environ: dict[str, str]) -> None:
    store = Store(environ)
    for number in range(20):
        store.remember_place(f"r{number}", digest_of(BLOB), "a")
    store.remember_place("r19", digest_of(BLOB), "b")
    assert [store.place(f"r{number}", digest_of(BLOB)) for number in (3, 4, 18, 19)] == ["", "a", "a", "b"]


def test_a_token_for_two_repositories_is_asked_for_as_such(environ: dict[str, str]) -> None:
    def script(request: Request) -> None:
        if request.path.startswith("/token?"):
            request.reply(200, json.dumps({"token": request.path.count("scope=") * "t"}).encode())
        elif not request.headers.get("Authorization"):
            request.reply(401, WWW_Authenticate=f'Bearer realm="http://{server.host}/token"')
        elif "/v2/a/" in request.path:
            serve(files())(request)
        else:
            uploads(request, 201 if request.headers["Authorization"] == "Bearer tt" else 500)

    with Scripted(script) as server:
        registry = Registry(environ, Store(environ))
        image = registry.pull(parse(f"{server.host}/a:1"), AMD, lambda words: None)
        registry.push(parse(f"{server.host}/mine:1"), image, lambda words: None)
        assert "GET /token?scope=repository%3Amine%3Apull%2Cpush&scope=repository%3Aa%3Apull" in server.lines


def layer_of(digest: str) -> Layer:
    return Layer(digest, len(BLOB), digest_of(b"plain"))


def test_an_upload_that_is_sent_elsewhere_takes_no_credentials(environ: dict[str, str]) -> None:
    store = Store(environ)
    image = Image(dict(json.loads(CONFIG_DOCUMENT)), (layer_of(store.add(BLOB)),))
    with Scripted(lambda request: request.reply(202 if request.command == "PATCH" else 201)) as other:

        def script(request: Request) -> None:
            if not request.headers.get("Authorization"):
                request.reply(401, WWW_Authenticate="Basic realm=x")
            elif request.command == "HEAD":
                request.reply(404)
            elif request.command == "POST":
                request.reply(202, Location=f"http://{other.host}/upload")
            else:
                request.reply(201)

        with Scripted(script) as server:
            login(environ, server.host)
            Registry(environ, store).push(parse(f"{server.host}/a:1"), image, lambda words: None)
        assert {request.headers["Authorization"] for request in other.seen} == {None}
        assert len(other.seen) == 4


@pytest.mark.parametrize(
    "location", ["http://elsewhere.example.com/u", "http://{host}/u", "", "file:///etc/passwd", "//[/"]
)
@pytest.mark.parametrize("moment", ["POST", "PATCH"])
def test_an_upload_is_not_sent_to_a_less_safe_place(environ: dict[str, str], location: str, moment: str) -> None:
    """As if the registry spoke TLS: its name stands for another that does not, as a test has no certificate."""
    store = Store(environ)
    image = Image(dict(json.loads(CONFIG_DOCUMENT)), (layer_of(store.add(BLOB)),))

    def script(request: Request) -> None:
        if request.command == "HEAD":
            request.reply(404)
        else:
            asked = location.format(host=server.host) if request.command == moment else "/v2/a/blobs/uploads/1"
            request.reply(202, Location=asked)

    with Scripted(script) as server:
        transport = Secure(environ, server.host)
        with pytest.raises(BuildFailed, match=r"not as safe|no URL|answers 202"):
            Registry(environ, store, transport).push(parse("secure.example.com/a:1"), image, lambda words: None)
        assert all("Authorization" not in request.headers for request in server.seen)


class Secure(Transport):
    """Lets requests to https://secure.example.com go to a server without TLS."""

    def __init__(self, environ: dict[str, str], host: str) -> None:
        super().__init__(environ)
        self._host = host

    @contextlib.contextmanager
    def request(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | BinaryIO = b"", length: int | None = None
    ) -> Iterator[Answer]:
        assert url.startswith("https://secure.example.com/")
        plain = url.replace("https://secure.example.com/", f"http://{self._host}/")
        with super().request(method, plain, headers, body, length) as answer:
            answer.url = url
            yield answer


def test_a_login_is_tried(environ: dict[str, str]) -> None:
    right = f"Basic {base64.b64encode(b'ada:right').decode()}"

    def script(request: Request) -> None:
        request.reply(200) if request.headers.get("Authorization") == right else request.reply(
            401, WWW_Authenticate="Basic realm=x"
        )

    with Scripted(script) as server:
        assert check_login(server.host, User("ada", "right"), environ)
        with pytest.raises(Unauthorized):
            check_login(server.host, User("ada", "wrong"), environ)
    with Scripted(lambda request: request.reply(200)) as server:
        assert not check_login(server.host, User("ada", "any"), environ)
    with pytest.raises(Lost, match="cannot be reached"):
        check_login(server.host, User("ada", "any"), environ)
