"""How far a pull is, from the engine's documents."""

from __future__ import annotations

from typing import Any

import pytest

from penstock.providers.containers.progress import Progress

MB = 1_000_000


def layer(name: str, status: str, current: int | None = None, total: int | None = None) -> dict[str, Any]:
    return {"id": name, "status": status, "progressDetail": {"current": current, "total": total} if current else {}}


def words(*documents: dict[str, Any]) -> str:
    progress = Progress("nginx:1.27")
    for document in documents:
        progress.take(document)
    return progress.words()


def test_a_pull_begins_without_numbers() -> None:
    assert words() == "pulling nginx:1.27"
    assert words({"id": "1.27", "status": "Pulling from library/nginx"}) == "pulling nginx:1.27"


def test_layers_are_counted() -> None:
    said = words(layer("a", "Pulling fs layer"), layer("b", "Already exists"), layer("c", "Waiting"))
    assert said == "pulling nginx:1.27: 1 of 3 layers"


def test_bytes_are_told_without_a_sum_while_a_size_is_unknown() -> None:
    said = words(layer("a", "Downloading", 20 * MB, 60 * MB), layer("b", "Waiting"))
    assert said == "pulling nginx:1.27: 0 of 2 layers, 20 MB"


def test_bytes_are_told_with_their_sum_as_soon_as_it_is_known() -> None:
    said = words(
        layer("a", "Downloading", 1 * MB, 60 * MB),
        layer("a", "Download complete"),
        layer("a", "Extracting", 5 * MB, 60 * MB),
        layer("b", "Downloading", 3 * MB, 40 * MB),
        layer("c", "Already exists"),
    )
    assert said == "pulling nginx:1.27: 1 of 3 layers, 63 of 100 MB"


def test_small_images_are_told_in_tenths() -> None:
    said = words(layer("a", "Downloading", MB // 2, 2 * MB), layer("a", "Pull complete"))
    assert said == "pulling nginx:1.27: 1 of 1 layers, 2.0 of 2.0 MB"


def test_a_registry_that_breaks_off_is_told_until_it_delivers_again() -> None:
    begun = [layer("a", "Downloading", 20 * MB, 60 * MB), layer("a", "Retrying in 5 seconds")]
    assert words(*begun).endswith("20 of 60 MB; the registry breaks off, trying again")
    assert words(*begun, layer("a", "Downloading", 30 * MB, 60 * MB)).endswith("30 of 60 MB")


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"id": 1, "status": "Downloading"},
        {"id": "a", "status": None},
        {"id": "a", "status": "Dreaming"},
        {"status": "Digest: sha256:0"},
        {"aux": {}},
    ],
)
def test_what_is_not_about_a_layer_is_passed_over(document: dict[str, Any]) -> None:
    assert words(document) == "pulling nginx:1.27"


@pytest.mark.parametrize("detail", [None, [], "x", {"current": "x"}, {"current": -1, "total": -1}, {"total": 1.5}])
def test_numbers_that_are_none_count_as_nothing(detail: Any) -> None:
    document = {"id": "a", "status": "Downloading", "progressDetail": detail}
    assert words(document) == "pulling nginx:1.27: 0 of 1 layers"


def test_more_than_the_whole_is_the_whole() -> None:
    said = words(layer("a", "Downloading", 30 * MB, 20 * MB))
    assert said == "pulling nginx:1.27: 0 of 1 layers, 30 of 30 MB"
