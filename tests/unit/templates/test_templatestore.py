"""What the template store may hold, in which order it is shown, and what takes its place offline."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from penstock.errors import InvalidInput, NotFound, PenstockError
from penstock.stack import fetch
from penstock.templates import templatestore
from penstock.templates.templatestore import StoreTemplate, find, on_platform, parse_store, read_store


def entry(name: str, **more: Any) -> dict[str, Any]:
    return {"template": name, "platform": "x86_64", "language": "L", "source": "https://example.com/r", **more}


def store(*entries: Any) -> bytes:
    return json.dumps(entries).encode()


def test_recommended_ones_come_first_then_official_ones_then_by_name() -> None:
    data = store(
        entry("d"),
        entry("B", official="true"),
        entry("c", official="false"),
        entry("a", recommended=True, official=True),
    )
    assert [template.template for template in parse_store(data, "x").templates] == ["a", "B", "c", "d"]


def test_members_that_are_null_are_not_given() -> None:
    [template] = parse_store(store(entry("a", description=None, unknown=1)), "x").templates
    assert template == StoreTemplate(template="a", platform="x86_64", language="L", source="https://example.com/r")


@pytest.mark.parametrize(
    "data",
    [b"", b"{}", b"[1]", b"[{}]", b'[{"template": 1}]', b"\xff", b"[" * 100000, store(entry("../x")), store(entry("a", recommended="?"))],
    ids=["empty", "object", "number", "nameless", "type", "bytes", "deep", "path", "truth"],
)  # fmt: skip
def test_what_is_no_store_is_told_with_its_place(data: bytes) -> None:
    with pytest.raises(InvalidInput, match=r"^https://example\.com/x: "):
        parse_store(data, "https://example.com/x")


def test_what_would_steer_a_terminal_is_not_kept() -> None:
    text = "\x1b[31mred\x9b2J\u202e"
    entry = {"template": "a", "platform": text, "language": text, "description": text, "repo": text, "official": text}
    [template] = parse_store(json.dumps([entry]).encode(), "x").templates
    clean = "\ufffd[31mred\ufffd2J\ufffd"
    shown = [template.platform, template.language, template.description, template.repo, template.official]
    assert shown == [clean] * 5


def test_a_template_is_found_by_its_name_or_by_owner_and_name() -> None:
    found = parse_store(store(entry("go", repo="one"), entry("GO-http", repo="two")), "x")
    assert find(found, "go-HTTP").repo == "two"
    assert find(found, "one/go").repo == "one"
    with pytest.raises(NotFound, match=r"template 'cobol' is not in the store x; it has go, GO-http"):
        find(found, "cobol")


def test_platforms_in_any_case_and_none_for_all() -> None:
    templates = [
        StoreTemplate(template="a", platform="X86_64"),
        StoreTemplate(template="b", platform="armhf"),
        StoreTemplate(template="c"),
    ]
    assert [template.template for template in on_platform(templates, "x86_64")] == ["a", "c"]


def test_the_store_is_a_file_or_a_url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "store.json"
    file.write_bytes(store(entry("a")))
    monkeypatch.setattr(fetch, "download", lambda url: store(entry(url.rpartition("/")[2])))
    assert read_store("", {"OPENFAAS_TEMPLATE_STORE_URL": str(file)}).templates[0].template == "a"
    assert read_store(f"file://{file}", {}).templates[0].template == "a"
    assert read_store("https://example.com/b", {"OPENFAAS_TEMPLATE_STORE_URL": str(file)}).templates[0].template == "b"
    assert read_store("", {}).place == templatestore.DEFAULT_URL


def refuse(url: str) -> bytes:
    raise PenstockError(f"{url}: cannot be read: no network")


def test_offline_our_own_templates_are_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "download", refuse)
    own = read_store("", {})
    assert own.unreachable.endswith("no network")
    assert find(own, "python3-http").source == ""
    with pytest.raises(NotFound, match=r"template 'cobol' is not one of Penstock's own, bash, .* no network"):
        find(own, "cobol")


def test_a_store_that_was_named_is_not_replaced(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(fetch, "download", refuse)
    with pytest.raises(PenstockError, match="no network"):
        read_store("", {"OPENFAAS_TEMPLATE_STORE_URL": "https://example.com/s"})
    with pytest.raises(NotFound):
        read_store(str(tmp_path / "nowhere"), {})
