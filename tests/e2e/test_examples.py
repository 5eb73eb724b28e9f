"""Each bundled example, called over HTTP with real input, and what it answers looked at."""

from __future__ import annotations

import hashlib
import html
import http.client
import json
import socket
import struct
import subprocess
from collections.abc import Iterator

import aiohttp
import pytest

from penstock.examples import examples_directory, find_program, load_examples
from tests.conftest import debian_path
from tests.e2e.serving import Penstock, wait_until

INPUT = examples_directory() / "input"


def run(program: str, *arguments: str) -> bytes:
    """What a program of Debian writes on stdout."""
    path = find_program(program, debian_path())
    return subprocess.run(
        [path, *arguments], stdin=subprocess.DEVNULL, capture_output=True, check=True, timeout=120
    ).stdout


def png_size(data: bytes) -> tuple[int, int]:
    """Width and height from a PNG's header chunk."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n", data[:60]
    width, height = struct.unpack(">II", data[16:24])
    return width, height


def jpeg_size(data: bytes) -> tuple[int, int]:
    """Width and height from a JPEG's frame header."""
    assert data[:2] == b"\xff\xd8", data[:60]
    at = 2
    while data[at + 1] not in (0xC0, 0xC1, 0xC2):
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    height, width = struct.unpack(">HH", data[at + 5 : at + 9])
    return width, height


@pytest.fixture
def ready(penstock: Penstock, request: pytest.FixtureRequest) -> Penstock:
    """Penstock with the example that the test's `example` mark names ready to answer."""
    marker = request.node.get_closest_marker("example")
    assert marker is not None
    penstock.wait_ready(marker.args[0])
    return penstock


@pytest.mark.service("convert", "ffmpeg", "tesseract", "figlet", "jq", "javac", "node")
def test_every_example_is_deployed(penstock: Penstock) -> None:
    names = {spec.name for spec in load_examples()}

    def deployed() -> bool:
        listed = penstock.request("GET", "/system/functions", admin=True).json()
        return names <= {function["name"] for function in listed}

    wait_until(deployed, f"functions {sorted(names)}")


@pytest.mark.service("convert")
@pytest.mark.example("thumbnail")
def test_thumbnail_halves_a_jpeg_and_keeps_its_format(ready: Penstock) -> None:
    picture = (INPUT / "picture.jpg").read_bytes()
    answer = ready.invoke("thumbnail", picture)
    assert answer.status == 200, answer
    assert jpeg_size(picture) == (640, 400)
    assert jpeg_size(answer.body) == (320, 200)
    assert len(answer.body) < len(picture)


@pytest.mark.service("convert")
@pytest.mark.example("thumbnail")
def test_thumbnail_halves_a_png_of_many_colours(ready: Penstock) -> None:
    picture = run("convert", "-size", "1000x750", "plasma:red-blue", "png:-")
    answer = ready.invoke("thumbnail", picture)
    assert answer.status == 200, answer
    assert png_size(answer.body) == (500, 375)


@pytest.mark.service("convert")
@pytest.mark.example("thumbnail")
def test_thumbnail_of_what_is_no_picture_is_an_error(ready: Penstock) -> None:
    assert ready.invoke("thumbnail", b"this is not a picture").status == 500


@pytest.mark.service("ffmpeg")
@pytest.mark.example("video-frame")
def test_video_frame_is_a_png_of_the_videos_size(ready: Penstock) -> None:
    answer = ready.invoke("video-frame", (INPUT / "clip.mkv").read_bytes())
    assert answer.status == 200, answer
    assert answer.headers["content-type"] == "image/png"
    assert png_size(answer.body) == (320, 180)


