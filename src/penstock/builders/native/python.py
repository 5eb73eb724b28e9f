"""Python: the handler's packages in a virtual environment that all builds with the same requirements share; a look at the syntax.

Packages come by uv where it is installed, else by pip. A function without requirements needs no environment.
"""

from __future__ import annotations

import importlib.util
import py_compile
import re
import shutil
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

from penstock.builders.native.work import Places, Work, key_of
from penstock.errors import BuildFailed, InvalidInput, NotSupported

_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\s*(\[[^\]]*\])?\s*([~<>=!(;].*)?")
"""A requirement that depends on nothing but its own text (PEP 508 without URLs, which may be local files)."""


def identity(environ: Mapping[str, str]) -> str:
    """The interpreter that functions run in is the one that Penstock runs in."""
    return f"{_base()} {sys.version}"


def make(work: Work) -> Places:
    """Check the handler's syntax and see to its packages."""
    for file in _sources(work.function):
        _compile(file, f"{work.shown}/{file.relative_to(work.function)}")
    requirements = _requirements(work)
    if not requirements:
        return Places(python=_base())
    alone = all(_PLAIN.fullmatch(line) for line in requirements)
    key = key_of("\n".join(requirements), identity(work.environ), "" if alone else work.digest)
    venv = work.share("venvs", key, lambda folder: _install(work, folder, requirements), ("bin/python",))
    return Places(python=str(venv / "bin/python"), site=str(_site(venv)), uses=(str(venv),))


def _base() -> str:
    """The interpreter itself, not that of the environment that Penstock is installed in."""
    return str(getattr(sys, "_base_executable", "") or sys.executable)


def _site(venv: Path) -> Path:
    return venv / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"


def _sources(folder: Path) -> Iterator[Path]:
    """Modules of the handler: the files in its folder, and in the packages there."""
    for path in sorted(folder.iterdir()):
        if path.is_symlink():
            continue
        if path.suffix == ".py" and path.is_file():
            yield path
        elif path.is_dir() and (path / "__init__.py").is_file():
            yield from _sources(path)


def _compile(file: Path, shown: str) -> None:
    try:
        py_compile.compile(str(file), dfile=shown, doraise=True)
    except py_compile.PyCompileError as error:
        raise BuildFailed(f"{shown} cannot be compiled", error.msg) from error


def _requirements(work: Work) -> list[str]:
    """Lines of requirements.txt, or the dependencies of pyproject.toml, without comments."""
    file, project = work.function / "requirements.txt", work.function / "pyproject.toml"
    try:
        if file.is_file():
            lines = [re.sub(r"(^|\s)#.*", "", line).strip() for line in file.read_text().splitlines()]
            return [line for line in lines if line]
        return _dependencies(tomllib.loads(project.read_text()), work.shown) if project.is_file() else []
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        name = file.name if file.is_file() else project.name
        raise InvalidInput(f"{work.shown}/{name} cannot be read: {error}") from error


def _dependencies(document: dict[str, object], shown: str) -> list[str]:
    project = document.get("project", {})
    if not isinstance(project, dict):
        raise InvalidInput(f"{shown}/pyproject.toml: project: must be a table")
    if "dependencies" in project.get("dynamic", ()):
        raise InvalidInput(f"{shown}/pyproject.toml: dependencies are dynamic; write them to requirements.txt")
    found = project.get("dependencies", [])
    if not isinstance(found, list) or not all(isinstance(item, str) for item in found):
        raise InvalidInput(f"{shown}/pyproject.toml: project.dependencies: must be a list of texts")
    return found


def _install(work: Work, venv: Path, requirements: list[str]) -> None:
    work.progress("making a virtual environment")
    work.run([_base(), "-m", "venv", "--without-pip", str(venv)])
    listed = venv / "requirements.txt"
    listed.write_text("".join(f"{line}\n" for line in requirements))
    work.progress(f"installing {len(requirements)} package{'s' * (len(requirements) > 1)}")
    uv = shutil.which("uv", path=work.environ.get("PATH"))
    python = str(venv / "bin/python")
    if uv:
        command = [uv, "pip", "install", "--python", python, "-r", str(listed)]
    else:
        quiet = ("--quiet", "--disable-pip-version-check", "--no-input")
        command = [*_pip(work), "--python", python, "install", *quiet, "-r", str(listed)]
    try:
        work.run(command)
    except BuildFailed as error:
        raise BuildFailed(f"{work.shown}: packages cannot be installed: {error}", error.words) from error


def _pip(work: Work) -> list[str]:
    """The command that is pip: of our own environment, of the interpreter, or any."""
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip"]
    try:
        work.programs.run([_base(), "-m", "pip", "--version"], environ=work.environ)
    except BuildFailed:
        found = shutil.which("pip3", path=work.environ.get("PATH"))
        if found:
            return [found]
        raise NotSupported(
            "neither uv nor pip is installed, which packages need: apt-get install python3-pip"
        ) from None
    return [_base(), "-m", "pip"]
