"""Secrets sealed for the holder of a private key, in the envelope that faas-cli writes (contract watchdog-cli §4.3, `secret seal`).

Names can be read by anybody, values only by that holder. Called by the verbs `secret keygen`, `seal` and `unseal`; touches no file.
"""

from __future__ import annotations

import base64
import binascii
import collections.abc
from typing import TYPE_CHECKING

import msgspec

from penstock.errors import InvalidInput, NotFound
from penstock.stack.document import Mapping, Node, Sequence, decode, parse

if TYPE_CHECKING:
    from nacl.public import Box, PrivateKey

VERSION = "v1"
ALGORITHM = "nacl/box"
KEY_BYTES = 32
"""Of a Curve25519 key; key files hold them in base64."""
MAX_BYTES = 8 << 20
"""Of an envelope: sealed values are tokens and certificates."""
_KEY_ID = 8
"""Characters of the public key's base64 by which it is called."""
_SHORTEST = 24 + 16
"""Bytes of a sealed value: a nonce and the authenticator of nothing."""


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """What is written: the seals are of an ephemeral key, whose public half is `public_key`."""

    version: str = ""
    algorithm: str = ""
    key_id: str = ""
    """Of the key that opens it."""
    public_key: str = ""
    secrets: dict[str, str] = {}
    """Base64 of nonce and ciphertext by name."""


def generate_keys() -> tuple[str, str]:
    """A private and a public key, as key files hold them."""
    from nacl.public import PrivateKey  # late, in all of this file: it brings a library of C with it

    private = PrivateKey.generate()
    return _text(bytes(private)), _text(bytes(private.public_key))


def key_id(public_key: str) -> str:
    """By what a public key is called for short."""
    return public_key.strip()[:_KEY_ID]


def seal(public_key: str, secrets: collections.abc.Mapping[str, bytes]) -> bytes:
    """An envelope that only the holder of the private key opens. Raises InvalidInput for what is no key."""
    import yaml
    from nacl.public import PrivateKey

    ephemeral = PrivateKey.generate()
    box = _box(ephemeral, public_key, "the public key")
    envelope = Envelope(
        version=VERSION,
        algorithm=ALGORITHM,
        key_id=key_id(public_key),
        public_key=_text(bytes(ephemeral.public_key)),
        secrets={name: _text(bytes(box.encrypt(value))) for name, value in secrets.items()},
    )
    return yaml.safe_dump(msgspec.to_builtins(envelope), sort_keys=False, width=1 << 30, allow_unicode=True).encode()


def unseal(private_key: str, envelope: bytes, file: str, name: str = "") -> dict[str, bytes]:
    """The values of an envelope, or the one of that name. `file` is where it was read, for messages.

    Raises InvalidInput for what is no key or no envelope, or is sealed for another key; NotFound for a name that it does not have.
    """
    from nacl.exceptions import CryptoError
    from nacl.public import PrivateKey

    private = PrivateKey(_key(private_key, "the private key"))
    opened = _envelope(envelope, file)
    if name and name not in opened.secrets:
        raise NotFound(f"there is no secret {name!r} in {file}; it has {', '.join(sorted(opened.secrets)) or 'none'}")
    box = _box(private, opened.public_key, f"{file}: `public_key`")
    values = {}
    for key in [name] if name else opened.secrets:
        try:
            values[key] = box.decrypt(_sealed(opened.secrets[key], key))
        except CryptoError as error:
            raise InvalidInput(f"secret {key!r} cannot be opened: {_why(private, opened)}") from error
    return values


def _box(private: PrivateKey, public_key: str, what: str) -> Box:
    from nacl.exceptions import RuntimeError as Refused
    from nacl.public import Box, PublicKey

    try:
        return Box(private, PublicKey(_key(public_key, what)))
    except Refused as error:  # a point whose secrets everybody knows (RFC 7748 §6.1)
        raise InvalidInput(f"{what} is no key: nothing would be secret with it") from error


def _why(private: PrivateKey, envelope: Envelope) -> str:
    own = key_id(_text(bytes(private.public_key)))
    if envelope.key_id and envelope.key_id != own:
        return f"it is sealed for the key {envelope.key_id}, and this one is {own}"
    return "it was sealed for another key, or has been changed since"


def _envelope(data: bytes, file: str) -> Envelope:
    if len(data) > MAX_BYTES:
        raise InvalidInput(f"{file}: is larger than {MAX_BYTES >> 20} MiB, which no sealed secrets are")
    try:
        envelope = msgspec.convert(_plain(parse(decode(data, file), file).root), Envelope)
    except msgspec.ValidationError as error:
        raise InvalidInput(f"{file}: is no envelope of sealed secrets: {error}") from error
    if (envelope.version, envelope.algorithm) != (VERSION, ALGORITHM):
        raise InvalidInput(
            f"{file}: is of version {envelope.version!r} and algorithm {envelope.algorithm!r};"
            f" only {VERSION} with {ALGORITHM} is known"
        )
    return envelope


def _plain(node: Node) -> object:
    """A node as texts, lists and mappings."""
    if isinstance(node, Mapping):
        return {key: _plain(entry.value) for key, entry in node.entries.items()}
    return [_plain(item) for item in node.items] if isinstance(node, Sequence) else node.text


def _sealed(text: str, name: str) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidInput(f"secret {name!r} of the envelope is not base64: {error}") from error
    if len(data) < _SHORTEST:
        raise InvalidInput(f"secret {name!r} of the envelope is too short to be a sealed value")
    return data


def _key(text: str, what: str) -> bytes:
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidInput(f"{what} is not base64: `penstock secret keygen` makes keys") from error
    if len(key) != KEY_BYTES:
        raise InvalidInput(f"{what} has {len(key)} bytes and not {KEY_BYTES}: `penstock secret keygen` makes keys")
    return key


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
