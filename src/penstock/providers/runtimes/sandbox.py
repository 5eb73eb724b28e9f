"""Isolation of a replica by Linux namespaces, entered by the forked replica itself before it starts its event loop.

A mount namespace (inside a user namespace for a plain user) gives it a /tmp of its own, its secrets where functions expect
them, a read-only file system on request, and hides the state directory. Every step is optional and its outcome recorded.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from penstock.errors import ProviderUnavailable

SECRETS_MOUNT = "/var/openfaas/secrets"
"""Where functions look for secrets (contract gateway §9.1)."""

_CLONE_NEWNS = 0x00020000
_CLONE_NEWUSER = 0x10000000
_MS_NOSUID_NODEV = 2 | 4
_MS_BIND = 4096
_MS_REC = 16384
_MS_PRIVATE = 1 << 18
_SYS_MOUNT_SETATTR = 442
_AT_RECURSIVE = 0x8000
_MOUNT_ATTR_RDONLY = 1
_AT_FDCWD = -100

_libc = ctypes.CDLL(None, use_errno=True)


class SandboxError(ProviderUnavailable):
    """What the specification insists on cannot be given; the message says what and why."""


class Plan(NamedTuple):
    """What one replica shall see. Paths are absolute and without symbolic links."""

    directory: Path
    """The replica's own, always visible and writable."""
    hide: tuple[Path, ...]
    keep: tuple[Path, ...]
    read_only: bool
    show: tuple[Path, ...] = ()
    """Directories inside those of `hide`, or in /tmp, that are shown after all, read-only; those that are missing are not."""
    alias: Path | None = None
    """Another path of the directory: that of the parent which has imported the function, and may have kept paths of its own."""

    @property
    def temporary(self) -> Path:
        return self.directory / "tmp"

    @property
    def places(self) -> tuple[Path, ...]:
        return (self.directory, self.alias) if self.alias else (self.directory,)

    @property
    def secrets(self) -> Path:
        return self.directory / "secrets"


def open_base() -> int:
    """A descriptor of a mount namespace with nothing covered, from which this process and its descendants may `enter` sandboxes
    of their own, one after the other, by `return_to`; -1 where that cannot be had. A plain user gets a user namespace for it.
    """
    try:
        if os.getuid() != 0:
            _unshare()
        return os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return -1


def return_to(base: int) -> None:
    """Leave the sandbox for the namespace that `open_base` gave, and close it. Raises OSError."""
    # A plain user is still allowed to: nothing was executed since, so that the user namespace's capabilities are still there.
    _check(_libc.setns(base, _CLONE_NEWNS), "setns")
    os.close(base)


def enter(plan: Plan, nested: bool = False) -> str:
    """Isolate this process and all it will start; returns what was done in words. It must have a single thread.

    `nested`: it is in a namespace that `open_base` has made.

    Without namespaces it goes on unprotected and says why. Raises SandboxError only for a read-only file system that was
    asked for and cannot be given.
    """
    try:
        done = [_unshare(nested)]
    except OSError as error:
        return _go_without(plan, f"no isolation: namespaces are not allowed here ({error.strerror})")
    try:
        _mount(None, "/", None, _MS_REC | _MS_PRIVATE)
        done += _cover(plan)
    except OSError as error:
        return _go_without(plan, f"{done[0]}, incomplete: {error.strerror} ({error.filename})")
    if plan.read_only:
        done.append(_make_read_only(plan))
    return ", ".join(done)


def program_paths(words: Iterable[str]) -> list[str]:
    """Absolute paths among `words` that exist under /tmp, which a private /tmp would hide; a file stands for its directory.

    Nobody installs programs in /tmp, but everybody tries things out there.
    """
    found = []
    for word in words:
        if not word.startswith("/tmp/"):
            continue
        path = Path(os.path.realpath(word))
        if not path.is_dir() and path.parent != Path("/tmp"):
            path = path.parent
        if path.exists():
            found.append(str(path))
    return found


def _unshare(nested: bool = False) -> str:
    if nested or os.getuid() == 0:
        _check(_libc.unshare(_CLONE_NEWNS), "unshare")
        return "mount namespace"
    uid, gid = os.getuid(), os.getgid()
    _check(_libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNS), "unshare")
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
    Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")
    return "user and mount namespace"


