"""The static mode: files, conditions, ranges, and paths that try to leave the root."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from penstock.errors import SettingsError
from penstock.watchdog.modes.static import parse_date, parse_range
from penstock.wire.date import http_date

Start = Callable[..., Awaitable[Any]]


@pytest.fixture
async def site(start: Start, tmp_path: Path) -> Any:
    root = tmp_path / "public"
    (root / "sub").mkdir(parents=True)
    (root / "empty").mkdir()
    (root / "index.html").write_text("<html>home</html>")
    (root / "sub" / "index.html").write_text("<html>sub</html>")
    (root / "a b.txt").write_text("0123456789")
    (root / "app.js").write_text("1")
    (root / "unknown").write_bytes(b"\x89PNG\r\n\x1a\n...")
    (root / "big.bin").write_bytes(os.urandom(3 << 20))
    (tmp_path / "secret").write_text("secret")
    (root / "link").symlink_to(tmp_path / "secret")
    (root / "inside").symlink_to(root / "a b.txt")
    os.mkfifo(root / "pipe")
    return await start(mode="static", static_path=str(root))


async def test_a_file_comes_with_type_length_etag_and_date(site: Any) -> None:
    answer = await site.call("GET", "/a%20b.txt")
    assert (answer.status, answer.body) == (200, b"0123456789")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["etag"].startswith('"')
    assert parse_date(answer.headers["last-modified"].encode())


@pytest.mark.parametrize(
    ("target", "kind"),
    [("/", "text/html; charset=utf-8"), ("/app.js", "text/javascript; charset=utf-8"), ("/unknown", "image/png")],
)
async def test_types(site: Any, target: str, kind: str) -> None:
    assert (await site.call("GET", target)).headers["content-type"] == kind


async def test_a_directory_serves_its_index_and_redirects_to_its_slash(site: Any) -> None:
    assert (await site.call("GET", "/sub/")).body == b"<html>sub</html>"
    answer = await site.call("GET", "/sub?x=1")
    assert (answer.status, answer.headers["location"]) == (301, "sub/?x=1")


@pytest.mark.parametrize("target", ["/nothing", "/nothing/", "/a%20b.txt/", "/pipe", "/sub/index.html/"])
async def test_what_is_not_there_is_404(site: Any, target: str) -> None:
    assert (await site.call("GET", target)).status == 404


@pytest.mark.parametrize(
    "target",
    [
        "/../secret",
        "/%2e%2e/secret",
        "/sub/../../secret",
        "/..%2fsecret",
        "/%2e%2e%2fsecret",
        "/link",
        "//../secret",
        "/a%20b.txt%00.html",
        "/%zz",
        "/sub%2findex.html",
    ],
)
async def test_nothing_outside_the_root_is_served(site: Any, target: str) -> None:
    answer = await site.call("GET", target, headers=[("X-Call-Id", "1")])
    assert answer.status in (400, 404)
    assert b"secret" not in answer.body


async def test_a_link_inside_the_root_is_followed(site: Any) -> None:
    assert (await site.call("GET", "/inside")).body == b"0123456789"


@pytest.mark.parametrize(("target", "place"), [("//sub", "/sub"), ("//\\\\evil", "/%5C%5Cevil")])
async def test_a_redirect_never_leads_to_another_host(site: Any, target: str, place: str) -> None:
    answer = await site.call("GET", target)
    assert answer.headers["location"] == place


async def test_head_has_the_length_and_no_body(site: Any) -> None:
    answer = await site.call("HEAD", "/big.bin")
    assert (answer.status, answer.body, answer.headers["content-length"]) == (200, b"", str(3 << 20))


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "FOO"])
async def test_other_methods_are_answered_like_get(site: Any, method: str) -> None:
    answer = await site.call(method, "/", b"ignored")
    assert (answer.status, answer.body) == (200, b"<html>home</html>")


async def test_conditions_of_other_methods_fail_or_do_not_count(site: Any) -> None:
    etag = (await site.call("GET", "/")).headers["etag"]
    assert (await site.call("GET", "/", headers=[("If-None-Match", etag)])).status == 304
    assert (await site.call("POST", "/", headers=[("If-None-Match", etag)])).status == 412
    later = [("If-Modified-Since", "Fri, 01 Jan 2100 00:00:00 GMT")]
    assert (await site.call("POST", "/", headers=later)).status == 200


async def test_a_directory_without_an_index_is_listed(site: Any, tmp_path: Path) -> None:
    folder = tmp_path / "public" / "empty"
    for name in ("b<i>.txt", "a b", "x:y", "ü"):
        (folder / name).touch()
    (folder / "dir").mkdir()
    answer = await site.call("GET", "/empty/")
    assert (answer.status, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert answer.body.decode().splitlines() == [
        "<!doctype html>",
        '<meta name="viewport" content="width=device-width">',
        "<pre>",
        '<a href="a%20b">a b</a>',
        '<a href="b%3Ci%3E.txt">b&lt;i&gt;.txt</a>',
        '<a href="dir/">dir/</a>',
        '<a href="./x%3Ay">x:y</a>',
        '<a href="%C3%BC">ü</a>',
        "</pre>",
    ]
    assert (await site.call("HEAD", "/empty/")).body == b""
    fresh = [("If-Modified-Since", answer.headers["last-modified"])]
    assert (await site.call("GET", "/empty/", headers=fresh)).status == 304


async def test_a_directory_outside_the_root_is_not_listed(site: Any, tmp_path: Path) -> None:
    (tmp_path / "private").mkdir()
    (tmp_path / "public" / "out").symlink_to(tmp_path / "private")
    assert (await site.call("GET", "/out/")).status == 404
    assert (await site.call("GET", "/out")).status == 404


async def test_a_large_file_arrives_whole(site: Any, tmp_path: Path) -> None:
    answer = await site.call("GET", "/big.bin")
    assert answer.complete
    assert answer.body == (tmp_path / "public" / "big.bin").read_bytes()


async def test_a_slow_client_gets_a_large_file_whole(site: Any, tmp_path: Path) -> None:
    reader, writer = await site.connect()
    reader._transport.pause_reading()
    writer.write(b"GET /big.bin HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    await asyncio.sleep(0.3)
    reader._transport.resume_reading()
    data = await asyncio.wait_for(reader.read(), 30)
    assert data.endswith((tmp_path / "public" / "big.bin").read_bytes())


async def test_a_client_that_leaves_a_download_leaks_no_descriptor(
    site: Any, until: Any, descriptors: Callable[[], set[str]]
) -> None:
    reader, writer = await site.connect()
    reader._transport.pause_reading()
    writer.write(b"GET /big.bin HTTP/1.1\r\nHost: x\r\n\r\n")
    await until(lambda: any("big.bin" in entry for entry in descriptors()))
    writer.transport.abort()
    await until(lambda: not any("big.bin" in entry for entry in descriptors()))


async def test_conditions(site: Any) -> None:
    first = await site.call("GET", "/app.js")
    etag, date = first.headers["etag"], first.headers["last-modified"]
    for fields, status in [
        ([("If-None-Match", etag)], 304),
        ([("If-None-Match", f'"x", W/{etag}')], 304),
        ([("If-None-Match", "*")], 304),
        ([("If-None-Match", '"x"'), ("If-Modified-Since", date)], 200),
        ([("If-Modified-Since", date)], 304),
        ([("If-Modified-Since", "Mon, 01 Jan 2001 00:00:00 GMT")], 200),
        ([("If-Modified-Since", "yesterday")], 200),
        ([("If-Match", '"x"')], 412),
        ([("If-Match", etag)], 200),
        ([("If-Unmodified-Since", "Mon, 01 Jan 2001 00:00:00 GMT")], 412),
    ]:
        assert (await site.call("GET", "/app.js", headers=fields)).status == status, fields


async def test_a_range_is_206_and_one_outside_is_416(site: Any) -> None:
    answer = await site.call("GET", "/a%20b.txt", headers=[("Range", "bytes=2-4")])
    assert (answer.status, answer.body, answer.headers["content-range"]) == (206, b"234", "bytes 2-4/10")
    answer = await site.call("GET", "/a%20b.txt", headers=[("Range", "bytes=10-")])
    assert (answer.status, answer.headers["content-range"]) == (416, "bytes */10")


async def test_an_if_range_that_does_not_match_gives_the_whole_file(site: Any) -> None:
    fields = [("Range", "bytes=2-4"), ("If-Range", '"other"')]
    assert (await site.call("GET", "/a%20b.txt", headers=fields)).body == b"0123456789"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"bytes=0-0", (0, 1)),
        (b"bytes=5-", (5, 5)),
        (b"bytes=-3", (7, 3)),
        (b"bytes=-99", (0, 10)),
        (b"bytes=0-99", (0, 10)),
        (b"bytes=10-", (10, 0)),
        (b"bytes=-0", (10, 0)),
        (b"bytes=4-2", None),
        (b"bytes=0-1,3-4", None),
        (b"bytes=-", None),
        (b"lines=0-1", None),
        (b"bytes=99999999999999999999-", None),
    ],
)
def test_ranges(value: bytes, expected: tuple[int, int] | None) -> None:
    assert parse_range(value, 10) == expected


def test_dates_go_both_ways() -> None:
    assert http_date(784111777) == b"Sun, 06 Nov 1994 08:49:37 GMT"
    assert parse_date(b"Sun, 06 Nov 1994 08:49:37 GMT") == 784111777
    assert parse_date(b"Sun, 06 Foo 1994 08:49:37 GMT") is None


async def test_a_root_that_is_no_directory_is_refused_at_start(start: Start, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="static_path"):
        await start(mode="static", static_path=str(tmp_path / "missing"))
