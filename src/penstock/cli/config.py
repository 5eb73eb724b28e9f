"""The saved logins, in the file and format that faas-cli uses, so that both programs share them (contract watchdog-cli §4.1).

Used by `target` to find credentials and by `login` and `logout` to change them. Keys it does not know are kept.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from penstock.errors import PenstockError

Document = dict[str, Any]


def config_path(environ: Mapping[str, str]) -> Path:
    """`config.yml` in the directory `$OPENFAAS_CONFIG`, or in `~/.openfaas`."""
    directory = environ.get("OPENFAAS_CONFIG", "")
    return (Path(directory).expanduser() if directory else Path.home() / ".openfaas") / "config.yml"


def basic_token(user: str, password: str) -> str:
    """`user:password` in base64, as the file and the Authorization header carry it (RFC 7617)."""
    return base64.b64encode(f"{user}:{password}".encode()).decode()


def saved_authorization(path: Path, url: str) -> str:
    """The Authorization header value saved for a gateway, or "" when there is none. Raises PenstockError on a broken file."""
    entry = _find(_entries(_load(path), path), url)
    if entry is None or not entry.get("token"):
        return ""
    scheme = "Basic" if entry.get("auth", "basic") == "basic" else "Bearer"
    return f"{scheme} {entry['token']}"


def save_login(path: Path, url: str, token: str) -> None:
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


def remove_login(path: Path, url: str) -> bool:
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


def _load(path: Path) -> Document:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise PenstockError(f"cannot read the saved logins in {path}: {error}") from error
    import yaml  # late: only who has logged in pays for it

    try:
        document = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 - both are safe loaders
    except yaml.YAMLError as error:
        raise PenstockError(f"the saved logins in {path} are not YAML, mend or remove the file: {error}") from error
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise PenstockError(f"the saved logins in {path} are not a YAML mapping, mend or remove the file")
    return document


def _entries(document: Document, path: Path) -> list[Document]:
    entries = document.get("auths") or []
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise PenstockError(f"`auths` in {path} is not a list of mappings, mend or remove the file")
    return entries


def _store(path: Path, document: Document) -> None:
    """Write the whole file or nothing of it: 0600 in a directory that, when we make it, is 0700. A symbolic link stays one."""
    import tempfile  # late, as yaml is: reading commands do without

    import yaml

    path = Path(os.path.realpath(path))
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(prefix=".config-", dir=path.parent)  # mkstemp makes it 0600
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
