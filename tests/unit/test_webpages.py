"""Requests of pages of other sites; the guard's own tests walk through all their forms."""

from __future__ import annotations

from penstock.webpages import foreign_host, foreign_page


def test_a_request_that_no_browser_has_made_is_no_pages() -> None:
    assert foreign_page("POST", {"host": "gateway.example"}) == ""


def test_a_page_of_another_site_is_told_apart_from_our_own() -> None:
    own = {"host": "gateway.example", "origin": "https://gateway.example"}
    assert foreign_page("POST", own) == ""
    assert "another site" in foreign_page("POST", {**own, "origin": "https://evil.example"})
    assert foreign_page("GET", {**own, "origin": "https://evil.example"}) == ""


def test_only_names_of_this_machine_are_not_foreign() -> None:
    assert foreign_host({"host": "localhost:8080"}) == ""
    assert "loopback" in foreign_host({"host": "evil.example"})
