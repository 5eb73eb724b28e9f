"""Settings of `penstock serve`: read strictly, all faults told together, the same in every process."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest

from penstock.errors import SettingsError
from penstock.settings import (
    CHOICES,
    UNIX_PATH_MAX,
    Home,
    ServeSettings,
    WireSettings,
    dump_settings,
    load_serve_settings,
    restore_settings,
)


def test_defaults_are_safe() -> None:
    settings = load_serve_settings({})
    assert (settings.host, settings.port, settings.metrics_port, settings.workers) == ("127.0.0.1", 8080, 8082, 1)
    assert not settings.no_auth
    assert settings.home == Path.home() / ".penstock"


def test_variables_are_read_by_the_type_of_their_field() -> None:
    settings = load_serve_settings(
        {
            "PENSTOCK_HOME": "/srv/p",
            "PENSTOCK_PORT": "0",
            "PENSTOCK_WORKERS": "3",
            "PENSTOCK_EXAMPLES": "true",
            "PENSTOCK_UPSTREAM_TIMEOUT": "1m30s",
            "PENSTOCK_QUEUE_TIMEOUT": "5",
            "PENSTOCK_WIRE_MAX_HEAD": "1000",
            "PENSTOCK_WIRE_IDLE_TIMEOUT": "250ms",
        }
    )
    assert (settings.home, settings.port, settings.workers, settings.examples) == (Path("/srv/p"), 0, 3, True)
    assert (settings.upstream_timeout, settings.queue_timeout) == (90.0, 5.0)
    assert (settings.wire.max_head, settings.wire.idle_timeout) == (1000, 0.25)


def test_a_flag_wins_over_its_variable_and_an_absent_one_does_not() -> None:
    environ = {"PENSTOCK_PORT": "1000", "PENSTOCK_WORKERS": "2"}
    settings = load_serve_settings(environ, {"port": 2000, "workers": None})
    assert (settings.port, settings.workers) == (2000, 2)


def test_an_empty_variable_is_as_good_as_none() -> None:
    assert load_serve_settings({"PENSTOCK_PORT": ""}).port == 8080


def test_the_policy_of_functions_comes_from_the_settings() -> None:
    policy = load_serve_settings({"PENSTOCK_UPSTREAM_TIMEOUT": "7", "PENSTOCK_QUEUE_TIMEOUT": "8"}).default_policy
    assert (policy.timeout, policy.queue_timeout) == (7.0, 8.0)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("PENSTOCK_PORT", "http"),
        ("PENSTOCK_PORT", "70000"),
        ("PENSTOCK_PORT", "-1"),
        ("PENSTOCK_METRICS_PORT", "65536"),
        ("PENSTOCK_WORKERS", "0"),
        ("PENSTOCK_WORKERS", "-2"),
        ("PENSTOCK_WORKERS", "1.5"),
        ("PENSTOCK_PROVIDER", "cloud"),
        ("PENSTOCK_LOG_LEVEL", "loud"),
        ("PENSTOCK_PULL", "sometimes"),
        ("PENSTOCK_DOCKER_CONNECT", "tunnel"),
        ("PENSTOCK_DOCKER_NETWORK", "host"),
        ("PENSTOCK_DOCKER_NETWORK", "container:db"),
        ("PENSTOCK_DOCKER_NETWORK", "n" * 64),
        ("PENSTOCK_WATCHDOG_IMAGE", "two words"),
        ("PENSTOCK_WATCHDOG_IMAGE", "--privileged"),
        ("PENSTOCK_INSTALLATION", "Big"),
        ("PENSTOCK_INSTALLATION", "-a"),
        ("PENSTOCK_INSTALLATION", "a/../b"),
        ("PENSTOCK_INSTALLATION", "i" * 33),
        ("PENSTOCK_NO_AUTH", "yes"),
        ("PENSTOCK_EXAMPLES", "2"),
        ("PENSTOCK_UPSTREAM_TIMEOUT", "soon"),
        ("PENSTOCK_UPSTREAM_TIMEOUT", "-1s"),
        ("PENSTOCK_QUEUE_TIMEOUT", "-5"),
        ("PENSTOCK_WIRE_MAX_HEAD", "1k"),
        ("PENSTOCK_WIRE_MAX_HEAD", "-1"),
        ("PENSTOCK_WIRE_IDLE_TIMEOUT", "-3s"),
        ("PENSTOCK_WIRE_DRAIN_TIMEOUT", "nan"),
    ],
)
def test_a_value_that_cannot_be_meant_is_refused_and_named(variable: str, value: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load_serve_settings({variable: value})
    name = variable.removeprefix("PENSTOCK_")
    assert name.lower() in str(caught.value).lower()
    assert value in str(caught.value)


def test_words_of_a_choice_are_listed_in_the_refusal() -> None:
    with pytest.raises(SettingsError, match="use process, memory, docker, swarm or kubernetes"):
        load_serve_settings({"PENSTOCK_PROVIDER": "nomad"})


def test_names_of_namespaces_are_checked_one_by_one() -> None:
    assert load_serve_settings({"PENSTOCK_KUBERNETES_NAMESPACES": "a, b-1"}).kubernetes_namespaces == "a, b-1"
    with pytest.raises(SettingsError, match="kubernetes_namespaces: 'B' is no name"):
        load_serve_settings({"PENSTOCK_KUBERNETES_NAMESPACES": "a,B"})
    with pytest.raises(SettingsError, match="kubernetes_namespace: 'a/b' is no name"):
        load_serve_settings({"PENSTOCK_KUBERNETES_NAMESPACE": "a/b"})


@pytest.mark.parametrize(("name", "choices"), CHOICES.items())
def test_each_word_of_a_choice_is_taken(name: str, choices: tuple[str, ...]) -> None:
    for word in choices:
        assert getattr(load_serve_settings({f"PENSTOCK_{name.upper()}": word}), name) == word


def test_what_containers_need_is_read() -> None:
    settings = load_serve_settings(
        {
            "PENSTOCK_DOCKER_NETWORK": "my_net.1",
            "PENSTOCK_WATCHDOG_IMAGE": "registry.example:5000/penstock:1.0@sha256:" + "a" * 64,
            "PENSTOCK_INSTALLATION": "blue-2",
        }
    )
    assert (settings.docker_network, settings.installation) == ("my_net.1", "blue-2")
    assert settings.watchdog_image.startswith("registry.example:5000/")


def test_a_name_of_all_gateways_is_read() -> None:
    assert load_serve_settings({"PENSTOCK_PEERS": "tasks.gateway"}).peers == "tasks.gateway"


@pytest.mark.parametrize("name", ["a b", "gateway:8082", "http://gateway", "-x", "x/..", "x" * 254, "ä"])
def test_what_is_no_name_of_gateways_is_refused(name: str) -> None:
    with pytest.raises(SettingsError, match=r"is no host name, such as tasks\.gateway"):
        load_serve_settings({"PENSTOCK_PEERS": name})


def test_gateways_that_ask_each_other_need_one_port_for_it() -> None:
    with pytest.raises(SettingsError, match="peers: needs a metrics_port"):
        load_serve_settings({"PENSTOCK_PEERS": "tasks.gateway", "PENSTOCK_METRICS_PORT": "0"})


def test_all_faults_of_containers_are_told_at_once() -> None:
    environ = {
        f"PENSTOCK_{name.upper()}": "?" for name in (*CHOICES, "docker_network", "watchdog_image", "installation")
    }
    with pytest.raises(SettingsError) as caught:
        load_serve_settings(environ)
    assert str(caught.value).count("\n  - ") == len(environ)


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        load_serve_settings({"PENSTOCK_PORT": "x", "PENSTOCK_WORKERS": "0", "PENSTOCK_WIRE_MAX_FIELDS": "many"})
    message = str(caught.value)
    assert all(word in message for word in ("PORT", "workers", "MAX_FIELDS"))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.test", ""])
def test_no_auth_is_refused_beyond_loopback(host: str) -> None:
    with pytest.raises(SettingsError, match="no_auth: refused"):
        load_serve_settings({}, {"host": host, "no_auth": True})


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_no_auth_is_allowed_on_loopback(host: str) -> None:
    assert load_serve_settings({}, {"host": host, "no_auth": True}).no_auth


def test_a_relative_home_is_made_absolute_and_a_tilde_is_filled_in(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_serve_settings({"PENSTOCK_HOME": "somewhere"}).home == Path.cwd() / "somewhere"
    monkeypatch.setenv("HOME", "/srv/me")
    assert load_serve_settings({"PENSTOCK_HOME": "~/p"}).home == Path("/srv/me/p")


def test_settings_survive_the_way_to_another_process() -> None:
    settings = ServeSettings(
        home=Path("/srv/with space/é"),
        port=1,
        workers=4,
        examples=True,
        wire=dataclasses.replace(WireSettings(), max_head=77, idle_timeout=0.5),
    )
    assert restore_settings(dump_settings(settings)) == settings


def test_everything_in_a_home_is_below_it() -> None:
    home = Home(Path("/srv/p"))
    inside = [home.state_db, home.secrets, home.logs, home.password_file, home.user_file, home.control_socket]
    inside += [home.installation, home.feed_socket, home.zygote_socket, home.replicas]
    assert all(path.is_relative_to("/srv/p") for path in inside)


@pytest.mark.parametrize("depth", [1, 40, 60, 75, 100, 4000])
def test_sockets_of_a_deep_home_still_fit_into_their_addresses(depth: int) -> None:
    home = Home(Path("/" + "d" * depth))
    for path in (home.control_socket, home.feed_socket, home.zygote_socket, home.replicas / ("f" * 24)):
        assert len(os.fsencode(path)) <= UNIX_PATH_MAX


def test_two_deep_homes_do_not_share_their_sockets() -> None:
    assert Home(Path("/" + "d" * 200)).run != Home(Path("/" + "e" * 200)).run


@pytest.mark.parametrize(
    "text", ["http://127.0.0.1:9090", "https://me:secret@prometheus.example/under/", "http://[::1]:9090"]
)
def test_an_address_of_a_prometheus_is_taken(text: str) -> None:
    assert load_serve_settings({"PENSTOCK_PROMETHEUS_URL": text}).prometheus_url == text


@pytest.mark.parametrize(
    "text",
    [
        "127.0.0.1:9090",
        "ftp://secret",
        "http://",
        "http://secret:x",
        "http://secret:99999",
        "http://secret?x",
        "http://a\nsecret",
    ],
)
def test_what_is_no_address_of_a_prometheus_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(SettingsError, match="prometheus_url") as caught:
        load_serve_settings({"PENSTOCK_PROMETHEUS_URL": text})
    assert "secret" not in str(caught.value)
