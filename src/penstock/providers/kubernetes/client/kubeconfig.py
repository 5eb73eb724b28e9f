"""Reads kubeconfigs as kubectl does: the files of $KUBECONFIG are one configuration, of which a context names cluster and user.

Called by `connect`. Of several files the first that has a name has it; paths in a file are relative to it. Entries that are not chosen
are not looked at, whatever they say. Sources: "Organizing Cluster Access Using kubeconfig Files" of Kubernetes' documentation.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import yaml

from penstock.errors import SettingsError

MOST = 16 << 20
"""Bytes of a file; those of users with hundreds of clusters have less than one MiB."""
_ADVICE = "set KUBECONFIG to a kubeconfig, or run in a pod"


class Cluster(msgspec.Struct, rename="kebab", frozen=True, kw_only=True):
    """Where an API server is, and how it is known."""

    server: str = ""
    tls_server_name: str | None = None
    insecure_skip_tls_verify: bool = False
    certificate_authority: str | None = None
    certificate_authority_data: str | None = None
    proxy_url: str | None = None
    disable_compression: bool = False
    extensions: list[dict[str, Any]] | None = None


class Variable(msgspec.Struct, frozen=True):
    name: str
    value: str = ""


class Exec(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """A program that gives credentials."""

    command: str = ""
    args: list[str] | None = None
    env: list[Variable] | None = None
    api_version: str = ""
    install_hint: str | None = None
    provide_cluster_info: bool = False
    interactive_mode: str | None = None


class User(msgspec.Struct, rename="kebab", frozen=True, kw_only=True):
    """Who asks."""

    token: str | None = None
    token_file: str | None = msgspec.field(name="tokenFile", default=None)
    client_certificate: str | None = None
    client_certificate_data: str | None = None
    client_key: str | None = None
    client_key_data: str | None = None
    username: str | None = None
    password: str | None = None
    exec: Exec | None = None
    auth_provider: dict[str, Any] | None = None
    as_: str | None = msgspec.field(name="as", default=None)
    as_uid: str | None = None
    as_groups: list[str] | None = None
    as_user_extra: dict[str, list[str]] | None = None

    def __repr__(self) -> str:
        return "User()"


class _Context(msgspec.Struct, frozen=True, kw_only=True):
    cluster: str = ""
    user: str = ""


@dataclass(frozen=True)
class Chosen:
    """One context's cluster and user, each with the folder of its file. `cluster_named` and `user_named` are for people."""

    cluster: Cluster
    user: User
    cluster_named: str
    user_named: str
    cluster_folder: Path = Path()
    user_folder: Path = Path()


_Entry = TypeVar("_Entry", Cluster, User, _Context)


def files_of(environ: Mapping[str, str]) -> list[Path]:
    """Those of $KUBECONFIG, else the one in the home folder."""
    named = [Path(text) for text in environ.get("KUBECONFIG", "").split(os.pathsep) if text]
    return list(dict.fromkeys(named)) or [Path(environ.get("HOME") or "~", ".kube", "config").expanduser()]


def choose(files: Iterable[Path], context: str) -> Chosen:
    """The cluster and user of a context, empty for the current one. Raises SettingsError: which file, what is wrong, what to do."""
    config = _Config(list(files))
    name = context or config.current
    if not name:
        raise SettingsError(
            f"kubernetes: {config.told} names no current-context; set one (kubectl config use-context NAME) or "
            f"PENSTOCK_KUBERNETES_CONTEXT{config.contexts}"
        )
    found = config.find("contexts", "context", name, _Context)
    if not found:
        raise SettingsError(f"kubernetes: {config.told} has no context {name!r}{config.contexts}")
    chosen, file = found
    if not chosen.cluster:
        raise SettingsError(f"kubernetes: context {name!r} in {file} names no cluster")
    cluster = config.find("clusters", "cluster", chosen.cluster, Cluster)
    if not cluster:
        raise SettingsError(
            f"kubernetes: context {name!r} in {file} is of a cluster {chosen.cluster!r} that is not there"
        )
    user: tuple[User, Path] | None = (User(), file)
    if chosen.user:
        user = config.find("users", "user", chosen.user, User)
    if not user:
        raise SettingsError(f"kubernetes: context {name!r} in {file} is of a user {chosen.user!r} that is not there")
    return Chosen(
        cluster=cluster[0],
        user=user[0],
        cluster_named=f"cluster {chosen.cluster!r} in {cluster[1]}",
        user_named=f"user {chosen.user!r} in {user[1]}"
        if chosen.user
        else f"nobody, as context {name!r} in {file} names no user",
        cluster_folder=cluster[1].absolute().parent,
        user_folder=user[1].absolute().parent,
    )


class _Config:
    """All files as one."""

    def __init__(self, files: list[Path]) -> None:
        read = ((file, _read(file)) for file in files)
        self._documents = {file: document for file, document in read if document is not None}
        if not self._documents:
            raise SettingsError(f"kubernetes: {_either(files)} cannot be used: no such file; {_ADVICE}")

    @property
    def told(self) -> str:
        return _either(self._documents)

    @property
    def current(self) -> str:
        for file, document in self._documents.items():
            name = document.get("current-context")
            if name is not None and not isinstance(name, str):
                raise SettingsError(f"kubernetes: {file} cannot be used: its current-context is no text")
            if name:
                return name
        return ""

    @property
    def contexts(self) -> str:
        """For the end of a message."""
        names = {str(entry["name"]) for _, entry in self._entries("contexts") if "name" in entry}
        return f"; its contexts: {', '.join(sorted(names))}" if names else "; it has no contexts"

    def find(self, among: str, key: str, name: str, kind: type[_Entry]) -> tuple[_Entry, Path] | None:
        """The first entry of that name, and its file."""
        for file, entry in self._entries(among):
            if entry.get("name") != name:
                continue
            try:
                return msgspec.convert(entry.get(key) or {}, kind), file
            except msgspec.ValidationError as error:
                raise SettingsError(f"kubernetes: {file} cannot be used: {key} {name!r}: {error}") from error
        return None

    def _entries(self, among: str) -> Iterable[tuple[Path, dict[str, Any]]]:
        for file, document in self._documents.items():
            entries = document.get(among) or []
            if not isinstance(entries, list):
                raise SettingsError(f"kubernetes: {file} cannot be used: {among} is no list")
            yield from ((file, entry) for entry in entries if isinstance(entry, dict))


def _read(file: Path) -> dict[str, Any] | None:
    """None where there is none, which kubectl passes over."""
    try:
        with file.open("rb") as opened:
            data = opened.read(MOST + 1)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        why = (error.strerror if isinstance(error, OSError) else None) or error
        raise SettingsError(f"kubernetes: {file} cannot be used: {why}; {_ADVICE}") from error
    if len(data) > MOST:
        raise SettingsError(f"kubernetes: {file} cannot be used: it has more than {MOST >> 20} MiB")
    try:
        document = yaml.safe_load(data)
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError) as error:
        words = " ".join(str(error).split()) or type(error).__name__
        raise SettingsError(f"kubernetes: {file} cannot be used: it is no YAML: {words}") from error
    if document is None:
        raise SettingsError(f"kubernetes: {file} cannot be used: it is empty; {_ADVICE}")
    if not isinstance(document, dict):
        raise SettingsError(f"kubernetes: {file} cannot be used: it is no kubeconfig; {_ADVICE}")
    return document


def _either(files: Iterable[Path]) -> str:
    return " or ".join(map(str, files))
