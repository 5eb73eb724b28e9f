"""Brings the templates of a git repository to `./template` (contract watchdog-cli §5.3).

Called by the verbs `template pull`, `template store pull` and `new`, and by `ensure`. What a repository holds is judged from git's list
of it before a file is written; templates then take their places one by one, each whole.
"""

from __future__ import annotations

import datetime
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import msgspec

from penstock.core.shown import shown
from penstock.endsignals import unwinding
from penstock.errors import AlreadyExists, InvalidInput, NotFound
from penstock.templates.catalogue import FOLDER
from penstock.templates.git import Git, GitFailed
from penstock.templates.model import Template
from penstock.templates.read import FILE, check_template_name, read_template
from penstock.templates.source import Source

NOTES = "meta.json"
"""In each template that was pulled: where it is from."""
MOST_LISTED = 4 << 20
"""Bytes of git's list of what a repository's templates hold, some ten thousand files. A few objects can name billions of them."""
MOST_CONTENT = 256 << 20
"""Bytes of all files of a repository's templates; a few kilobytes of a pack may be gigabytes of a file."""

_FILES = (b"100644", b"100755", b"100664")
_KINDS = {b"120000": "a link", b"160000": "a submodule"}
"""What git calls entries that are no files (git-fast-import, "filemodify")."""


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What of a repository is wanted, and what it is to be called."""

    template: str = ""
    """Its only template that is taken; empty: all of them."""
    name: str = ""
    """What that one will be called; empty: as in the repository, with `@ref` when a ref is pinned."""
    overwrite: bool = True
    """Whether templates that are there already are replaced."""


class _Notes(msgspec.Struct, frozen=True, omit_defaults=True):
    """`meta.json`."""

    repository: str
    sha: str
    written_at: str
    ref_name: str = ""


def pull(source: Source, directory: Path, environ: Mapping[str, str], wanted: Wanted | None = None) -> tuple[str, ...]:
    """Write templates of a repository to `directory/template`; the names that they have there.

    Raises GitFailed with git's own words; InvalidInput for what may not be in a template; NotFound for a template that the
    repository does not have; AlreadyExists when some may not be replaced; NotSupported without git; OSError. Nothing is left
    half-written, also when it is interrupted.
    """
    wanted = wanted or Wanted()
    with unwinding(), tempfile.TemporaryDirectory(prefix="penstock-templates-") as temporary:
        clone = Path(temporary, "repository")
        sha = _clone(source, clone, Git(environ))
        templates = _chosen(clone, source, wanted)
        names = {template.name: _name(template.name, source, wanted) for template in templates}
        _check_present(names.values(), directory, wanted)
        notes = _Notes(
            repository=source.shown,
            sha=sha,
            written_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
            ref_name=source.ref,
        )
        for template in templates:
            (template.folder / NOTES).write_bytes(msgspec.json.format(msgspec.json.encode(notes), indent=2) + b"\n")
        with _folder(directory) as folder:
            for template in templates:
                _put(template.folder, folder, names[template.name])
    return tuple(sorted(names.values()))


def _clone(source: Source, clone: Path, git: Git) -> str:
    """Copy the repository and check its templates out, if there is nothing in them that may not be; the commit's digits."""
    depth = [] if source.commit else ["--depth=1"]
    branch = ["--branch", source.ref] if source.ref and not source.commit else []
    plain = ["--config", "core.autocrlf=false", "--config", "core.symlinks=false", "--template="]
    try:
        git.run(["clone", "--no-checkout", "--quiet", *depth, *branch, *plain, "--", source.url, str(clone)])
        sha = _commit(source, clone, git)
        listing = git.run(["ls-tree", "-r", "-l", "-z", "--full-tree", sha, "--", FOLDER], clone, MOST_LISTED)
        _check_entries(listing, source)
        if listing:
            git.run(["checkout", "--quiet", sha, "--", FOLDER], clone)
    except GitFailed as error:
        at = f" at {source.ref}" if source.ref else ""
        words = str(error).replace(source.url, source.shown)
        raise GitFailed(f"{source.shown}{at}: git cannot get it:\n{words}") from error
    return sha


