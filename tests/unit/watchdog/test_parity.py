"""Facts about the original watchdogs (contract/watchdog-cli.md §1, §2), as transcripts: what is sent, what comes back.

Each test is named after the fact that it holds. Head lines are compared as a set, names in lower case; `Date` is not among them
unless its value is the program's. What differs on purpose is in docs/reference/deviations.md and tested beside its mode.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from penstock.errors import SettingsError
from penstock.watchdog.settings import load_settings
from tests.watchdogs import LIMITS

Start = Callable[..., Awaitable[Any]]
Script = Callable[[str], str]
Until = Callable[[Callable[[], object]], Awaitable[None]]


async def transcript(running: Any, request: bytes) -> tuple[bytes, set[bytes], bytes]:
    """Status line, field lines and body of the answer, as bytes. The connection is closed after it."""
    reader, writer = await running.connect()
    head, _, body = request.partition(b"\n\n")
    lines = [*head.split(b"\n"), b"Host: test", b"Connection: close"]
    if body:
        lines.append(b"Content-Length: %d" % len(body))
    writer.write(b"\r\n".join(lines) + b"\r\n\r\n" + body)
    answer = await asyncio.wait_for(reader.read(), 30)
    writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *fields = head.split(b"\r\n")
    seconds = re.compile(rb"\d+\.\d{6}$")
    shown = {name.lower() + b":" + seconds.sub(b"#", value) for name, _, value in (f.partition(b":") for f in fields)}
    ours = {field for field in shown if field == b"connection: close" or re.match(rb"date: \w{3}, ", field)}
    return status, shown - ours, body


def get(path: str, *fields: str) -> bytes:
    return "\n".join([f"GET {path} HTTP/1.1", *fields]).encode()


def post(body: str, *fields: str) -> bytes:
    return "\n".join(["POST / HTTP/1.1", *fields, "", body]).encode()


# Variables


@pytest.mark.parametrize("mode", ["classic", "streaming"])
def test_what_variables_may_say(mode: str) -> None:
    def load(**variables: str) -> Any:
        return load_settings({"fprocess": "cat", "mode": mode, **variables})

    assert load(read_timeout="5").read_timeout == load(read_timeout="5000ms").read_timeout == 5
    assert load(read_timeout="-5").read_timeout == load(read_timeout="5 s").read_timeout == 30
    assert load(exec_timeout="-5s").exec_timeout == load(exec_timeout="0").exec_timeout == 0
    assert load(write_timeout="0").write_timeout == 0  # of refuses it, where it would cut every answer
    assert [load(cgi_headers=text).cgi_headers for text in ("", "true", "1", "True", "x")] == [True, True, *[False] * 3]
    for name in ("write_debug", "marshal_request", "debug_headers"):
        assert [getattr(load(**{name: text}), name) for text in ("true", "1", "TRUE", "")] == [True, *[False] * 3]
    for name in ("suppress_lock", "jwt_auth_local", "jwt_auth_debug", "buffer_http"):
        assert [getattr(load(**{name: text}), name) for text in ("true", "1", "True", "t")] == [
            True,
            True,
            False,
            False,
        ]
    assert load(prefix_logs="no").prefix_logs
    assert not load(prefix_logs="f").prefix_logs
    assert [load(log_callid=text).log_callid for text in ("t", "TRUE", "yes")] == [True, True, False]
    assert not load(log_call_id="true").log_callid
    assert [load(max_inflight=text).max_inflight for text in ("3", "-3", "x")] == [3, 0, 0]
    assert [load(log_buffer_size=text).log_buffer_size for text in ("", "9", "-1")] == [65536, 9, -1]
    with pytest.raises(SettingsError, match="log_buffer_size"):
        load(log_buffer_size="64k")
    with pytest.raises(SettingsError, match="ready_path"):
        load(ready_path="live")


# The start and the end


def test_the_lines_and_the_lock_file_of_a_life(launch: Any, tmp_path: Path, reserved_port: int) -> None:
    process = launch(
        fprocess="cat", LISTEN="", CALLED="fwatchdog", port="0", PENSTOCK_WATCHDOG_METRICS_PORT=str(reserved_port)
    )
    lines: list[bytes] = []
    while not lines or b"Metrics" not in lines[-1]:
        lines.append(process.stderr.readline())
        assert lines[-1], lines
    lock = (tmp_path / ".lock").stat()
    os.umask(mask := os.umask(0))
    assert (lock.st_size, stat.S_IMODE(lock.st_mode)) == (0, 0o660 & ~mask)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
    stamp = re.compile(rb"\d{4}/\d\d/\d\d \d\d:\d\d:\d\d ")
    words = [stamp.sub(b"", line, count=1) for line in (*lines[1:], *process.stderr.read().splitlines(True))]
    assert all(stamp.match(line) for line in lines)
    assert words[0] == b"Timeouts: read: 30s write: 30s hard: 0s health: 0s.\n"
    assert re.fullmatch(rb"Listening on port: \d+\n", words[1])
    assert words[2] == f"Writing lock-file to: {tmp_path}/.lock\n".encode()
    assert words[3] == f"Metrics listening on port: {reserved_port}\n".encode()
    assert words[4] == b"SIGTERM: no new connections in 0s\n"
    assert words[5].startswith(b"No new connections allowed, draining: 0 requests")
    assert words[6:] == [b"Exiting. Active connections: 0\n"]
    assert not (tmp_path / ".lock").exists()


# The classic watchdog


async def test_two_spaces_make_an_empty_argument(start: Start) -> None:
    running = await start(fprocess="printf [%s][%s][%s] a  b")
    assert (await transcript(running, get("/")))[2] == b"[a][][b]"


async def test_exit_code_0_is_200_with_the_duration_and_a_guessed_type(start: Start) -> None:
    running = await start(fprocess="echo hello")
    assert await transcript(running, get("/")) == (
        b"HTTP/1.1 200 OK",
        {b"content-type: text/plain; charset=utf-8", b"content-length: 6", b"x-duration-seconds: #"},
        b"hello\n",
    )


async def test_another_exit_code_is_500_and_its_words_precede_the_output(start: Start, script: Script) -> None:
    running = await start(fprocess=script("echo out; echo err >&2; exit 3"))
    status, fields, body = await transcript(running, get("/"))
    assert (status, body) == (b"HTTP/1.1 500 Internal Server Error", b"exit status 3\nout\nerr\n")
    assert b"content-type: text/plain; charset=utf-8" in fields
    assert not any(field.startswith(b"x-duration-seconds") for field in fields)


async def test_the_word_for_a_signal_is_its_name(start: Start, script: Script) -> None:
    running = await start(fprocess=script("echo out; kill -9 $$"))
    assert (await transcript(running, get("/")))[2] == b"signal: killed\nout\n"


async def test_exec_timeout_is_408_and_the_output_is_discarded(start: Start, script: Script) -> None:
    running = await start(fprocess=script("echo out; exec sleep 600"), exec_timeout="300ms")
    status, _, body = await transcript(running, get("/"))
    assert (status, body) == (b"HTTP/1.1 408 Request Timeout", b"Killed process.\n")


async def test_a_missing_program_is_500_with_a_reason(start: Start) -> None:
    status, _, body = await transcript(await start(fprocess="/missing/program"), get("/"))
    assert status == b"HTTP/1.1 500 Internal Server Error"
    assert body.endswith(b"\n")
    assert b"/missing/program" in body


async def test_the_type_of_the_request_is_echoed_on_success(start: Start) -> None:
    running = await start(fprocess="cat")
    _, fields, body = await transcript(running, post("a=b", "Content-Type: application/x-www-form-urlencoded"))
    assert body == b"a=b"
    assert b"content-type: application/x-www-form-urlencoded" in fields


async def test_the_type_of_an_error_is_guessed_whatever_the_request_said(start: Start) -> None:
    _, fields, _ = await transcript(await start(fprocess="false"), post("x", "Content-Type: image/png"))
    assert b"content-type: text/plain; charset=utf-8" in fields


async def test_content_type_outweighs_the_request(start: Start) -> None:
    running = await start(fprocess="cat", content_type="application/json")
    assert b"content-type: application/json" in (await transcript(running, post("{}", "Content-Type: a/b")))[1]


async def test_html_is_recognised(start: Start) -> None:
    _, fields, _ = await transcript(await start(fprocess="echo <html><body>"), get("/"))
    assert b"content-type: text/html; charset=utf-8" in fields


async def test_a_large_answer_has_its_length_too(start: Start) -> None:
    _, fields, body = await transcript(await start(fprocess="head -c 300000 /dev/zero"), get("/"))
    assert (len(body), b"content-length: 300000" in fields) == (300000, True)


async def test_a_body_that_cannot_be_read_is_400_and_nothing_is_run(start: Start, tmp_path: Path) -> None:
    running = await start(fprocess=f"touch {tmp_path}/run")
    reader, writer = await running.connect()
    writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nno size\r\n")
    answer = await asyncio.wait_for(reader.read(), 30)  # and the connection is closed
    assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert re.search(rb"\r\n\r\n[^\n]+\n$", answer)
    assert not (tmp_path / "run").exists()


async def test_no_output_has_no_type(start: Start) -> None:
    _, fields, body = await transcript(await start(fprocess="true"), get("/"))
    assert (body, fields) == (b"", {b"content-length: 0", b"x-duration-seconds: #"})


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "TRACE", "FOO"])
async def test_classic_knows_five_methods_and_answers_405_to_others(start: Start, method: str) -> None:
    status, fields, body = await transcript(await start(fprocess="cat"), f"{method} / HTTP/1.1".encode())
    assert (status, body) == (b"HTTP/1.1 405 Method Not Allowed", b"")
    assert b"content-length: 0" in fields


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
async def test_classic_runs_the_program_for_five_methods(start: Start, method: str) -> None:
    running = await start(fprocess="printenv Http_Method")
    assert (await transcript(running, f"{method} / HTTP/1.1".encode()))[2] == method.encode() + b"\n"


async def test_variables_of_the_request_are_spelled_as_in_the_original(start: Start) -> None:
    running = await start(fprocess="printenv")
    request = b"POST /a%%20b?x=%%201 HTTP/1.1\ncustom-header: one\ncustom-header: two\nx_under: u\n\nbody" % ()
    lines = (await transcript(running, request))[2].split(b"\n")
    for line in (
        b"Http_Custom_Header=one",
        b"Http_X_under=u",
        b"Http_Method=POST",
        b"Http_ContentLength=4",
        b"Http_Content_Length=4",
        b"Http_Query=x=%201",
        b"Http_Path=/a b",
        b"Http_Host=test",
    ):
        assert line in lines


async def test_a_chunked_body_has_the_length_minus_one(start: Start) -> None:
    running = await start(fprocess="printenv")
    lines = (await running.call("POST", "/", b"body", chunked=True)).body.split(b"\n")
    assert {b"Http_Content_Length=-1", b"Http_ContentLength=-1", b"Http_Transfer_Encoding=chunked"} <= set(lines)


async def test_without_a_query_there_is_no_variable_for_it(start: Start) -> None:
    assert b"Http_Query" not in (await transcript(await start(fprocess="printenv"), get("/")))[2]


async def test_a_marshalled_request_is_json_without_a_newline(start: Start) -> None:
    running = await start(fprocess="cat", marshal_request="true")
    _, _, body = await transcript(running, post("hi", "X-A: 1"))
    assert body.startswith(b'{"header":{')
    assert b'"X-A":["1"]' in body
    assert body.endswith(b'"body":{"raw":"aGk="}}')
    chunked = await running.call("POST", "/?q", b"hi", [("x-b", "1"), ("X-B", "2")], chunked=True)
    assert chunked.body == b'{"header":{"Connection":["close"],"X-B":["1","2"]},"body":{"raw":"aGk="}}'
    assert (await running.call("GET")).body == b'{"header":{"Connection":["close"]},"body":{"raw":""}}'


async def test_without_combine_output_stderr_is_logged(
    start: Start, script: Script, capfd: pytest.CaptureFixture[str]
) -> None:
    running = await start(fprocess=script("echo out; echo err >&2"), combine_output="false")
    assert (await transcript(running, get("/")))[2] == b"out\n"
    await running.watchdog.close()
    assert "stderr: err\n" in capfd.readouterr().err


async def test_one_request_too_many_is_429_without_retry_after(start: Start, until: Until) -> None:
    running = await start(fprocess="sleep 600", max_inflight="1")
    _, writer = await running.connect()
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    await until(lambda: running.watchdog.limiter.inflight == 1)
    body = b"Concurrent request limit exceeded. Max concurrent requests: 1\n"
    assert await transcript(running, get("/")) == (
        b"HTTP/1.1 429 Too Many Requests",
        {b"content-type: text/plain", b"x-openfaas-internal: faas-middleware", b"content-length: %d" % len(body)},
        body,
    )
    assert (await transcript(running, get("/_/health")))[0] == b"HTTP/1.1 200 OK"
    assert (await transcript(running, get("/_/ready")))[::2] == (b"HTTP/1.1 429 Too Many Requests", b"")
    writer.close()
    await until(lambda: running.watchdog.limiter.inflight == 0)


async def test_health_says_ok_to_get_alone_at_its_exact_path(start: Start) -> None:
    running = await start(fprocess="printenv Http_Path")
    assert (await transcript(running, get("/_/health")))[::2] == (b"HTTP/1.1 200 OK", b"OK")
    assert (await transcript(running, b"POST /_/health HTTP/1.1"))[::2] == (b"HTTP/1.1 405 Method Not Allowed", b"")
    assert (await transcript(running, get("/_/health/")))[2] == b"/_/health/\n"


async def test_health_needs_the_lock_file(start: Start, tmp_path: Path) -> None:
    running = await start(fprocess="cat")
    assert (tmp_path / ".lock").stat().st_size == 0
    (tmp_path / ".lock").unlink()
    assert (await transcript(running, get("/_/health")))[::2] == (b"HTTP/1.1 503 Service Unavailable", b"")
    assert (await transcript(running, get("/_/ready")))[0] == b"HTTP/1.1 503 Service Unavailable"
    (tmp_path / ".lock").touch()
    assert (await transcript(running, get("/_/health")))[0] == b"HTTP/1.1 200 OK"


@pytest.mark.parametrize(
    ("path", "cleaned"),
    [
        ("//x", "/x"),
        ("/a/../b", "/b"),
        ("/a//b/./c/", "/a/b/c/"),
        ("/../../etc/passwd", "/etc/passwd"),
        ("/a/.", "/a"),
        ("/..", "/"),
        ("//", "/"),
        ("/x//y?a=//b", "/x/y?a=//b"),
        ("/a%2f..//b", "/a%2f../b"),
    ],
)
@pytest.mark.parametrize("mode", ["classic", "streaming"])
async def test_unclean_paths_are_redirected_before_the_function(
    start: Start, mode: str, path: str, cleaned: str
) -> None:
    running = await start(fprocess="printenv Http_Path", mode=mode)
    body = b'<a href="%b">Temporary Redirect</a>.\n\n' % cleaned.encode()
    assert await transcript(running, get(path)) == (
        b"HTTP/1.1 307 Temporary Redirect",
        {
            b"content-type: text/html; charset=utf-8",
            b"location: " + cleaned.encode(),
            b"content-length: %d" % len(body),
        },
        body,
    )
    posted = await transcript(running, f"POST {path} HTTP/1.1".encode())
    assert posted == (
        b"HTTP/1.1 307 Temporary Redirect",
        {b"location: " + cleaned.encode(), b"content-length: 0"},
        b"",
    )
    assert b"http_requests_total{" not in (await running.call("GET", "/_/metrics")).body


@pytest.mark.parametrize("path", ["/.well-known/x", "/a..b/c", "/a/...", "/x?y=/../z", "/%2e%2e/x"])
async def test_clean_paths_reach_the_function(start: Start, path: str) -> None:
    running = await start(fprocess="printenv Http_Path")
    assert (await transcript(running, get(path)))[0] == b"HTTP/1.1 200 OK"


async def test_through_a_gateway_the_function_gets_the_cleaned_path_at_once(start: Start) -> None:
    running = await start(fprocess="printenv Http_Path")
    assert (await transcript(running, get("//a/../b", "X-Call-Id: 1")))[2] == b"/b\n"


async def test_options_of_the_whole_server_are_empty(start: Start) -> None:
    running = await start(fprocess="cat")
    assert await transcript(running, b"OPTIONS * HTTP/1.1") == (b"HTTP/1.1 200 OK", {b"content-length: 0"}, b"")
    assert (await transcript(running, b"GET * HTTP/1.1"))[0] == b"HTTP/1.1 400 Bad Request"


async def test_fields_are_shown_on_stdout_with_debug_headers(start: Start, capfd: pytest.CaptureFixture[str]) -> None:
    running = await start(fprocess="echo out", debug_headers="true")
    await transcript(running, get("/", "x-name: v1", "X-Name: v2"))
    await running.call("POST", body=b"x", chunked=True)
    await running.watchdog.close()
    shown = capfd.readouterr().out
    assert "[in] X-Name=[v1 v2]\n" in shown
    assert "[out] Content-Type=[text/plain; charset=utf-8]\n" in shown
    assert "Host=" not in shown
    assert "Transfer-Encoding=" not in shown


async def test_classics_log_lines(start: Start, script: Script, capfd: pytest.CaptureFixture[str]) -> None:
    running = await start(fprocess="echo out", access_log="true")
    await transcript(running, get("/p?q=1"))
    await transcript(running, b"HEAD / HTTP/1.1")
    await running.watchdog.close()
    logged = capfd.readouterr().err
    assert logged.count("Forking fprocess.") == 1  # nothing is run for HEAD
    assert re.search(r"\d{4}/\d\d/\d\d \d\d:\d\d:\d\d Forking fprocess\.\n", logged)
    assert re.search(r" Wrote 4 Bytes - Duration: \d+\.\d{6}s\n", logged)


async def test_classics_log_lines_with_write_debug(
    start: Start, script: Script, capfd: pytest.CaptureFixture[str]
) -> None:
    running = await start(fprocess=script('echo out; exit "${Http_Query:-0}"'), access_log="true", write_debug="true")
    await transcript(running, get("/p"))
    await transcript(running, get("/p?3"))
    await running.watchdog.close()
    out, logged = capfd.readouterr()
    assert out == "out\n"
    assert re.search(r" Query  3\n\S+ \S+ Path  /p\n", logged)
    assert re.search(r" Duration: \d+\.\d{6}s\n", logged)
    assert " Success=false, Error=exit status 3\n" in logged
    assert " Out=out" in logged
    assert "Wrote" not in logged


async def test_write_debug_copies_the_beginning_of_a_long_output(
    start: Start, capfd: pytest.CaptureFixture[str]
) -> None:
    running = await start(fprocess="printf %70000s", write_debug="true")
    assert len((await transcript(running, get("/")))[2]) == 70000
    await running.watchdog.close()
    assert capfd.readouterr().out == " " * 65536


async def test_the_kill_is_logged_with_the_program(start: Start, capfd: pytest.CaptureFixture[str]) -> None:
    running = await start(fprocess="sleep 600", exec_timeout="10m")
    assert (await transcript(running, get("/", "X-Timeout: 100ms")))[0] == b"HTTP/1.1 408 Request Timeout"
    await running.watchdog.close()
    assert " Killing process: sleep 600 (exec_timeout 0.1s)\n" in capfd.readouterr().err


async def test_by_default_a_request_costs_no_line(start: Start, capfd: pytest.CaptureFixture[str]) -> None:
    running = await start(fprocess="echo out")
    capfd.readouterr()
    await transcript(running, get("/"))
    assert capfd.readouterr() == ("", "")


async def test_metrics_have_the_originals_names_labels_and_buckets(start: Start) -> None:
    running = await start(fprocess="cat", mode="streaming")
    await transcript(running, b"FOO / HTTP/1.1")
    lines = (await running.call("GET", "/_/metrics")).body.split(b"\n")
    assert b'http_requests_total{code="200",method="unknown"} 1' in lines
    bounds = [line.partition(b'le="')[2].partition(b'"')[0] for line in lines if b"_bucket" in line]
    assert b" ".join(bounds) == b"0.005 0.01 0.025 0.05 0.1 0.25 0.5 1 2.5 5 10 +Inf"
    assert b"# TYPE http_request_duration_seconds histogram" in lines
    assert b"http_requests_in_flight 0" in lines


async def test_metrics_tell_about_the_process(start: Start) -> None:
    text = (await (await start(fprocess="cat")).call("GET", "/_/metrics")).body.decode()
    series = dict(re.findall(r"^(process_\w+) (\S+)$", text, re.MULTILINE))
    assert 1e6 < float(series["process_resident_memory_bytes"]) < float(series["process_virtual_memory_bytes"])
    assert 1 < float(series["process_open_fds"]) < float(series["process_max_fds"])
    assert float(series["process_cpu_seconds_total"]) > 0
    assert abs(float(series["process_start_time_seconds"]) - psutil.Process().create_time()) < 60


# of-watchdog


async def test_streaming_has_a_type_and_no_duration(start: Start) -> None:
    running = await start(fprocess="cat", mode="streaming")
    status, fields, body = await transcript(running, post("x", "Content-Type: text/plain"))
    assert (status, body.replace(b"\r\n", b"|")) == (b"HTTP/1.1 200 OK", b"1|x|0||")
    assert fields == {b"content-type: application/octet-stream", b"transfer-encoding: chunked"}
    configured = await start(fprocess="cat", mode="streaming", content_type="text/csv")
    assert b"content-type: text/csv" in (await transcript(configured, post("x")))[1]


@pytest.mark.parametrize("method", ["HEAD", "FOO", "OPTIONS", "DELETE"])
async def test_every_method_reaches_a_streaming_function(start: Start, method: str) -> None:
    answer = await (await start(fprocess="printenv Http_Method", mode="streaming")).call(method)
    assert (answer.status, answer.body) == (200, b"" if method == "HEAD" else method.encode() + b"\n")


@pytest.mark.parametrize(
    ("program", "body"),
    [
        ("echo part; exit 3", b"part\n"),
        ("exit 3", b""),
        ("echo part; kill -9 $$", b"part\n"),
        ("echo part; exec sleep 600", b"part\n"),
        ("exec sleep 600", b""),
    ],
)
async def test_under_the_originals_name_streaming_is_always_a_complete_200(
    start: Start, script: Script, program: str, body: bytes
) -> None:
    running = await start(fprocess=script(program), mode="streaming", exec_timeout="10m", streaming_errors="false")
    answer: Any = None
    for limit in LIMITS:
        answer = await running.call("GET", headers=[("X-Timeout", f"{limit}s")])
        if answer.body == body:
            break
    assert (answer.status, answer.body, answer.complete) == (200, body, True)
    assert answer.headers["content-type"] == "application/octet-stream"


async def test_under_the_originals_name_a_missing_program_is_200_and_500_in_the_log(
    start: Start, capfd: pytest.CaptureFixture[str]
) -> None:
    running = await start(fprocess="/missing", mode="streaming", streaming_errors="false", access_log="true")
    answer = await running.call("GET")
    assert (answer.status, answer.body) == (200, b"")
    await running.watchdog.close()
    logged = capfd.readouterr().err
    assert "'/missing' does not exist" in logged
    assert " GET / - 500 - ContentLength: 0B (" in logged
    assert b'http_requests_total{code="200",method="get"} 1' in running.watchdog.metrics.render(0)


async def test_serializing_answers_the_error_alone_with_type_and_duration(
    start: Start, script: Script, capfd: pytest.CaptureFixture[str]
) -> None:
    running = await start(fprocess=script("echo out; exit 3"), mode="serializing", access_log="true")
    fields = {b"content-type: application/octet-stream", b"x-duration-seconds: #"}
    assert await transcript(running, get("/")) == (
        b"HTTP/1.1 500 Internal Server Error",
        fields | {b"content-length: 13"},
        b"exit status 3",
    )
    await running.watchdog.close()
    assert " GET / - 500 - ContentLength: 13B (" in capfd.readouterr().err
    late = await start(fprocess="sleep 600", mode="serializing", exec_timeout="10m")
    status, shown, body = await transcript(late, get("/", "X-Timeout: 100ms"))
    assert (status, body) == (b"HTTP/1.1 500 Internal Server Error", b"signal: killed")
    assert fields < shown
    served = await start(fprocess="echo out", mode="serializing")
    assert await transcript(served, b"FOO / HTTP/1.1") == (
        b"HTTP/1.1 200 OK",
        fields | {b"content-length: 4"},
        b"out\n",
    )


async def test_the_access_line_names_method_target_status_and_size(
    start: Start, capfd: pytest.CaptureFixture[str]
) -> None:
    running = await start(fprocess="head -c 1511 /dev/zero", mode="streaming", access_log="true")
    await transcript(running, get("/x?y=1"))
    await transcript(running, get("/probe", "User-Agent: kube-probe/1.27"))
    await running.watchdog.close()
    logged = capfd.readouterr().err
    assert re.search(r" GET /x\?y=1 - 200 - ContentLength: 1\.511kB \(\d+\.\d{4}s\)\n", logged)
    assert "/probe" not in logged


async def test_the_access_line_ends_with_the_call_id_when_asked(
    start: Start, capfd: pytest.CaptureFixture[str]
) -> None:
    running = await start(fprocess="echo 1", mode="streaming", access_log="true", log_callid="true")
    await transcript(running, get("/", "X-Call-Id: abc"))
    await transcript(running, get("/"))
    await running.watchdog.close()
    logged = capfd.readouterr().err
    assert "s) [abc]\n" in logged
    assert "s) [none]\n" in logged


async def test_ready_is_405_to_post_and_the_functions_status_at_ready_path(start: Start, script: Script) -> None:
    running = await start(fprocess=script('test "$Http_Path" = /live'), ready_path="/live", mode="serializing")
    assert (await transcript(running, get("/_/ready")))[0] == b"HTTP/1.1 200 OK"
    assert (await transcript(running, b"POST /_/ready HTTP/1.1"))[::2] == (b"HTTP/1.1 405 Method Not Allowed", b"")
    unready = await start(fprocess="false", ready_path="/live", mode="serializing")
    assert (await transcript(unready, get("/_/ready")))[0] == b"HTTP/1.1 500 Internal Server Error"
    never = await start(fprocess="false", ready_path="/live", mode="streaming", streaming_errors="false")
    assert (await transcript(never, get("/_/ready")))[0] == b"HTTP/1.1 200 OK"


UPSTREAM = r"""
import os, select, socket
server = socket.socket()
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
server.bind(("127.0.0.1", int(os.environ["PORT"])))
server.listen()
while True:
    client, _ = server.accept()
    data = b""
    while b"\r\n\r\n" not in data:
        piece = client.recv(65536)
        if not piece:
            break
        data += piece
    assert not select.select([0], [], [], 0)[0]  # stdin is open, and silent
    if data:
        body = data.replace(b"\r\n", b"|")
        head = b"HTTP/1.1 302 Weird\r\nLocation: /elsewhere\r\nDate: then\r\nX-Two: 1\r\nX-Two: 2\r\nContent-Length: %d\r\n\r\n"
        client.sendall(head % len(body) + body)
    client.close()
