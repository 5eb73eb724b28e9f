"""Which modules a source mentions, and which of ours are looked at."""

from __future__ import annotations

from penstock.watchdog.bundle.trace import WATCHDOG, mentioned, own_modules


def test_imports_inside_of_functions_are_mentioned() -> None:
    source = b"import os.path, sys as s\nfrom a.b import c\n\n\ndef late():\n    import jwt\n    from . import near\n"
    assert list(mentioned(source)) == ["os.path", "sys", "a.b", "jwt"]


def test_a_bundle_makes_no_bundles() -> None:
    names = list(own_modules(WATCHDOG.root, WATCHDOG.left_out))
    assert {"penstock.watchdog", "penstock.watchdog.__main__", "penstock.watchdog.asgi.http"} <= set(names)
    assert [name for name in names if "bundle" in name] == []