def _commit(source: Source, clone: Path, git: Git) -> str:
    try:
        commit = f"{source.commit or 'HEAD'}^{{commit}}"
        return git.run(["rev-parse", "--verify", "--end-of-options", commit], clone).decode().strip()
    except GitFailed as error:
        raise NotFound(
            f"{source.shown}: has no commit {source.commit}" if source.commit else f"{source.shown}: is empty"
        ) from error


def _check_entries(listing: bytes, source: Source) -> None:
    """Refuse what is no file, and names that lead elsewhere; git itself does only a part of it."""
    total = 0
    for entry in listing.split(b"\0")[:-1]:
        head, _, path = entry.partition(b"\t")
        mode, *_, size = head.split()
        total += int(size) if size.isdigit() else 0
        if total > MOST_CONTENT:
            raise InvalidInput(
                f"{source.shown}: its templates have more than {MOST_CONTENT >> 20} MiB; they are not taken"
            )
        name = path.decode(errors="surrogateescape")
        if mode not in _FILES:
            raise InvalidInput(
                f"{source.shown}: {name!r} is {_KINDS.get(mode, 'no file')}, which a template may not have"
            )
        parts = [part.lower() for part in path.split(b"/")]
        if {b"..", b".", b"", b".git"} & set(parts):
            raise InvalidInput(f"{source.shown}: {name!r} leads out of its template, or into git's own folder")


def _chosen(clone: Path, source: Source, wanted: Wanted) -> list[Template]:
    """The templates that will be taken. Raises NotFound, InvalidInput."""
    try:
        templates = [_read(folder) for folder in sorted((clone / FOLDER).glob("*")) if (folder / FILE).is_file()]
    except InvalidInput as error:
        raise InvalidInput(f"{source.shown}: {str(error).replace(f'{clone}/', '')}") from error
    if not templates:
        raise NotFound(f"{source.shown}: has no templates: no folder {FOLDER}/<name> with a {FILE}")
    if not wanted.template:
        return templates
    found = [template for template in templates if template.name == wanted.template]
    if not found:
        there = ", ".join(template.name for template in templates)
        raise NotFound(f"{source.shown}: has no template {wanted.template!r}; it has {there}")
    return found


def _read(folder: Path) -> Template:
    if "@" in folder.name:
        raise InvalidInput(f"{shown(str(folder))}: a template's name may not have an '@', which a pinned ref follows")
    return read_template(folder, check_template_name(folder.name))


def _name(template: str, source: Source, wanted: Wanted) -> str:
    return check_template_name(wanted.name or (f"{template}@{source.ref}" if source.ref else template))


def _check_present(names: Iterable[str], directory: Path, wanted: Wanted) -> None:
    if wanted.overwrite:
        return
    present = sorted(name for name in names if (directory / FOLDER / name).exists())
    if present:
        raise AlreadyExists(
            f"these templates are in {directory / FOLDER} already and would be replaced: {', '.join(present)}"
            " (pull without --overwrite=false, or remove them)"
        )


@contextmanager
def _folder(directory: Path) -> Iterator[Path]:
    """`directory/template`, which is removed again if nothing has come into it."""
    folder = directory / FOLDER
    if folder.is_symlink() and not folder.exists():
        raise InvalidInput(f"{folder}: is a link to nowhere")
    fresh = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield folder
    finally:
        if fresh and not any(folder.iterdir()):
            folder.rmdir()


def _put(template: Path, folder: Path, name: str) -> None:
    """Copy a template beside its place, then let it take it; whoever looks finds the old one or the new one, whole."""
    place = folder / name
    if place.is_symlink():
        raise InvalidInput(f"{place}: is a link, which a template will not replace")
    with tempfile.TemporaryDirectory(prefix=".pulling-", dir=folder) as beside:
        fresh, old = Path(beside, "new"), Path(beside, "old")
        shutil.copytree(template, fresh)
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            if place.exists():
                place.rename(old)
            fresh.rename(place)
        except BaseException:
            if old.exists() and not place.exists():
                old.rename(place)
            raise
