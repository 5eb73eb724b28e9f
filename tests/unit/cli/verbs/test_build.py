"""`penstock build` as it is typed: what it accepts, refuses and prints. What builders do is tested with them."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest

from tests.unit.cli.support import ScriptedGateway, answer_json, run_cli

STACK = """\
functions:
  words:
    lang: cli
    fprocess: wc -w
  done:
    lang: cli
    fprocess: cat
    skip_build: true
  plain:
    fprocess: cat
"""


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "stack.yml").write_text(STACK)
    return tmp_path


def test_each_function_is_built_and_those_that_are_not_are_named() -> None:
    result = run_cli("build", "--builder", "native", "--output", "json")
    assert result.exit_code == 0, result.output
    [built] = json.loads(result.stdout)
    assert (built["name"], built["unchanged"]) == ("words", False)
    assert Path(built["folder"]).is_dir()
    assert "done is not built: skip_build says so" in result.stderr
    assert "plain is not built: it has no lang" in result.stderr


def test_the_table_has_what_was_built() -> None:
    run_cli("build", "--builder", "native", "--quiet")
    result = run_cli("build", "--builder", "native", "--quiet")
    heading, row = result.stdout.splitlines()
    assert heading.split() == ["Function", "State", "Result"]
    assert row.split()[:2] == ["words", "unchanged"]


def test_flags_of_faas_cli_that_mean_nothing_here_are_accepted() -> None:
    flags = ("--overwrite=false", "--disable-stack-pull", "--debug", "--parallel", "4", "--squash", "--pull")
    assert run_cli("build", "--builder", "native", *flags).exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--build-arg", "novalue"), "--build-arg 'novalue': write it as KEY=VALUE"),
        (("--build-label", "=x"), "write it as KEY=VALUE"),
        (("--tag", "newest"), "'newest' is not one of"),
        (("--builder", "kaniko"), "'kaniko' is not one of"),
        (("--parallel", "0"), "--parallel"),
        (("--name", "x", "-f", "stack.yml"), "leave out --yaml"),
        (("--name", "x", "--lang", "cli"), "--handler is needed"),
        (("--filter", "nobody"), "no function"),
    ],
)
def test_what_cannot_be_meant(arguments: tuple[str, ...], words: str) -> None:
    result = run_cli("build", "--builder", "native", *arguments)
    assert result.exit_code in (1, 2)
    assert words in result.stderr


def test_a_gateway_that_was_named_may_be_slow_to_say_what_it_runs(
    gateway: ScriptedGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway.on("GET /system/info", answer_json({"provider": {"provider": "penstock-process"}}))
    monkeypatch.setattr("penstock.cli.building.PROVIDER_TIMEOUT", 1e-9)
    result = run_cli("build", "--output", "json")
    assert result.exit_code == 0, result.output
    assert Path(json.loads(result.stdout)[0]["folder"]).is_dir()
    assert "Warning" not in result.stderr


def test_a_build_option_that_a_template_does_not_have() -> None:
    result = run_cli("build", "--builder", "native", "-o", "gpu")
    assert result.exit_code == 1
    assert "stack.yml:2: function 'words': template 'cli' has no build option 'gpu'; it has none" in result.stderr


@pytest.mark.parametrize(("lang", "pulled"), [("bash@v1", False), ("bash", True)], ids=["pinned", "pulled"])
def test_a_template_that_gives_way_to_ours_is_told_of(project: Path, lang: str, pulled: bool) -> None:
    (project / "fn").mkdir()
    (project / "fn" / "handler.sh").write_text("cat\n")
    (project / "stack.yml").write_text(f"functions:\n  fn:\n    lang: {lang}\n    handler: ./fn\n    image: fn\n")
    if pulled:
        (project / "template" / lang).mkdir(parents=True)
        (project / "template" / lang / "template.yml").write_text("language: bash\n")
    result = run_cli("build", "--builder", "native")
    assert result.exit_code == 0, result.output
    assert f"stack.yml:2: function 'fn': template '{lang}' needs a container, so Penstock's own 'bash'" in result.stderr


def test_ours_is_taken_without_a_word_where_it_is_meant() -> None:
    assert "container" not in run_cli("build", "--builder", "native").stderr


WRITTEN = """\
functions:
  one:
    lang: dockerfile
    handler: one
    image: one:1
"""


def test_images_of_the_image_writer_are_written_to_files_as_well(project: Path) -> None:
    (project / "one").mkdir()
    (project / "one/Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
    (project / "stack.yml").write_text(WRITTEN)
    (project / "out").mkdir()
    environ: dict[str, str | None] = {
        "PENSTOCK_BUILDS": str(project / "builds"),
        "DOCKER_HOST": f"unix://{project}/nothing.sock",
    }
    for _ in range(2):  # a file that is there is replaced
        result = run_cli("build", "--builder", "image", "--archive", "out", env=environ)
        assert result.exit_code == 0, result.output
        assert "one:1 is in out/one.tar\n" in result.stderr
        assert [path.name for path in (project / "out").iterdir()] == ["one.tar"]
    with tarfile.open(project / "out/one.tar") as archive:
        listed = archive.extractfile("manifest.json")
        assert listed is not None
        [image] = json.load(listed)
    assert image["RepoTags"] == ["one:1"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--builder", "native", "--archive", "."), "is for --builder image; there is no image to save"),
        (("--builder", "docker", "--archive", "."), "saved by docker save"),
        (("--builder", "image", "--archive", "nowhere"), "'nowhere' does not exist"),
        (("--shrinkwrap", "--archive", "."), "--shrinkwrap makes no image to write to --archive"),
    ],
)
def test_what_cannot_be_written_to_a_file(arguments: tuple[str, ...], words: str) -> None:
    result = run_cli("build", *arguments)
    assert result.exit_code != 0
    assert words in result.output
