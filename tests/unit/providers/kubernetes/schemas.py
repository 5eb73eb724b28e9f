"""Checks objects against the published schemas of the Kubernetes API, without a cluster."""

from __future__ import annotations

from typing import Any

import kubernetes_validate

VERSIONS = ("1.25", "1.28", "1.31", "1.34", "1.37")
"""Of the API: the oldest and the newest whose schemas there are, and some between. 1.20 is asked by tests with a real cluster."""


def check_schemas(document: dict[str, Any]) -> None:
    """Raises ValidationError where a version of the API would not know a field, or not take its value."""
    for version in VERSIONS:
        kubernetes_validate.validate(document, version, strict=True)