def _cover(plan: Plan) -> list[str]:
    """Put the private /tmp, the empty state directories and the secrets in place, then what must shine through."""
    # Held open because their paths are about to be covered; opened here because a mount of another namespace cannot be bound.
    own = [Path(sys.prefix), Path(sys.base_prefix), Path(__file__).parents[3]]
    keep = {path: _hold(path) for path in {*plan.keep, *own} if path.exists()}
    shown = {path: _hold(path) for path in plan.show if path.is_dir()}
    replica, secrets = _hold(plan.directory), _hold(plan.secrets)
    try:
        _mount(str(plan.temporary), "/tmp", None, _MS_BIND | _MS_REC)
        for path, fd in keep.items():
            if _inside(path, Path("/tmp")):
                _show(fd, path)
        for hidden in _outermost(plan.hide):
            if not hidden.is_dir():
                continue
            _mount("none", str(hidden), "tmpfs", _MS_NOSUID_NODEV, "size=64k,mode=755")
            for path in own:
                if _inside(path, hidden):
                    _show(keep[path], path)
            for path in plan.places:
                if _inside(path, hidden):
                    _show(replica, path)
            for path in shown:
                if _inside(path, hidden):
                    _show_read_only(shown[path], path)
            _set_read_only(hidden, recursive=False)
        for path, fd in shown.items():
            if not _shows(fd, path):
                _show_read_only(fd, path)
        for path in plan.places:
            if not _shows(replica, path):
                _show(replica, path)
        return ["private /tmp", "state directory hidden", *_show_secrets(secrets)]
    finally:
        for fd in (*keep.values(), *shown.values(), replica, secrets):
            os.close(fd)


def _show_secrets(fd: int) -> list[str]:
    """Secrets at their well-known place where there is one or root can make it; they have another place in any case."""
    target = Path(SECRETS_MOUNT)
    try:
        target.mkdir(parents=True, exist_ok=True)
        _mount(f"/proc/self/fd/{fd}", SECRETS_MOUNT, None, _MS_BIND | _MS_REC)
        _set_read_only(target, recursive=True)
    except OSError:
        return []
    return [f"secrets at {SECRETS_MOUNT}"]


def _make_read_only(plan: Plan) -> str:
    try:
        # The replica's directory becomes a mount of its own, so that it can stay writable.
        for path in plan.places:
            _mount(str(path), str(path), None, _MS_BIND | _MS_REC)
        _set_read_only(Path("/"), recursive=True)
        for path in plan.places:
            _set_attributes(path, 0, _MOUNT_ATTR_RDONLY, recursive=True)
        _set_attributes(Path("/tmp"), 0, _MOUNT_ATTR_RDONLY, recursive=False)
    except OSError as error:
        raise SandboxError(
            f"a read-only root file system was asked for and cannot be given: {error.strerror}"
        ) from error
    return "read-only file system"


def _go_without(plan: Plan, why: str) -> str:
    if plan.read_only:
        raise SandboxError(f"a read-only root file system was asked for and cannot be given: {why}")
    return why


def _outermost(paths: Iterable[Path]) -> list[Path]:
    """`paths` without those that lie inside another of them."""
    kept: list[Path] = []
    for path in sorted(paths, key=lambda path: len(path.parts)):
        if not any(_inside(path, outer) for outer in kept):
            kept.append(path)
    return kept


def _inside(path: Path, folder: Path) -> bool:
    return path == folder or folder in path.parents


def _hold(path: Path) -> int:
    return os.open(path, os.O_PATH | os.O_CLOEXEC)


def _shows(fd: int, path: Path) -> bool:
    """Whether what `fd` holds is at the path already."""
    return path.exists() and os.path.samestat(path.stat(), os.fstat(fd))


def _show(fd: int, path: Path) -> None:
    """Bind what `fd` holds to its own path again, which a cover has taken away."""
    if os.path.isdir(f"/proc/self/fd/{fd}"):
        path.mkdir(parents=True, exist_ok=True)
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    _mount(f"/proc/self/fd/{fd}", str(path), None, _MS_BIND | _MS_REC)


def _show_read_only(fd: int, path: Path) -> None:
    _show(fd, path)
    _set_read_only(path, recursive=True)


def _mount(source: str | None, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    encoded = [None if text is None else os.fsencode(text) for text in (source, target, kind)]
    options = None if data is None else data.encode()
    _check(_libc.mount(encoded[0], encoded[1], encoded[2], ctypes.c_ulong(flags), options), target)


class _MountAttributes(ctypes.Structure):
    """struct mount_attr of mount_setattr(2)."""

    _fields_ = (
        ("set", ctypes.c_uint64),
        ("clear", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("user_namespace", ctypes.c_uint64),
    )


def _set_read_only(path: Path, recursive: bool) -> None:
    _set_attributes(path, _MOUNT_ATTR_RDONLY, 0, recursive)


def _set_attributes(path: Path, add: int, clear: int, recursive: bool) -> None:
    """mount_setattr(2), Linux 5.12: a whole tree in one call, and the only way that a plain user may."""
    attributes = _MountAttributes(set=add, clear=clear)
    result = _libc.syscall(
        _SYS_MOUNT_SETATTR,
        _AT_FDCWD,
        os.fsencode(path),
        ctypes.c_uint(_AT_RECURSIVE if recursive else 0),
        ctypes.byref(attributes),
        ctypes.c_size_t(ctypes.sizeof(attributes)),
    )
    _check(result, str(path))


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)
