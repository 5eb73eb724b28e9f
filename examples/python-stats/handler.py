"""A CSV table in, figures about one of its columns out: a Python function in mode `python`."""

from __future__ import annotations

import csv
import io
import statistics
from typing import Any


def handle(event: Any, context: Any) -> dict[str, Any]:
    rows = list(csv.DictReader(io.StringIO(event.body.decode("utf-8-sig", "replace"))))
    column = event.query.get("column", "")
    if not rows or column not in rows[0]:
        known = ", ".join(name for name in rows[0] if name) if rows else "none, the table is empty"
        return {
            "statusCode": 400,
            "body": f"column must be one of: {known}\n",
            "headers": {"Content-Type": "text/plain"},
        }
    values = sorted(number for row in rows if (number := _number(row[column])) is not None)
    figures: dict[str, Any] = {"rows": len(rows), "numbers": len(values)}
    if values:
        figures |= {"least": values[0], "median": statistics.median(values), "most": values[-1], "sum": sum(values)}
    return {"statusCode": 200, "body": figures}


def _number(text: str | None) -> float | None:
    """A number as people write it, with commas between the thousands."""
    try:
        return float((text or "").replace(",", ""))
    except ValueError:
        return None
