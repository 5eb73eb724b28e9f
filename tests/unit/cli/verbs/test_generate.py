"""`penstock generate`."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.unit.cli.support import run_cli


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    Path("stack.yml").write_text("functions:\n  b: {image: b, namespace: own}\n  a: {image: a:1}\n")


def kinds(*flags: str) -> list[tuple[str, str, str]]:
    result = run_cli("generate", *flags)
    assert result.exit_code == 0, result.stderr
    documents = [yaml.safe_load(part) for part in result.stdout.split("---\n")[1:]]
    return [(item["kind"], item["metadata"]["name"], item["metadata"]["namespace"]) for item in documents]


def test_custom_resources_by_default_sorted_by_name() -> None:
    assert kinds() == [("Function", "a", "openfaas-fn"), ("Function", "b", "own")]
    assert kinds("-n", "other", "--filter", "b") == [("Function", "b", "other")]


def test_other_formats() -> None:
    assert [kind for kind, _, _ in kinds("--api", "serving.knative.dev/v1")] == ["Service", "Service"]
    assert [kind for kind, _, _ in kinds("--format", "kubernetes")] == ["Deployment", "Service"] * 2
    stack = yaml.safe_load(run_cli("generate", "--format", "swarm").stdout)
    assert list(stack["services"]) == ["a", "b"]


def test_labels_and_annotations_for_all() -> None:
    result = run_cli("generate", "-l", "team=red", "--annotation", "topic=x", "--filter", "a")
    [document] = [yaml.safe_load(part) for part in result.stdout.split("---\n")[1:]]
    assert document["spec"]["labels"] == {"team": "red"} and document["spec"]["annotations"] == {"topic": "x"}


def test_a_function_of_a_store(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("store.json").write_text(
        '{"functions": [{"name": "figlet", "fprocess": "figlet", "images": {"x86_64": "f:1"}}]}'
    )
    monkeypatch.setenv("OPENFAAS_STORE", "store.json")
    assert kinds("--from-store", "figlet", "--name", "banner") == [("Function", "banner", "openfaas-fn")]
    assert (
        "no image for 'arm64'; it has x86_64" in run_cli("generate", "--from-store", "figlet", "--arch", "arm64").stderr
    )
    assert run_cli("generate", "--from-store", "nosuch").exit_code == 1
    assert run_cli("generate", "--name", "x").exit_code == 2


def test_a_function_without_an_image_is_refused() -> None:
    Path("stack.yml").write_text("functions: {a: {fprocess: cat}}")
    result = run_cli("generate")
    assert result.exit_code == 2 and "function 'a' has no image" in result.stderr


def test_pipelines_are_left_out_with_a_note() -> None:
    with Path("stack.yml").open("a") as file:
        file.write("pipelines:\n  p: {stages: a | b}\n")
    assert kinds() == [("Function", "a", "openfaas-fn"), ("Function", "b", "own")]
    assert "pipelines are Penstock's own, no other system has them: p" in run_cli("generate").stderr


@pytest.mark.parametrize("form", ["crd", "kubernetes", "swarm"])
def test_a_file_with_pipelines_only_is_refused(form: str) -> None:
    Path("stack.yml").write_text("pipelines:\n  p: {stages: a | b}\n")
    result = run_cli("generate", "--format", form)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "there is nothing to generate; pipelines are Penstock's own" in result.stderr


def test_the_platform_itself() -> None:
    result = run_cli(
        "generate", "platform", "--kubernetes", "--image", "r.example/p:1", "--replicas", "2", "--no-account"
    )
    documents = list(yaml.safe_load_all(result.stdout))
    deployment = next(document for document in documents if document["kind"] == "Deployment")
    assert deployment["spec"]["replicas"] == 2
    assert deployment["spec"]["template"]["spec"]["containers"][0]["image"] == "r.example/p:1"
    assert "Secret" not in {document["kind"] for document in documents}
    assert "Secret" in run_cli("generate", "platform", "--kubernetes").stdout
    assert "functions.openfaas.com" in run_cli("generate", "platform", "--kubernetes", "--custom-resources").stdout


def test_the_platform_of_nothing_is_a_question() -> None:
    result = run_cli("generate", "platform")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "Add --kubernetes" in result.stderr


def test_a_platform_that_cannot_be_is_refused() -> None:
    result = run_cli("generate", "platform", "--kubernetes", "--cluster-version", "1.2")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "no version of Kubernetes from 1.20 on" in result.stderr
