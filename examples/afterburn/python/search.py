"""Full-text search in a page of Markdown, which is the argument: the index is built once, before the first request.

GET /?q=first+picture  -> [{"title": "video-frame", "text": "… its [first] [picture] comes out as PNG …"}, …]
"""

from __future__ import annotations

import json
import re
import sqlite3
import sys
from pathlib import Path
from urllib.parse import parse_qs

from afterburn import Request, Response, serve

QUERY = (
    "SELECT title, snippet(sections, 1, '[', ']', ' … ', 16) FROM sections WHERE sections MATCH ? ORDER BY rank LIMIT 5"
)


def index(text: str) -> sqlite3.Connection:
    """The prose of a Markdown text's sections, by title and words; endings do not matter (flow, flows, flowing)."""
    database = sqlite3.connect(":memory:")
    database.execute("CREATE VIRTUAL TABLE sections USING fts5(title, text, tokenize = 'porter')")
    prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    _, *parts = re.split(r"^## ", prose, flags=re.MULTILINE)
    database.executemany("INSERT INTO sections VALUES (?, ?)", [part.split("\n", 1) for part in parts])
    return database


def search(database: sqlite3.Connection, words: list[str]) -> list[dict[str, str]]:
    """The five sections that fit best and hold every word."""
    # In quotes a word is only a word, never an operator of the query language.
    terms = " ".join('"' + word.replace('"', '""') + '"' for word in words)
    found = database.execute(QUERY, [terms]) if terms else []
    return [{"title": title, "text": " ".join(text.split())} for title, text in found]


def main() -> None:
    database = index(Path(sys.argv[1]).read_text(encoding="utf-8"))

    def handle(request: Request) -> Response:
        words = parse_qs(request.query).get("q", [""])[0].replace("\0", " ").split()
        answer = json.dumps(search(database, words), ensure_ascii=False)
        return 200, {"Content-Type": "application/json; charset=utf-8"}, answer + "\n"

    serve(handle)


if __name__ == "__main__":
    main()
