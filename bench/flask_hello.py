"""The peer of mode `python`: a Flask application with one route, served by waitress."""

from __future__ import annotations

from flask import Flask

app = Flask(__name__)


@app.route("/")
def hello() -> str:
    return "hello\n"