@pytest.mark.service("ffmpeg")
@pytest.mark.example("video-frame")
def test_video_frame_arrives_before_the_video_has_ended(ready: Penstock) -> None:
    source = "testsrc2=size=640x360:rate=25:duration=8"
    video = run(
        "ffmpeg",
        "-loglevel",
        "error",
        "-f",
        "lavfi",
        "-i",
        source,
        "-c:v",
        "mpeg2video",
        "-q:v",
        "2",
        "-f",
        "mpegts",
        "-",
    )
    half = len(video) // 2
    connection = http.client.HTTPConnection(*ready.address, timeout=120)
    try:
        connection.putrequest("POST", "/function/video-frame")
        connection.putheader("Content-Length", str(len(video)))
        connection.endheaders()
        connection.send(video[:half])
        response = connection.getresponse()
        assert response.status == 200
        assert png_size(response.read()) == (640, 360)
    finally:
        connection.close()


@pytest.mark.service("tesseract")
@pytest.mark.example("ocr")
def test_ocr_reads_the_words_of_a_picture(ready: Penstock) -> None:
    answer = ready.invoke("ocr", (INPUT / "sentence.png").read_bytes())
    assert answer.status == 200, answer
    assert answer.text.split() == ["A", "penstock", "carries", "water", "to", "the", "turbine", "below."]


@pytest.mark.example("wc")
def test_wc_counts_lines_words_and_bytes(ready: Penstock) -> None:
    answer = ready.invoke("wc", "one two\nthree fünf\n".encode())
    assert answer.status == 200, answer
    assert answer.text.split() == ["2", "4", "20"]


@pytest.mark.service("jq")
@pytest.mark.example("jq")
def test_jq_answers_json(ready: Penstock) -> None:
    answer = ready.invoke("jq", json.dumps([{"name": "gate"}, {"name": "pipe", "size": 3}]).encode())
    assert answer.status == 200, answer
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == ["gate", "pipe"]


@pytest.mark.service("jq")
@pytest.mark.example("jq")
def test_jq_on_what_is_not_json_is_an_error(ready: Penstock) -> None:
    assert ready.invoke("jq", b"{").status == 500


@pytest.mark.service("figlet")
@pytest.mark.example("figlet")
def test_figlet_writes_what_the_program_itself_writes(ready: Penstock) -> None:
    answer = ready.invoke("figlet", b"Hello\n")
    assert answer.status == 200, answer
    assert answer.body == run("figlet", "Hello")


@pytest.mark.example("http-app")
def test_http_app_sees_path_query_and_body(ready: Penstock) -> None:
    assert ready.request("GET", "/function/http-app/slug?text=The%20Caf%C3%A9%20Bar").json() == {"slug": "the-cafe-bar"}
    answer = ready.invoke("http-app/stats", b"a penstock\ncarries water\n")
    assert answer.json() == {"lines": 2, "words": 4, "characters": 25, "longest_word": "penstock"}


@pytest.mark.example("http-app")
def test_http_app_chooses_its_own_status(ready: Penstock) -> None:
    assert ready.request("GET", "/function/http-app/nowhere").status == 404
    assert ready.request("PUT", "/function/http-app/").status == 501


@pytest.mark.example("static-site")
def test_static_site_serves_pages_and_their_types(ready: Penstock) -> None:
    page = ready.request("GET", "/function/static-site/")
    assert page.status == 200, page
    assert page.headers["content-type"].startswith("text/html")
    assert page.body == (examples_directory() / "static-site" / "index.html").read_bytes()
    style = ready.request("GET", "/function/static-site/style.css")
    assert style.headers["content-type"].startswith("text/css")
    assert ready.request("GET", "/function/static-site/missing").status == 404


@pytest.mark.example("static-site")
def test_static_site_answers_conditional_and_partial_requests(ready: Penstock) -> None:
    page = ready.request("GET", "/function/static-site/style.css")
    since = {"If-Modified-Since": page.headers["last-modified"]}
    assert ready.request("GET", "/function/static-site/style.css", headers=since).status == 304
    part = ready.request("GET", "/function/static-site/style.css", headers={"Range": "bytes=5-9"})
    assert (part.status, part.body) == (206, page.body[5:10])


@pytest.mark.example("static-site")
def test_static_site_keeps_its_neighbours_to_itself(ready: Penstock) -> None:
    for path in ("../stack.yml", "%2e%2e/stack.yml", "..%2fstack.yml", "notes/../../stack.yml"):
        answer = ready.request("GET", f"/function/static-site/{path}")
        assert b"fprocess" not in answer.body, path


