"""Whether an image runs as it is or through our watchdog, by the specification alone."""

from __future__ import annotations

from typing import Any

import pytest

from penstock.errors import InvalidInput
from penstock.providers.kubernetes.injection import check_start, limits_for, start_of
from tests.unit.providers.kubernetes.objects import container, environ, made, spec

WATCHDOG, PORT = "com.penstock.watchdog", "com.penstock.http-port"
CPU, FILES, PROCESSES = (
    "com.penstock.limit.cpu-seconds",
    "com.penstock.limit.open-files",
    "com.penstock.limit.processes",
)


@pytest.mark.parametrize(
    ("fields", "way"),
    [
        ({"env_process": ""}, "image"),
        ({"env_process": "", "env_vars": {"mode": "http"}}, "image"),
        ({"env_process": "cat"}, "either"),
        ({"env_process": "", "env_vars": {"fprocess": "cat"}}, "either"),
        ({"env_process": "", "env_vars": {"function_process": "cat"}}, "either"),
        ({"env_process": "", "env_vars": {"mode": "static"}}, "either"),
        ({"env_process": "", "env_vars": {"mode": "python"}}, "watchdog"),
        ({"env_process": "x", "env_vars": {"mode": "asgi"}}, "watchdog"),
        ({"env_process": "cat", "labels": {CPU: "5"}}, "watchdog"),
        ({"env_process": "cat", "labels": {FILES: "64"}}, "watchdog"),
        ({"env_process": "", "labels": {WATCHDOG: "inject"}}, "watchdog"),
        ({"env_process": "cat", "labels": {WATCHDOG: "image"}}, "image"),
        ({"env_process": "", "env_vars": {"mode": "python"}, "labels": {WATCHDOG: "image"}}, "image"),
        ({"env_process": "", "labels": {PORT: "80"}}, "port"),
        ({"env_process": "cat", "labels": {PORT: "80", WATCHDOG: "image"}}, "port"),
    ],
)
def test_which_way_an_image_starts(fields: dict[str, Any], way: str) -> None:
    wanted = spec(**fields)
    assert start_of(wanted).way == way
    made(wanted)


@pytest.mark.parametrize(
    ("variables", "port"),
    [({}, 8080), ({"port": "9000"}, 9000), ({"port": "70000"}, 8080), ({"port": "http"}, 8080), ({"port": "²"}, 8080)],
)
def test_the_port_is_by_the_watchdogs_own_rule(variables: dict[str, str], port: int) -> None:
    assert start_of(spec(env_vars=variables)).port == port


def test_the_label_says_the_port_of_a_server() -> None:
    assert start_of(spec(env_process="", env_vars={"port": "9000"}, labels={PORT: "80"})).port == 80


def test_only_where_it_is_open_the_container_looks_for_a_watchdog_of_the_image() -> None:
    assert start_of(spec()).command == ("/penstock/penstock-watchdog", "--give-way")
    assert start_of(spec(labels={WATCHDOG: "inject"})).command == ("/penstock/penstock-watchdog",)
    assert start_of(spec(labels={WATCHDOG: "image"})).command == ()


def test_ours_does_not_prefix_log_lines_unless_told() -> None:
    inject = {WATCHDOG: "inject"}
    assert environ(spec(labels=inject))["prefix_logs"] == "false"
    assert environ(spec(labels=inject, env_vars={"prefix_logs": "true"}))["prefix_logs"] == "true"
    assert "prefix_logs" not in environ(spec())


def test_ours_applies_the_limits_of_programs() -> None:
    wanted = spec(labels={CPU: "5", FILES: "64"})
    assert limits_for(wanted) == {"PENSTOCK_RLIMIT_CPU": "5", "PENSTOCK_RLIMIT_NOFILE": "64"}
    assert limits_for(wanted).items() <= environ(wanted).items()
    assert "--give-way" not in container(wanted)["command"]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"labels": {PORT: "80"}}, "nothing would run it"),
        ({"labels": {PROCESSES: "10"}}, "podPidsLimit"),
        ({"env_process": "", "labels": {CPU: "5"}}, "runs as it is"),
        ({"env_process": "", "labels": {FILES: "64", PORT: "80"}}, "runs as it is"),
    ],
)
def test_what_nothing_would_heed_is_refused(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        check_start(spec(**fields))
