"""The watchdog's variables, read by the contract's rules."""

from __future__ import annotations

import pytest

from penstock.errors import SettingsError
from penstock.watchdog.settings import AUTO, WatchdogSettings, load_settings


def load(**variables: str) -> WatchdogSettings:
    return load_settings({"fprocess": "cat", **variables})


def test_without_a_mode_the_classic_defaults_hold() -> None:
    settings = load()
    assert (settings.mode, settings.port, settings.exec_timeout) == ("classic", 8080, 0.0)
    assert (settings.read_timeout, settings.write_timeout) == (30.0, 30.0)
    assert settings.cgi_headers
    assert settings.combine_output


@pytest.mark.parametrize(
    ("mode", "seconds"), [("classic", 0.0), ("serializing", 30.0), ("streaming", 30.0), ("http", 30.0)]
)
def test_the_default_of_exec_timeout_depends_on_the_mode(mode: str, seconds: float) -> None:
    assert load(mode=mode).exec_timeout == seconds


def test_an_unknown_mode_is_refused_with_the_known_ones() -> None:
    with pytest.raises(SettingsError, match=r"mode: 'inproc' is unknown.*classic, serializing, streaming"):
        load(mode="inproc")


def test_all_faults_are_reported_together() -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings({"log_buffer_size": "x", "PENSTOCK_RLIMIT_CPU": "-1", "ready_path": "x"})
    for name in ("fprocess", "log_buffer_size", "PENSTOCK_RLIMIT_CPU", "ready_path"):
        assert f"- {name}: " in str(caught.value)


def test_static_needs_no_program_but_a_directory() -> None:
    assert load_settings({"mode": "static"}).static_path == "/home/app/public"
    with pytest.raises(SettingsError, match="static_path"):
        load_settings({"mode": "static", "static_path": ""})


def test_the_later_alias_wins() -> None:
    assert load(function_process="wc").fprocess == "wc"
    assert load(upstream_url="http://a", http_upstream_url="http://b").upstream_url == "http://b"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("5", 5.0),
        ("+5", 5.0),
        ("-0", 0.0),
        ("1m30s", 90.0),
        ("250ms", 0.25),
        ("0", 0.0),
        ("-5s", 0.0),
        ("-5", 7.0),
        ("soon", 7.0),
        ("", 7.0),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    default_or_value = load(read_timeout=text).read_timeout
    assert default_or_value == (30.0 if seconds == 7.0 else seconds)


def test_what_is_not_understood_is_mentioned() -> None:
    notes = load(read_timeout="soon", port="http", max_inflight="many", prefix_logs="perhaps").notes
    assert [note.partition("=")[0] for note in notes] == ["port", "read_timeout", "max_inflight", "prefix_logs"]


@pytest.mark.parametrize(("text", "port"), [("9000", 9000), ("-1", 8080), ("99999", 8080), ("x", 8080), ("0", 0)])
def test_ports(text: str, port: int) -> None:
    assert load(port=text).port == port


def test_the_grammars_of_truth_differ_by_variable() -> None:
    assert not load(cgi_headers="1").cgi_headers
    assert not load(combine_output="TRUE").combine_output
    assert not load(marshal_request="1").marshal_request
    assert load(suppress_lock="1").suppress_lock
    assert load(http_buffer_req_body="1").buffer_http
    assert not load(prefix_logs="F").prefix_logs
    assert load(log_callid="T").log_callid


def test_max_inflight_below_zero_is_no_limit() -> None:
    assert load(max_inflight="-3").max_inflight == 0


def test_a_content_type_that_would_split_the_header_is_refused() -> None:
    with pytest.raises(SettingsError, match="content_type"):
        load(content_type="text/plain\r\nX-Evil: 1")


def test_the_lock_file_is_in_tmpdir() -> None:
    assert load(TMPDIR="/var/tmp/").lock_file == "/var/tmp/.lock"
    assert load().lock_file == "/tmp/.lock"


def test_prefork_with_variables_of_the_request_is_refused() -> None:
    with pytest.raises(SettingsError, match="cgi_headers: must be false in mode prefork"):
        load(mode="prefork")
    assert load(mode="prefork", cgi_headers="false").pool_size == AUTO


def test_pools_are_counted_in_whole_numbers() -> None:
    settings = load(pool_size="auto", pool_min="2", pool_max="8", max_requests="1000")
    assert (settings.pool_size, settings.pool_min, settings.pool_max) == (AUTO, 2, 8)
    assert (settings.max_requests, settings.max_requests_jitter) == (1000, 100)
    with pytest.raises(SettingsError) as caught:
        load(pool_size="many", pool_min="9", pool_max="3", max_requests="-1", python_workers="0")
    for name in ("pool_size", "pool_min", "max_requests", "python_workers"):
        assert f"- {name}: " in str(caught.value)


def test_modes_that_import_need_no_program() -> None:
    settings = load_settings({"mode": "python", "python_path": "/a:/b:"})
    assert (settings.fprocess, settings.python_path) == ("", ("/a", "/b"))
    with pytest.raises(SettingsError, match="handler: is required in mode asgi"):
        load_settings({"mode": "asgi"})


@pytest.mark.parametrize(("program", "mode"), [("", "classic"), ("fwatchdog", "classic"), ("of-watchdog", "streaming")])
def test_the_mode_that_nobody_names_is_that_of_the_program_replaced(program: str, mode: str) -> None:
    assert load_settings({"fprocess": "cat"}, program).mode == mode
    assert load_settings({"fprocess": "cat", "mode": "http"}, program).mode == "http"


def test_under_the_name_of_an_original_its_habits_are_the_default() -> None:
    ours, theirs = load_settings({"fprocess": "cat"}), load_settings({"fprocess": "cat"}, "fwatchdog")
    assert (ours.access_log, ours.streaming_errors) == (False, True)
    assert (theirs.access_log, theirs.streaming_errors) == (True, False)
    said = load_settings({"fprocess": "cat", "access_log": "false", "streaming_errors": "true"}, "fwatchdog")
    assert (said.access_log, said.streaming_errors) == (False, True)


@pytest.mark.parametrize(("text", "seconds"), [("", 0.0), ("0", 0.0), ("-5s", 0.0), ("1m", 60.0), ("soon", 0.0)])
def test_an_idle_wait_before_the_drain_happens_only_when_it_is_asked_for(text: str, seconds: float) -> None:
    assert load(healthcheck_interval=text).healthcheck_interval == seconds


def test_under_a_supervisor_that_routes_around_it_there_is_no_idle_wait() -> None:
    assert load(healthcheck_interval="30s", PENSTOCK_LIFELINE_FD="5").healthcheck_interval == 0.0


def test_tokens_need_the_name_of_the_function() -> None:
    with pytest.raises(SettingsError, match="OPENFAAS_NAME: is required with jwt_auth"):
        load(jwt_auth="true")
    settings = load(jwt_auth="1", OPENFAAS_NAME="env", OPENFAAS_NAMESPACE="dev")
    assert (settings.jwt_auth, settings.openfaas_name, settings.openfaas_namespace) == (True, "env", "dev")
