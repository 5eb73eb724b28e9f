"""How far a pull is, in words: `pulling nginx:1.27: 3 of 7 layers, 41 of 120 MB`.

Pure; `images` feeds it the documents that the engine sends while it pulls.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_WAITING = frozenset(
    {"Pulling fs layer", "Waiting", "Downloading", "Verifying Checksum", "Download complete", "Extracting"}
)
_DONE = frozenset({"Pull complete", "Already exists"})
_MEGABYTE = 1_000_000


class Progress:
    """One pull. What the engine says in other words is passed over."""

    def __init__(self, reference: str) -> None:
        self._reference = reference
        self._layers: dict[str, bool] = {}
        """By id: whether it is there."""
        self._fetched: dict[str, int] = {}
        self._sizes: dict[str, int] = {}
        """Bytes of layers that are, or were, fetched."""
        self._trouble = ""

    def take(self, document: Mapping[str, Any]) -> None:
        """A document of the stream, such as `{"id": …, "status": "Downloading", "progressDetail": {"current": …, "total": …}}`."""
        layer, status = document.get("id"), document.get("status")
        if not isinstance(layer, str) or not isinstance(status, str):
            return
        if status.startswith("Retrying in"):
            self._trouble = "; the registry breaks off, trying again"
        elif status in _DONE or status in _WAITING:
            self._trouble = ""
            self._layers[layer] = status in _DONE
            self._count(layer, status, document.get("progressDetail"))

    def _count(self, layer: str, status: str, detail: Any) -> None:
        if status == "Downloading" and isinstance(detail, dict):
            self._fetched[layer] = _number(detail.get("current"))
            self._sizes[layer] = max(_number(detail.get("total")), self._fetched[layer])
        elif layer in self._sizes:
            self._fetched[layer] = self._sizes[layer]
        elif status == "Already exists":
            self._sizes[layer] = self._fetched[layer] = 0

    def words(self) -> str:
        """For whoever waits. The sum of sizes is told as soon as it is that of all layers."""
        head = f"pulling {self._reference}"
        if not self._layers:
            return head + self._trouble
        text = f"{head}: {sum(self._layers.values())} of {len(self._layers)} layers"
        fetched, size = sum(self._fetched.values()), sum(self._sizes.values())
        if self._layers.keys() <= self._sizes.keys() and size:
            text += f", {_megabytes(fetched)} of {_megabytes(size)} MB"
        elif fetched:
            text += f", {_megabytes(fetched)} MB"
        return text + self._trouble


def _number(value: Any) -> int:
    return value if isinstance(value, int) and value > 0 else 0


def _megabytes(size: int) -> str:
    return f"{size / _MEGABYTE:.{0 if size >= 10 * _MEGABYTE else 1}f}"
