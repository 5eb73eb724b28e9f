"""Keys come from a file or the environment, whole or not at all, and no message or repr shows them."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.storage.credentials import Keys, load_keys
from penstock.storage.errors import StorageDenied

OURS = {"PENSTOCK_S3_ACCESS_KEY": "ours", "PENSTOCK_S3_SECRET_KEY": "our-secret"}
AMAZON = {"AWS_ACCESS_KEY_ID": "theirs", "AWS_SECRET_ACCESS_KEY": "their-secret", "AWS_SESSION_TOKEN": "token"}


def test_our_variables_come_first_and_take_no_token_of_the_others() -> None:
    assert load_keys("", {**OURS, **AMAZON}) == Keys("ours", "our-secret", "")


def test_amazons_variables_come_with_their_token() -> None:
    assert load_keys("", AMAZON) == Keys("theirs", "their-secret", "token")


def test_no_keys_are_none() -> None:
    assert load_keys("", {}) is None


@pytest.mark.parametrize("name", (*OURS, "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"))
def test_half_a_key_is_refused(name: str) -> None:
    with pytest.raises(StorageDenied, match=f"but {name} is") as caught:
        load_keys("", {name: "hidden-value"})
    assert "hidden-value" not in str(caught.value)


def test_a_file_of_amazons_tools(tmp_path: Path) -> None:
    file = tmp_path / "credentials"
    file.write_text(
        "# comment\n[other]\naws_access_key_id=no\n\n[default]\naws_access_key_id = a%b\naws_secret_access_key=s/+=\n"
    )
    assert load_keys(str(file), OURS) == Keys("a%b", "s/+=")
    file.write_text(file.read_text() + "aws_session_token = t\n")
    assert load_keys(str(file), {}) == Keys("a%b", "s/+=", "t")


def test_a_directory_of_files(tmp_path: Path) -> None:
    (tmp_path / "access-key").write_text("access\n")
    (tmp_path / "secret-key").write_text("secret\n")
    assert load_keys(str(tmp_path), {}) == Keys("access", "secret")


@pytest.mark.parametrize(
    "content",
    (
        b"", b"hidden-value", b"[default]\n", b"[default]\naws_access_key_id = hidden-value\n", b"[default]\nhidden-value\n",
        b"\xff\xfe\x00",
        b"[other]\naws_access_key_id = hidden-value\naws_secret_access_key = hidden-value\n",
        b"[default]\naws_access_key_id = hidden-value\naws_secret_access_key = \n",
        "[default]\naws_access_key_id = hidden-value\naws_secret_access_key = schlüssel\n".encode(),
    ),
)  # fmt: skip
def test_a_file_that_is_none_is_refused_by_its_name_alone(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "credentials"
    file.write_bytes(content)
    with pytest.raises(StorageDenied, match="credentials") as caught:
        load_keys(str(file), {})
    assert "hidden-value" not in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageDenied, match="No such file"):
        load_keys(str(tmp_path / "none"), OURS)


def test_keys_do_not_show_themselves() -> None:
    assert "secret" not in repr(Keys("access", "secret")) + str(Keys("access", "secret"))
