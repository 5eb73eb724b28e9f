"""Sealed secrets: what faas-cli writes is opened, what we write has its form, and what is neither is refused."""

from __future__ import annotations

import base64
import re

import pytest
import yaml
from nacl.public import Box, PrivateKey, PublicKey

from penstock.cli.sealing import Envelope, generate_keys, key_id, seal, unseal
from penstock.errors import InvalidInput, NotFound

PRIVATE = "d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3c="
EPHEMERAL = PrivateKey(bytes(range(32)))
NONCE = bytes(range(100, 124))
VALUES = {
    "pip_token": b"s3cr3t",
    "null_bytes": b"\x00\x00\xff\x00\xfe",
    "ca.crt": b"-----BEGIN\nMIIB+w==\n",
    "empty": b"",
}


def text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def public() -> str:
    return text(bytes(PrivateKey(base64.b64decode(PRIVATE)).public_key))


def envelope(**changes: object) -> bytes:
    """As faas-cli writes it: an ephemeral key, and for each value a nonce and its box."""
    box = Box(EPHEMERAL, PublicKey(base64.b64decode(public())))
    secrets = {name: text(NONCE + box.encrypt(value, NONCE).ciphertext) for name, value in VALUES.items()}
    document = {
        "version": "v1",
        "algorithm": "nacl/box",
        "key_id": public()[:8],
        "public_key": text(bytes(EPHEMERAL.public_key)),
        "secrets": secrets,
    }
    return yaml.safe_dump({**document, **changes}, indent=4).encode()


def test_an_envelope_of_faas_cli_is_opened() -> None:
    assert unseal(PRIVATE + "\n", envelope(), "file") == VALUES


def test_a_fixed_envelope_is_opened() -> None:
    sealed = envelope()
    assert unseal(PRIVATE, sealed, "file", "pip_token") == {"pip_token": b"s3cr3t"}
    assert yaml.safe_load(sealed)["public_key"] == "j0DFrbaPJWJK5bIU6nZ6bslNgp09e14a0bpvPiE4KF8="


def test_our_envelope_has_the_form_that_faas_cli_opens() -> None:
    document = yaml.safe_load(seal(f"{public()}\n", VALUES))
    assert list(document) == ["version", "algorithm", "key_id", "public_key", "secrets"]
    assert (document["version"], document["algorithm"], document["key_id"]) == ("v1", "nacl/box", public()[:8])
    box = Box(PrivateKey(base64.b64decode(PRIVATE)), PublicKey(base64.b64decode(document["public_key"])))
    opened = {}
    for name, sealed in document["secrets"].items():
        data = base64.b64decode(sealed)
        opened[name] = box.decrypt(data[24:], data[:24])
    assert opened == VALUES


def test_two_seals_of_one_value_differ() -> None:
    assert seal(public(), {"a": b"b"}) != seal(public(), {"a": b"b"})


def test_generated_keys_fit_together() -> None:
    private, own_public = generate_keys()
    assert unseal(private, seal(own_public, VALUES), "file") == VALUES
    assert len(base64.b64decode(private)) == len(base64.b64decode(own_public)) == 32
    assert key_id(own_public) == own_public[:8]


def test_another_key_does_not_open_it_and_both_are_named() -> None:
    private, own_public = generate_keys()
    with pytest.raises(InvalidInput, match=f"sealed for the key .*{re.escape(own_public[:8])}"):
        unseal(private, envelope(), "file")


def test_a_value_that_was_changed_is_not_opened() -> None:
    document = yaml.safe_load(envelope())
    data = bytearray(base64.b64decode(document["secrets"]["pip_token"]))
    data[-1] ^= 1
    with pytest.raises(InvalidInput, match="has been changed since"):
        unseal(PRIVATE, envelope(secrets={"pip_token": text(bytes(data))}), "file")


def test_a_name_that_is_not_there_is_told_with_those_that_are() -> None:
    with pytest.raises(NotFound, match=r"'nosuch'.*ca.crt, empty, null_bytes, pip_token"):
        unseal(PRIVATE, envelope(), "file", "nosuch")


@pytest.mark.parametrize("key", ["", "not-base64!!!", "AAAA", "QUFB" * 20, "\u00e9" * 44])
def test_what_is_no_key_is_refused(key: str) -> None:
    with pytest.raises(InvalidInput, match="public key"):
        seal(key, VALUES)
    with pytest.raises(InvalidInput, match="private key"):
        unseal(key, envelope(), "file")


def test_a_key_that_keeps_nothing_secret_is_refused() -> None:
    with pytest.raises(InvalidInput, match="nothing would be secret"):
        seal(text(bytes(32)), VALUES)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xfe\x00",
        b"[1, 2]",
        b"a: [",
        b"version: v99\nalgorithm: nacl/box\n",
        b"version: v1\nalgorithm: aes-gcm\n",
        b"version: v1\nsecrets: 5\n",
        b"version: !!python/object/apply:os.getcwd []\n",
        envelope(secrets={"a": "!!!"}),
        envelope(secrets={"a": "QUFB"}),
        envelope(secrets={"a": text(bytes(60))}),
        envelope(public_key="QUFB"),
        envelope(public_key=text(bytes(32))),
        b"[" * 100000,
    ],
    ids=lambda data: f"{len(data)}-{data[:12]!r}",
)
def test_what_is_no_envelope_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidInput):
        unseal(PRIVATE, data, "file")


def test_an_envelope_says_nothing_that_is_not_asked() -> None:
    assert set(Envelope.__struct_fields__) == {"version", "algorithm", "key_id", "public_key", "secrets"}
