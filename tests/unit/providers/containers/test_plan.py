"""How images are run: as they are, or with the watchdog injected, and what is refused with advice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from penstock.errors import InvalidInput
from penstock.model import FunctionSpec
from penstock.providers.containers.labels import CAPABILITIES, HTTP_PORT, WATCHDOG, ZERO
from penstock.providers.containers.plan import ImageFacts, check_labels, facts_of, plan_of
from penstock.watchdog.settings import load_settings

DIGEST = "sha256:" + "0" * 64


def spec(**fields: Any) -> FunctionSpec:
    return FunctionSpec(name="echo", **({"image": "example/echo:1"} | fields))


def image(**fields: Any) -> ImageFacts:
    return ImageFacts(
        **({"reference": "example/echo:1", "id": "sha256:1", "os": "linux", "architecture": "amd64"} | fields)
    )


# Facts


def test_facts_are_read_from_the_engines_document() -> None:
    document = {
        "Id": "sha256:1",
        "Os": "linux",
        "Architecture": "arm64",
        "RepoDigests": ["other@" + DIGEST.replace("0", "1"), f"example/echo@{DIGEST}"],
        "Config": {
            "Entrypoint": ["tini", "--"],
            "Cmd": ["serve"],
            "Env": ["PATH=/bin", "A=b=c", "EMPTY=", "broken"],
            "ExposedPorts": {"9000/tcp": {}, "80/tcp": {}, "53/udp": {}, "x/tcp": {}},
            "User": "web",
            "WorkingDir": "/srv",
            "Healthcheck": {"Test": ["CMD", "true"]},
        },
    }
    assert facts_of("example/echo:1", document) == ImageFacts(
        reference="example/echo:1",
        id="sha256:1",
        os="linux",
        architecture="arm64",
        entrypoint=("tini", "--"),
        command=("serve",),
        environ={"PATH": "/bin", "A": "b=c", "EMPTY": ""},
        ports=(80, 9000),
        user="web",
        working_dir="/srv",
        healthcheck=True,
        digest=DIGEST,
    )


@pytest.mark.parametrize("config", [None, {}, {"Entrypoint": None, "Cmd": None, "Env": None, "ExposedPorts": None}])
def test_an_image_that_says_nothing_has_empty_facts(config: Any) -> None:
    facts = facts_of("x", {"Id": "sha256:1", "Os": "linux", "Architecture": "amd64", "Config": config})
    assert facts == ImageFacts(reference="x", id="sha256:1", os="linux", architecture="amd64")


def test_a_healthcheck_that_is_switched_off_is_none() -> None:
    assert not facts_of("x", {"Config": {"Healthcheck": {"Test": ["NONE"]}}}).healthcheck


def test_digests_of_names_that_nobody_could_use_are_passed_over() -> None:
    assert facts_of("x", {"RepoDigests": ["<none>@<none>", f"x@{DIGEST}"]}).digest == DIGEST


# As it is


@pytest.mark.parametrize("program", [{}, {"env_process": "cat"}, {"env_vars": {"mode": "http"}}])
def test_an_image_with_a_watchdog_runs_as_it_is(program: dict[str, Any]) -> None:
    plan = plan_of(spec(**program), image(command=("fwatchdog",), ports=(8080,)))
    assert (plan.injected, plan.port, plan.entrypoint, plan.command, plan.user) == (False, 8080, None, None, "")
    assert not plan.lenient_ready
    assert plan.healthcheck is None


def test_a_watchdog_of_the_image_is_told_the_program() -> None:
    plan = plan_of(spec(env_process="wc -l", env_vars={"a": "b", "fprocess": "cat"}), image(command=("fwatchdog",)))
    assert plan.environ == {"a": "b", "fprocess": "wc -l"}


def test_the_program_wins_over_both_of_its_names_in_the_image() -> None:
    facts = image(command=("of-watchdog",), environ={"function_process": "node index.js"})
    plan = plan_of(spec(env_process="cat"), facts)
    assert plan.environ == {"fprocess": "cat", "function_process": "cat"}


@pytest.mark.parametrize(
    ("own", "of_image", "port"),
    [
        ({}, {}, 8080),
        ({}, {"port": "9000"}, 9000),
        ({"port": "81"}, {"port": "9000"}, 81),
        ({"port": "high"}, {}, 8080),
    ],
)
def test_a_watchdog_is_reached_on_the_port_that_its_variable_says(
    own: dict[str, str], of_image: dict[str, str], port: int
) -> None:
    assert plan_of(spec(env_vars=own), image(command=("fwatchdog",), environ=of_image)).port == port


def test_an_image_that_exposes_8080_and_is_told_no_program_runs_as_it_is() -> None:
    plan = plan_of(spec(), image(command=("java", "-jar", "x.jar"), ports=(8080, 9090)))
    assert (plan.injected, plan.port, plan.lenient_ready) == (False, 8080, True)


@pytest.mark.parametrize(
    "asked", [{"env_process": "cat"}, {"env_vars": {"fprocess": "cat"}}, {"env_vars": {"mode": "static"}}]
)
def test_an_image_that_exposes_8080_is_injected_when_it_is_told_what_to_run(asked: dict[str, Any]) -> None:
    assert plan_of(spec(**asked), image(command=("java", "-jar", "x.jar"), ports=(8080,))).injected


def test_a_port_of_its_own_is_all_that_a_server_needs() -> None:
    plan = plan_of(spec(labels={HTTP_PORT: "80"}, env_vars={"a": "b"}), image(entrypoint=("nginx",), ports=(80, 443)))
    assert (plan.injected, plan.port, plan.lenient_ready, plan.environ) == (False, 80, True, {"a": "b"})
    assert (plan.entrypoint, plan.command, plan.user) == (None, None, "")


def test_a_program_that_a_server_would_never_run_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"^envProcess: nothing would run it"):
        plan_of(spec(labels={HTTP_PORT: "80"}, env_process="cat"), image(entrypoint=("nginx",)))


def test_a_program_is_fine_when_the_image_is_said_to_have_a_watchdog_on_that_port() -> None:
    labels = {HTTP_PORT: "80", WATCHDOG: "image"}
    assert plan_of(spec(labels=labels, env_process="cat"), image(entrypoint=("start.sh",))).port == 80


def test_the_label_runs_an_image_as_it_is() -> None:
    plan = plan_of(spec(labels={WATCHDOG: "image"}, env_process="cat"), image(entrypoint=("start.sh",)))
    assert (plan.injected, plan.port, plan.environ["fprocess"]) == (False, 8080, "cat")


@pytest.mark.parametrize("labels", [{WATCHDOG: "image"}, {HTTP_PORT: "80"}])
def test_an_image_without_a_program_cannot_run_as_it_is(labels: dict[str, str]) -> None:
    with pytest.raises(InvalidInput, match="names no program to start"):
        plan_of(spec(labels=labels), image())


# Injected


def test_the_watchdog_is_injected_to_run_a_program() -> None:
    plan = plan_of(spec(env_process="sha256sum", env_vars={"a": "b"}), image(command=("bash",)))
    assert (plan.injected, plan.port) == (True, 8080)
    assert (plan.entrypoint, plan.command) == (("/penstock/penstock-watchdog",), ())
    assert plan.environ == {
        "a": "b",
        "fprocess": "sha256sum",
        "prefix_logs": "false",
        "OPENFAAS_NAME": "echo",
        "OPENFAAS_NAMESPACE": "openfaas-fn",
    }
    assert plan.healthcheck == ("CMD", "/penstock/penstock-watchdog", "--run-healthcheck")
    assert not plan.lenient_ready


def test_without_a_program_the_images_own_is_run() -> None:
    assert plan_of(spec(), image(entrypoint=("jq",), command=(".a",))).environ["fprocess"] == "jq .a"


def test_a_program_in_the_images_environment_comes_before_its_command() -> None:
    plan = plan_of(spec(), image(command=("bash",), environ={"fprocess": "wc -l"}))
    assert plan.environ["fprocess"] == "wc -l"


@pytest.mark.parametrize("mode", ["static", "python", "asgi", "wsgi"])
def test_modes_without_a_program_need_none(mode: str) -> None:
    plan = plan_of(spec(env_vars={"mode": mode, "handler": "app:app"}), image(command=("python3",)))
    assert plan.injected
    assert "fprocess" not in plan.environ


@pytest.mark.parametrize(("of_image", "user"), [("", "12000:12000"), ("web", ""), ("0", "")])
def test_a_program_runs_as_the_images_user_or_as_nobody(of_image: str, user: str) -> None:
    assert plan_of(spec(env_process="cat"), image(user=of_image)).user == user


@pytest.mark.parametrize(("own", "of_image"), [({"prefix_logs": "true"}, {}), ({}, {"prefix_logs": "true"})])
def test_lines_are_dated_by_the_watchdog_when_somebody_asks_for_it(
    own: dict[str, str], of_image: dict[str, str]
) -> None:
    plan = plan_of(spec(env_process="cat", env_vars=own), image(environ=of_image))
    assert plan.environ.get("prefix_logs", "true") == "true"


def test_variables_that_are_the_watchdogs_own_business_are_left_out() -> None:
    plan = plan_of(spec(env_process="cat", env_vars={"PENSTOCK_LIFELINE_FD": "3"}), image())
    assert "PENSTOCK_LIFELINE_FD" not in plan.environ


def test_the_label_injects_although_the_image_has_a_watchdog() -> None:
    plan = plan_of(spec(labels={WATCHDOG: "inject"}), image(command=("fwatchdog",), environ={"fprocess": "cat"}))
    assert (plan.injected, plan.environ["fprocess"]) == (True, "cat")


def test_the_label_injects_although_the_image_serves_a_port() -> None:
    assert plan_of(spec(labels={WATCHDOG: "inject"}), image(command=("server", "run"), ports=(80,))).injected


@pytest.mark.parametrize("ports", [(80,), (80, 443)])
def test_a_server_is_refused_with_advice(ports: tuple[int, ...]) -> None:
    with pytest.raises(InvalidInput, match=r"serves port 80.*--http-port 80"):
        plan_of(spec(), image(command=("nginx",), ports=ports))


def test_a_server_may_run_behind_the_watchdog_in_a_mode_for_servers() -> None:
    plan = plan_of(spec(env_vars={"mode": "http"}), image(command=("server", "run"), ports=(80,)))
    assert (plan.injected, plan.environ["fprocess"]) == (True, "server run")


def test_an_interpreter_alone_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"^image: example/echo:1 starts 'bash' alone"):
        plan_of(spec(), image(command=("bash",)))


def test_a_mode_that_the_image_means_otherwise_is_refused() -> None:
    with pytest.raises(InvalidInput, match="sets mode='production'"):
        plan_of(spec(env_process="cat"), image(environ={"mode": "production"}))
    assert plan_of(
        spec(env_process="cat", env_vars={"mode": "classic"}), image(environ={"mode": "production"})
    ).injected


def test_an_image_for_another_system_is_refused() -> None:
    with pytest.raises(InvalidInput, match="is for windows"):
        plan_of(spec(env_process="cat"), image(os="windows"))


# Labels


@pytest.mark.parametrize("port", ["0", "65536", "-1", "+80", "8e1", "٨٠", "80 ", "9" * 1000, "http"])
def test_a_port_that_is_none_is_refused(port: str) -> None:
    with pytest.raises(InvalidInput, match="must be a port from 1 to 65535") as refusal:
        check_labels(spec(labels={HTTP_PORT: port}))
    assert len(str(refusal.value)) < 300


@pytest.mark.parametrize("label", [WATCHDOG, ZERO])
@pytest.mark.parametrize("value", ["", "Inject", "none\n", "x" * 10_000])
def test_other_values_of_our_labels_are_refused(label: str, value: str) -> None:
    with pytest.raises(InvalidInput, match=f"labels: {label}=.*must be one of") as refusal:
        check_labels(spec(labels={label: value}))
    assert len(str(refusal.value)) < 300


def test_a_capability_that_no_function_may_have_is_refused_without_the_image() -> None:
    with pytest.raises(InvalidInput, match="SYS_ADMIN"):
        check_labels(spec(labels={CAPABILITIES: "SYS_ADMIN"}))


def test_a_port_of_its_own_and_an_injected_watchdog_contradict_each_other() -> None:
    with pytest.raises(InvalidInput, match="leave one of them out"):
        check_labels(spec(labels={HTTP_PORT: "80", WATCHDOG: "inject"}))


def test_a_watchdog_cannot_be_reached_on_any_port() -> None:
    with pytest.raises(InvalidInput, match="envVars: port: 0"):
        check_labels(spec(env_vars={"port": "0"}))


@pytest.mark.parametrize(
    "labels",
    [
        {},
        {WATCHDOG: "inject"},
        {WATCHDOG: "image"},
        {HTTP_PORT: "1"},
        {HTTP_PORT: "65535"},
        {ZERO: "pause"},
        {CAPABILITIES: "CHOWN"},
        {"other": "x"},
    ],
)
def test_sensible_labels_are_accepted(labels: dict[str, str]) -> None:
    check_labels(spec(labels=labels))


def test_an_injected_watchdog_has_the_defaults_of_ours_and_writes_no_line_for_each_request() -> None:
    plan = plan_of(spec(env_process="cat"), image())
    assert plan.entrypoint is not None
    assert not load_settings(plan.environ, Path(plan.entrypoint[0]).name).access_log