def events(response: http.client.HTTPResponse) -> Iterator[dict[str, str]]:
    """Server-sent events, each as its fields, as soon as its closing empty line has been read."""
    event: dict[str, str] = {}
    while line := response.readline().decode():
        if line == "\n":
            yield event
            event = {}
        else:
            name, _, value = line.rstrip("\n").partition(": ")
            event[name] = value


@pytest.mark.example("sse-clock")
def test_sse_clock_events_arrive_while_the_clock_goes_on(ready: Penstock) -> None:
    connection = http.client.HTTPConnection(*ready.address, timeout=120)
    try:
        connection.request("GET", "/function/sse-clock?interval=0.05", headers={"Accept": "text/event-stream"})
        response = connection.getresponse()
        assert response.status == 200
        assert response.headers["Content-Type"] == "text/event-stream"
        stream = events(response)
        assert [json.loads(next(stream)["data"])["tick"] for _ in range(3)] == [1, 2, 3]
    finally:
        connection.close()


@pytest.mark.example("sse-clock")
def test_sse_clock_ends_after_the_count_that_was_asked_for(ready: Penstock) -> None:
    answer = ready.request("GET", "/function/sse-clock?interval=0.01&count=4")
    assert answer.body.count(b"event: tick") == 4
    assert ready.request("GET", "/function/sse-clock?count=many").status == 400


@pytest.mark.example("ws-echo")
async def test_ws_echo_sends_text_and_bytes_back(ready: Penstock) -> None:
    async with aiohttp.ClientSession() as session, session.ws_connect(f"{ready.base}/function/ws-echo") as socket:
        await socket.send_str("wörds")
        assert await socket.receive_str() == "wörds"
        payload = bytes(range(256)) * 1000
        await socket.send_bytes(payload)
        assert await socket.receive_bytes() == payload


@pytest.mark.example("ws-echo")
async def test_ws_echo_serves_several_sockets_at_once(ready: Penstock) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"{ready.base}/function/ws-echo") as first,
        session.ws_connect(f"{ready.base}/function/ws-echo") as second,
    ):
        await first.send_str("first")
        await second.send_str("second")
        assert (await second.receive_str(), await first.receive_str()) == ("second", "first")


@pytest.mark.example("ws-echo")
def test_ws_echo_tells_a_plain_client_to_upgrade(ready: Penstock) -> None:
    assert ready.request("GET", "/function/ws-echo").status == 426


@pytest.mark.service("figlet")
@pytest.mark.example("figlet")
def test_figlet_answers_what_the_readme_shows(ready: Penstock) -> None:
    readme = (examples_directory() / "README.md").read_text()
    letters = ready.invoke("figlet", b"Penstock").text.splitlines()
    assert "\n".join(line.rstrip() for line in letters).rstrip() in readme


def shown_in_readme(answer: str) -> bool:
    return f"```text\n{answer.rstrip()}\n```" in (examples_directory() / "README.md").read_text()


@pytest.mark.service("javac")
@pytest.mark.example("java-feed")
def test_java_feed_answers_what_the_readme_shows(ready: Penstock) -> None:
    answer = ready.invoke("java-feed", (INPUT / "feed.xml").read_bytes())
    assert answer.status == 200, answer
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert shown_in_readme(answer.text)


@pytest.mark.service("javac")
@pytest.mark.example("java-feed")
def test_java_feed_reads_atom_and_leaves_links_out_that_would_run(ready: Penstock) -> None:
    entries = "".join(
        f"<entry><title>{title}</title><link href='{link}'/></entry>"
        for title, link in [("good", "https://waterworks.example/"), ("bad", "javascript:alert(1)")]
    )
    feed = f"<feed xmlns='http://www.w3.org/2005/Atom'><title>Fünf</title>{entries}</feed>"
    answer = ready.invoke("java-feed", feed.encode())
    assert "<h1>Fünf</h1>" in html.unescape(answer.text) and 'href="https://waterworks.example/"' in answer.text
    assert "bad" in answer.text and "javascript" not in answer.text


