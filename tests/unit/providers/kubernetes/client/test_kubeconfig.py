"""Which cluster and user several files name, and that every fault is one line with the file and what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from penstock.errors import SettingsError
from penstock.providers.kubernetes.client.kubeconfig import Chosen, choose, files_of

ONE = {
    "clusters": [{"name": "c", "cluster": {"server": "https://one.example.org", "certificate-authority": "ca.crt"}}],
    "users": [{"name": "u", "user": {"token": "one"}}],
    "contexts": [{"name": "first", "context": {"cluster": "c", "user": "u"}}],
}
TWO = {
    "clusters": [
        {"name": "c", "cluster": {"server": "https://two.example.org"}},
        {"name": "d", "cluster": {"server": "https://d"}},
    ],
    "users": [{"name": "u", "user": {"token": "two"}}, {"name": "v", "user": {"tokenFile": "t"}}],
    "contexts": [
        {"name": "first", "context": {"cluster": "d"}},
        {"name": "second", "context": {"cluster": "c", "user": "v"}},
    ],
    "current-context": "second",
}


def write(path: Path, document: Any) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(document if isinstance(document, str) else yaml.safe_dump(document))
    return path


@pytest.fixture
def both(tmp_path: Path) -> list[Path]:
    return [write(tmp_path / "one" / "config", ONE), write(tmp_path / "two" / "config", TWO)]


def test_files_are_those_of_the_variable_else_the_one_at_home() -> None:
    assert files_of({"KUBECONFIG": "/a:/b::/a", "HOME": "/h"}) == [Path("/a"), Path("/b")]
    assert (
        files_of({"KUBECONFIG": "", "HOME": "/h"})
        == files_of({"KUBECONFIG": ":", "HOME": "/h"})
        == [Path("/h/.kube/config")]
    )


def test_the_first_file_that_has_a_name_has_it_and_paths_are_relative_to_their_own(both: list[Path]) -> None:
    chosen = choose(both, "")
    assert (chosen.cluster.server, chosen.user.token_file) == ("https://one.example.org", "t")
    assert (chosen.cluster_folder, chosen.user_folder) == (both[0].parent, both[1].parent)
    assert (chosen.cluster_named, chosen.user_named) == (f"cluster 'c' in {both[0]}", f"user 'v' in {both[1]}")
    assert choose(both, "first").user.token == "one"
    turned = choose([both[1], both[0]], "first")
    assert (turned.cluster.server, turned.user.token) == ("https://d", None)


def test_the_current_context_is_of_the_first_file_that_has_one(both: list[Path]) -> None:
    assert choose(both, "").user.token_file == "t"
    write(both[0], {**ONE, "current-context": "first"})
    assert choose(both, "").user.token == "one"


def test_files_that_are_not_there_are_passed_over(both: list[Path], tmp_path: Path) -> None:
    assert choose([tmp_path / "none", *both], "first").user.token == "one"
    with pytest.raises(SettingsError, match="no such file; set KUBECONFIG") as caught:
        choose([tmp_path / "none", tmp_path / "nothing"], "")
    assert f"{tmp_path}/none or {tmp_path}/nothing" in str(caught.value)


def test_what_is_not_chosen_may_be_anything(tmp_path: Path) -> None:
    other = [{"name": "x", "user": {"token": 5}}, {"user": None}, None, "x"]
    assert choose([write(tmp_path / "c", {**ONE, "users": [*other, *ONE["users"]]})], "first").user.token == "one"


def test_a_context_without_a_user_has_nothing_to_show(both: list[Path]) -> None:
    chosen = choose(both[1:], "first")
    assert chosen.user == Chosen(chosen.cluster, chosen.user, "", "").user
    assert chosen.user.token is None and "names no user" in chosen.user_named


def context(name: str, **fields: Any) -> dict[str, Any]:
    return {**ONE, "current-context": name, "contexts": [{"name": name, "context": fields}]}


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ("", "it is empty; set KUBECONFIG"),
        ("---\n", "it is empty"),
        ("just text", "it is no kubeconfig"),
        ("[]", "it is no kubeconfig"),
        ("clusters: [", "it is no YAML: while parsing"),
        ("a: *b", "it is no YAML"),
        ("\x00", "it is no YAML"),
        ("a: 2026-99-99", "it is no YAML"),
        (
            "{}",
            "names no current-context; set one (kubectl config use-context NAME) or PENSTOCK_KUBERNETES_CONTEXT; it has no contexts",
        ),
        (
            ONE,
            "names no current-context; set one (kubectl config use-context NAME) or PENSTOCK_KUBERNETES_CONTEXT; its contexts: first",
        ),
        ({**ONE, "current-context": "gone"}, "has no context 'gone'; its contexts: first"),
        ({**ONE, "current-context": 5}, "current-context is no text"),
        ({"current-context": "a", "contexts": {"a": 1}}, "contexts is no list"),
        (context("x", user="u"), "names no cluster"),
        (context("x", cluster="lost", user="u"), "is of a cluster 'lost' that is not there"),
        (context("x", cluster="c", user="lost"), "is of a user 'lost' that is not there"),
        (context("x", cluster=["c"]), "context 'x': Expected `str`, got `array`"),
        (
            {**ONE, "current-context": "first", "users": [{"name": "u", "user": {"token": 5}}]},
            "user 'u': Expected `str | null`, got `int`",
        ),
        ({**ONE, "current-context": "first", "users": [{"name": "u", "user": "x"}]}, "user 'u': Expected `object`"),
        (
            {**ONE, "current-context": "first", "clusters": [{"name": "c", "cluster": {"server": []}}]},
            "cluster 'c': Expected `str`",
        ),
    ],
)
def test_a_fault_is_one_line_that_names_the_file(tmp_path: Path, document: Any, words: str) -> None:
    path = write(tmp_path / "config", document)
    with pytest.raises(SettingsError) as caught:
        choose([path], "")
    message = str(caught.value)
    assert words in message and str(path) in message and "\n" not in message


def test_a_file_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=f"{tmp_path} cannot be used: Is a directory"):
        choose([tmp_path], "")


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penstock.providers.kubernetes.client.kubeconfig.MOST", 10)
    with pytest.raises(SettingsError, match="more than"):
        choose([write(tmp_path / "config", ONE)], "first")