"""


@pytest.fixture
async def upstream(start: Start, tmp_path: Path, until: Until) -> Callable[..., Awaitable[Any]]:
    (tmp_path / "upstream.py").write_text(UPSTREAM)

    async def begin(**variables: str) -> Any:
        program = f"{os.path.realpath('/proc/self/exe')} -S {tmp_path}/upstream.py"
        running = await start(fprocess=program, mode="http", **variables)
        await until(lambda: not running.watchdog.mode.unready())
        return running

    return begin


async def test_http_passes_status_words_fields_and_redirects_on_and_adds_the_duration(upstream: Any) -> None:
    status, fields, body = await transcript(await upstream(), get("/p?q=%20", "X-Call-Id: 7", "X-M: 1", "X-M: 2"))
    assert status == b"HTTP/1.1 302 Weird"
    assert fields == {
        b"location: /elsewhere",
        b"date: then",
        b"x-two: 1",
        b"x-two: 2",
        b"content-length: %d" % len(body),
        b"x-duration-seconds: #",
    }
    assert body == b"GET /p?q=%20 HTTP/1.1|X-Call-Id: 7|X-M: 1|X-M: 2|Host: test||"


async def test_http_asks_at_ready_path_with_the_probes_fields_and_without_its_query(upstream: Any) -> None:
    running = await upstream(ready_path="/live", max_inflight="1")
    status, _, body = await transcript(running, get("/_/ready?x=1", "X-Probe: 1"))
    assert status == b"HTTP/1.1 302 Weird"
    assert body == b"GET /live HTTP/1.1|X-Probe: 1|Host: test||"


async def test_http_logs_the_programs_own_reason_phrase(upstream: Any, capfd: pytest.CaptureFixture[str]) -> None:
    running = await upstream(access_log="true")
    _, _, body = await transcript(running, get("/x"))
    await running.watchdog.close()
    logged = capfd.readouterr().err
    assert re.search(rf" GET /x - 302 Weird - ContentLength: {len(body)}B \(\d+\.\d{{4}}s\)\n", logged)
    assert re.search(r" Forking: \S+, arguments: \[-S \S+/upstream\.py\]\n", logged)


async def test_a_path_in_upstream_url_is_put_before_the_requests(upstream: Any, reserved_port: int) -> None:
    running = await upstream(upstream_url=f"http://127.0.0.1:{reserved_port}/base/", PORT=str(reserved_port))
    assert (await transcript(running, get("/p?q")))[2].startswith(b"GET /base//p?q HTTP/1.1|")
    assert (await transcript(running, get("/p?")))[2].startswith(b"GET /base//p? HTTP/1.1|")
    events = await transcript(running, get("/p", "Accept: Text/Event-Stream"))
    assert events[2].startswith(b"GET /base//p HTTP/1.1|Accept: Text/Event-Stream|Host: test|")


async def test_http_is_504_after_exec_timeout_with_the_duration(start: Start, tmp_path: Path, until: Until) -> None:
    program = (
        "import os, socket, time; s = socket.create_server(('127.0.0.1', int(os.environ['PORT']))); time.sleep(600)"
    )
    (tmp_path / "slow.py").write_text(program)
    command = f"{os.path.realpath('/proc/self/exe')} -S {tmp_path}/slow.py"
    running = await start(fprocess=command, mode="http", exec_timeout="10m")
    await until(lambda: not running.watchdog.mode.unready())
    status, fields, _ = await transcript(running, get("/", "X-Timeout: 300ms"))
    assert status == b"HTTP/1.1 504 Gateway Timeout"
    assert b"x-duration-seconds: #" in fields
    assert any(field.startswith(b"x-openfaas-internal: ") for field in fields)


async def test_static_says_what_it_serves_and_knows_one_place_for_each_file(
    start: Start, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "public").mkdir()
    (tmp_path / "public" / "index.html").write_text("<html>")
    running = await start(mode="static", static_path=f"{tmp_path}/public")
    for path, status in (("/", b"200 OK"), ("/index.html", b"200 OK"), ("/index.html/", b"404 Not Found")):
        assert (await transcript(running, get(path)))[0] == b"HTTP/1.1 " + status
    parts = await transcript(running, get("/", "Range: bytes=0-1,3-4"))
    assert parts[::2] == (b"HTTP/1.1 200 OK", b"<html>")
    await running.watchdog.close()
    assert f" Serving files at: {tmp_path}/public\n" in capfd.readouterr().err


async def test_static_answers_any_method_lists_redirects_and_is_404_in_plain_text(start: Start, tmp_path: Path) -> None:
    (tmp_path / "public" / "sub").mkdir(parents=True)
    (tmp_path / "public" / "a.txt").write_text("a")
    running = await start(mode="static", static_path=f"{tmp_path}/public")
    listed = (
        b'<!doctype html>\n<meta name="viewport" content="width=device-width">\n'
        b'<pre>\n<a href="a.txt">a.txt</a>\n<a href="sub/">sub/</a>\n</pre>\n'
    )
    assert (await transcript(running, get("/")))[::2] == (b"HTTP/1.1 200 OK", listed)
    assert (await transcript(running, b"POST /a.txt HTTP/1.1"))[::2] == (b"HTTP/1.1 200 OK", b"a")
    status, fields, _ = await transcript(running, get("/sub"))
    assert status == b"HTTP/1.1 301 Moved Permanently"
    assert b"location: sub/" in fields
    status, fields, body = await transcript(running, get("/missing"))
    assert (status, body) == (b"HTTP/1.1 404 Not Found", b"404 page not found\n")
    assert b"content-type: text/plain; charset=utf-8" in fields