@pytest.mark.service("javac")
@pytest.mark.example("java-feed")
@pytest.mark.parametrize(
    "feed",
    [
        b"no feed",
        b"",
        b'<!DOCTYPE r [<!ENTITY x SYSTEM "file:///etc/hostname">]><rss><channel><title>&x;</title></channel></rss>',
    ],
)
def test_java_feed_of_what_it_will_not_read_is_an_error_of_the_client(ready: Penstock, feed: bytes) -> None:
    assert ready.invoke("java-feed", feed).status == 400


@pytest.mark.service("node")
@pytest.mark.example("node-csv")
def test_node_csv_answers_what_the_readme_shows(ready: Penstock) -> None:
    answer = ready.invoke("node-csv", (INPUT / "dams.csv").read_bytes())
    assert answer.status == 200, answer
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert shown_in_readme(answer.text)


@pytest.mark.service("node")
@pytest.mark.example("node-csv")
def test_node_csv_answers_a_row_before_the_table_has_ended(ready: Penstock) -> None:
    connection = http.client.HTTPConnection(*ready.address, timeout=120)
    try:
        connection.putrequest("POST", "/function/node-csv")
        connection.putheader("Transfer-Encoding", "chunked")
        connection.endheaders()
        connection.send(b"5\r\nn\nx\ny\r\n")
        response = connection.getresponse()
        assert response.readline() == b'{"n":"x"}\n'
        connection.send(b"0\r\n\r\n")
        assert response.read() == b'{"n":"y"}\n'
    finally:
        connection.close()


@pytest.mark.example("python-search")
def test_python_search_finds_what_the_readme_shows(ready: Penstock) -> None:
    answer = ready.request("GET", "/function/python-search?q=first+video")
    assert answer.status == 200, answer
    assert shown_in_readme(answer.text)


@pytest.mark.example("python-search")
def test_python_search_takes_every_word_as_a_word(ready: Penstock) -> None:
    for words in ("%22", "NEAR(", "*", "", "a%00b", "title:jq"):
        assert ready.request("GET", f"/function/python-search?q={words}").json() == [], words


@pytest.mark.example("python-stats")
def test_python_stats_answers_what_the_readme_shows(ready: Penstock) -> None:
    answer = ready.invoke("python-stats?column=height", (INPUT / "dams.csv").read_bytes())
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    readme = (INPUT.parent / "README.md").read_text()
    assert f"```text\n{answer.text}```" in readme


@pytest.mark.example("python-stats")
def test_python_stats_of_a_column_that_is_not_there_names_those_that_are(ready: Penstock) -> None:
    answer = ready.invoke("python-stats", (INPUT / "dams.csv").read_bytes())
    assert (answer.status, answer.text) == (400, "column must be one of: name, height, note\n")
    assert ready.invoke("python-stats?column=x").status == 400


@pytest.mark.example("asgi-digest")
def test_asgi_digest_is_that_of_the_body(ready: Penstock) -> None:
    clip = (INPUT / "clip.mkv").read_bytes()
    last = json.loads(ready.invoke("asgi-digest", clip).text.splitlines()[-1])
    assert last == {"bytes": len(clip), "sha256": hashlib.sha256(clip).hexdigest()}


@pytest.mark.example("asgi-digest")
def test_asgi_digest_tells_its_progress_while_the_body_is_on_its_way(ready: Penstock) -> None:
    with socket.create_connection(ready.address, timeout=60) as client:
        client.sendall(
            b"POST /function/asgi-digest HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nfour\r\n"
        )
        told = b""
        while b'{"bytes": 4}' not in told:
            piece = client.recv(65536)
            assert piece, told
            told += piece
        client.sendall(b"0\r\n\r\n")
        while not told.endswith(b"0\r\n\r\n"):
            piece = client.recv(65536)
            assert piece, told
            told += piece
    assert hashlib.sha256(b"four").hexdigest().encode() in told
