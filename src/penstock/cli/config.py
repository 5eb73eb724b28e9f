"""The saved logins, in the file and format that faas-cli uses, so that both programs share them (contract watchdog-cli §4.1).

Used by `target` to find credentials and by `login` and `logout` to change them. Keys it does not know are kept. What the file
holds is judged by the reader of stack files first, which survives anything. A file as both programs write it needs no reader of
YAML to be understood, whose import takes longer than quick verbs have.
"""

from __future__ import annotations

import binascii
import os
import re
import stat
from collections.abc import Mapping
from typing import Any

from penstock.errors import InvalidInput, PenstockError

Document = dict[str, Any]
FilePath = str | os.PathLike[str]

MAX_BYTES = 1 << 20
"""Of the file; a login has a ten-thousandth of that."""
MAX_DIGITS = 100
"""Of a number in it; faas-cli writes none."""

_PLAIN_ENTRY = re.compile(
    r"( *)- gateway: (?P<gateway>https?://[a-zA-Z0-9._~:/\[\]-]*[a-zA-Z0-9/\]])\n"
    r"\1  auth: (?P<auth>basic|oauth2)\n"
    r"\1  token: (?P<token>[a-zA-Z][a-zA-Z0-9+/_.=-]{5,})\n"
    r"(?:\1  options: \[\]\n)?",
    re.ASCII,
)
"""A login as it is written by us and by faas-cli. Such a token is text to every reader of YAML: words like `true` are shorter."""


def config_path(environ: Mapping[str, str]) -> str:
    """`config.yml` in the directory `$OPENFAAS_CONFIG`, or in `~/.openfaas`."""
    return os.path.join(os.path.expanduser(environ.get("OPENFAAS_CONFIG") or "~/.openfaas"), "config.yml")


def basic_token(user: str, password: str) -> str:
    """`user:password` in base64, as the file and the Authorization header carry it (RFC 7617)."""
    return binascii.b2a_base64(f"{user}:{password}".encode(), newline=False).decode()


def saved_authorization(path: FilePath, url: str) -> str:
    """The Authorization header value saved for a gateway, or "" when there is none. Raises PenstockError on a broken file."""
    text = _read(path)
    if text is None:
        return ""
    entries = _plain_entries(text)
    entry = _find(_entries(_parsed(text, path), path) if entries is None else entries, url)
    token = entry.get("token") if entry else None
    if entry is None or not token:
        return ""
    if not isinstance(token, str) or not token.isascii() or not token.isprintable():
        raise PenstockError(
            f"the `token` for {url} in {path} is nothing that a header can carry: run `penstock login --gateway {url}`"
        )
    scheme = "Basic" if entry.get("auth", "basic") == "basic" else "Bearer"
    return f"{scheme} {token}"


def save_login(path: FilePath, url: str, token: str) -> None:
    """Keep a basic login (`token` from `basic_token`) for a gateway, in place of an earlier one."""
    document = _load(path)
    entries = _entries(document, path)
    entry = _find(entries, url)
    if entry is None:
        entry = {"gateway": url}
        entries.append(entry)
    entry.update(auth="basic", token=token)
    document["auths"] = entries
    _store(path, document)


def remove_login(path: FilePath, url: str) -> bool:
    """Forget the login of a gateway; False when there was none."""
    document = _load(path)
    entries = _entries(document, path)
    entry = _find(entries, url)
    if entry is None:
        return False
    document["auths"] = [other for other in entries if other is not entry]
    _store(path, document)
    return True


def _find(entries: list[Document], url: str) -> Document | None:
    """The entry of that gateway. faas-cli saves URLs in lower case, so that spelling is looked for as well."""
    for spelling in (url, url.lower()):
        for entry in entries:
            if str(entry.get("gateway", "")).rstrip("/") == spelling:
                return entry
    return None


def _plain_entries(text: str) -> list[Document] | None:
    """The logins of a file that holds nothing else; None for any other, which need not be wrong."""
    head = "auths:\n"
    if not text.startswith(head):
        return None
    found: list[Document] = []
    indents = set()
    position = len(head)
    while position < len(text):
        entry = _PLAIN_ENTRY.match(text, position)
        if entry is None:
            return None
        found.append(entry.groupdict())
        indents.add(entry[1])
        position = entry.end()
    return found if len(indents) == 1 else None


def _load(path: FilePath) -> Document:
    text = _read(path)
    return {} if text is None else _parsed(text, path)


def _parsed(text: str, path: FilePath) -> Document:
    import yaml  # late: only who has logged in pays for it

    from penstock.stack.document import parse

    class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
        """Reads no number whose digits would take for ever."""

        def construct_int(self, node: yaml.ScalarNode) -> Any:
            if len(node.value) > MAX_DIGITS:
                raise ValueError(f"a number of more than {MAX_DIGITS} digits")
            return self.construct_yaml_int(node)

    Loader.add_constructor("tag:yaml.org,2002:int", Loader.construct_int)
    try:
        parse(text, f"the saved logins in {path}")  # refuses all that would exhaust a loader
        document = yaml.load(text, Loader=Loader)  # noqa: S506 - a safe loader
    except InvalidInput as error:
        raise PenstockError(f"{error}; mend or remove the file") from error
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # also a day that no month has
        reason = str(error).partition("\n")[0]
        raise PenstockError(
            f"the saved logins in {path} hold a value that cannot be read: {reason}; mend or remove the file"
        ) from error
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise PenstockError(f"the saved logins in {path} are not a YAML mapping, mend or remove the file")
    return document


def _read(path: FilePath) -> str | None:
    """The text of the file; None where there is none. Raises PenstockError, and never waits: a pipe is no file."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise _unreadable(path, str(error)) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _unreadable(path, "it is not a file")
    with open(descriptor, "rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise _unreadable(path, f"it is larger than {MAX_BYTES >> 20} MB")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _unreadable(path, f"byte {error.start + 1} of it is not UTF-8") from error


def _unreadable(path: FilePath, reason: str) -> PenstockError:
    return PenstockError(f"cannot read the saved logins in {path}: {reason}; mend or remove the file")


def _entries(document: Document, path: FilePath) -> list[Document]:
    entries = document.get("auths") or []
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise PenstockError(f"`auths` in {path} is not a list of mappings, mend or remove the file")
    return entries


def _store(path: FilePath, document: Document) -> None:
    """Write the whole file or nothing of it: 0600 in a directory that, when we make it, is 0700. A symbolic link stays one."""
    import tempfile  # late, as yaml is: reading commands do without

    import yaml

    path = os.path.realpath(path)
    directory = os.path.dirname(path)
    try:
        os.makedirs(directory, mode=0o700, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(prefix=".config-", dir=directory)  # mkstemp makes it 0600
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                yaml.safe_dump(document, file, sort_keys=False, allow_unicode=True)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
    except OSError as error:
        raise PenstockError(f"cannot write the saved logins to {path}: {error}") from error
