"""The login beside objects of a store: sent where there is one and the caller has none of their own."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.cli.objectcall import object_fields
from penstock.cli.target import Target
from penstock.errors import InvalidInput


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """Of a user on the machine of the server."""
    (tmp_path / "auth").mkdir()
    (tmp_path / "auth" / "basic-auth-user").write_text("admin")
    (tmp_path / "auth" / "basic-auth-password").write_text("secret")
    return {"PENSTOCK_HOME": str(tmp_path), "OPENFAAS_CONFIG": str(tmp_path / "none")}


TARGET = Target("http://127.0.0.1:8080")


def test_a_call_without_objects_carries_nothing(environ: dict[str, str]) -> None:
    assert object_fields("", "", [], TARGET, environ) == []


def test_a_call_with_an_object_carries_the_login(environ: dict[str, str]) -> None:
    fields = dict(object_fields("s3://inbox/a", "", [], TARGET, environ))
    assert fields == {"X-Input-Object": "s3://inbox/a", "Authorization": "Basic YWRtaW46c2VjcmV0"}


def test_a_credential_of_the_callers_own_is_kept(environ: dict[str, str]) -> None:
    fields = object_fields("", "s3://outbox/b", [("authorization", "Bearer x")], TARGET, environ)
    assert fields == [("X-Output-Object", "s3://outbox/b")]


def test_what_is_no_reference_is_refused(environ: dict[str, str]) -> None:
    with pytest.raises(InvalidInput, match="s3://BUCKET/KEY"):
        object_fields("inbox/a", "", [], TARGET, environ)
