"""A small web application of the standard library, to be run behind the watchdog's `http` mode.

GET /slug?text=Hello%20World  -> hello-world
POST /stats  (any text)       -> {"lines": …, "words": …, "characters": …, "longest_word": …}
"""

from __future__ import annotations

import json
import os
import re
import unicodedata
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

MAX_BODY = 1 << 20
"""Bytes of text that /stats takes."""


def slug(text: str) -> str:
    """The text as a part of a URL: letters and digits of ASCII, joined by single hyphens."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return "-".join(re.findall(r"[a-z0-9]+", plain.lower()))


def stats(text: str) -> dict[str, int | str]:
    words = text.split()
    return {
        "lines": len(text.splitlines()),
        "words": len(words),
        "characters": len(text),
        "longest_word": max(words, key=len, default=""),
    }


class TextTools(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        if url.path == "/":
            self._answer(200, {"usage": ["GET /slug?text=…", "POST /stats"]})
        elif url.path == "/slug":
            self._answer(200, {"slug": slug(parse_qs(url.query).get("text", [""])[0])})
        else:
            self._answer(404, {"error": f"no such page: {url.path}"})

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal():
            return self._answer(411, {"error": "the length of the text must be known"}, close=True)
        if int(length) > MAX_BODY:
            return self._answer(413, {"error": f"at most {MAX_BODY} bytes"}, close=True)
        body = self.rfile.read(int(length))
        if urlsplit(self.path).path != "/stats":
            return self._answer(404, {"error": f"nothing takes a POST at {self.path}"})
        return self._answer(200, stats(body.decode("utf-8", "replace")))

    def log_message(self, format: str, *args: object) -> None:
        """Requests are counted by the gateway; a line for each would only fill the log."""

    def _answer(self, status: int, value: object, close: bool = False) -> None:
        body = json.dumps(value, ensure_ascii=False).encode() + b"\n"
        self.send_response(status)
        self.send_header("Content-Type", "application/json; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        if close:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), TextTools).serve_forever()
