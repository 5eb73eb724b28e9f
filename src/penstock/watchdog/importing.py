"""The function as a Python object: imported into this process, or the reason why it could not be.

The modes `python`, `asgi` and `wsgi` are given what is loaded here, usually before the watchdog forks the processes that
serve it. Whatever the function's code does while it is imported becomes a sentence and a traceback, never an exception.
"""

from __future__ import annotations

import importlib
import importlib.util
import io
import os
import site
import sys
import threading
import traceback
import types
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from penstock.watchdog.settings import WatchdogSettings

_PACKAGE = "function"
"""Name under which the folder of a `handler.py` is imported, as in the templates of contract watchdog §5.4."""
_ATTRIBUTES = {"python": ("handle",), "asgi": ("app", "application"), "wsgi": ("app", "application")}
_FILES = {
    "python": ("handler",),
    "asgi": ("handler", "app", "main", "asgi"),
    "wsgi": ("handler", "app", "main", "wsgi"),
}
"""Modules looked for in a folder, in this order."""
_LIBRARIES = ("site-packages", "dist-packages")


@dataclass(frozen=True, slots=True)
class Application:
    """What `handler` names. With a `failure` there is no `target`, and the watchdog is never ready."""

    target: Any = None
    """The imported object: a function, a class, an ASGI or a WSGI application."""
    failure: str = ""
    """Why the import failed: one sentence, then the traceback in the lines after it."""
    threads: tuple[str, ...] = ()
    """Names of threads that the import started. They do not survive a fork, so that a process with any must not be forked
    into workers that expect them."""
    imported: frozenset[str] = frozenset()
    """Names of the modules that the import added."""


class _Fault(Exception):
    """What is wrong with the handler, as one sentence."""


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the handler is: a module, the attributes to look for, and a file when it is not found by its name."""

    module: str
    attributes: tuple[str, ...]
    shown: str
    file: str = ""
    package: str = ""
    """Folder to be imported as the package `function`."""


def load_application(settings: WatchdogSettings) -> Application:
    """Import what `settings.handler` names: `module`, `module:attribute`, the path of a `.py` file, or of a folder.

    Without a handler (mode python) it is `function/handler.py` or else `handler.py` in the working directory. The
    directories of `python_path`, then the working directory, are searched before all others. Never raises.
    """
    threads, modules = set(threading.enumerate()), set(sys.modules)
    target: Any = None
    failure = ""
    try:
        _keep_lines_together()
        place = _find(settings.handler, settings.mode)
        _extend_path(settings.python_path)
        target = _attribute(place, _import(place), settings.mode)
    except _Fault as fault:
        failure = _describe(str(fault), fault.__cause__)
    except BaseException as error:
        failure = _describe(f"the handler cannot be looked up: {_summary(error)}", error)
    added = frozenset(sys.modules) - modules
    if failure:
        target = None
        forget(name for name in added if is_own(sys.modules.get(name)))
    started = tuple(thread.name for thread in threading.enumerate() if thread not in threads)
    return Application(target, failure, started, added)


def reload_application(settings: WatchdogSettings, application: Application) -> Application:
    """Import once more, in a process forked from one in which the first import started threads.

    Modules of pure Python are executed anew, so that they start their threads here as well. Packages with compiled parts
    stay as they are: many of them cannot be loaded twice.
    """
    compiled = {name.partition(".")[0] for name in application.imported if _is_compiled(sys.modules.get(name))}
    forget(name for name in application.imported if name.partition(".")[0] not in compiled)
    return load_application(settings)


def forget(names: Iterable[str]) -> None:
    """Remove modules, so that the next import executes them."""
    for name in list(names):
        sys.modules.pop(name, None)


def own_files() -> list[str]:
    """Source files of the function's own modules: all that were imported from outside the installed libraries."""
    files = []
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None)
        if isinstance(file, str) and file.endswith(".py") and is_own(module):
            files.append(os.path.abspath(file))
    return files


def watched_files(application: Application) -> list[str]:
    """Files whose change calls for another import: the function's own modules or, after a failure, all that it may lie in."""
    files = set(own_files())
    for folder in [entry for entry in sys.path if application.failure and entry and not _is_library(entry)]:
        files |= {os.path.join(folder, name) for name in _listing(folder) if name.endswith(".py")}
    return sorted(files)


def is_own(module: types.ModuleType | None) -> bool:
    """Whether a module is the function's: neither Python's, nor an installed library, nor ours."""
    file = getattr(module, "__file__", None)
    if not isinstance(file, str):
        return getattr(module, "__name__", "").partition(".")[0] == _PACKAGE
    return not _is_library(os.path.abspath(file))


def _is_library(path: str) -> bool:
    path += os.sep
    return any(f"/{name}/" in path for name in _LIBRARIES) or path.startswith((_OURS, _PYTHON))


_OURS = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_OUR_CODE = os.path.dirname(os.path.dirname(_is_library.__code__.co_filename)) + os.sep
"""The same as tracebacks show it. Bytecode without sources, as in a bundle, shows where its sources were said to be."""
_PYTHON = os.path.dirname(os.__file__) + os.sep


# Finding


def _find(handler: str, mode: str) -> _Place:
    """The place that `handler` names. Raises _Fault."""
    name, attribute = _split(handler)
    attributes = (attribute,) if attribute else _ATTRIBUTES[mode]
    if not name:
        return _default(attributes)
    if os.path.isdir(name) and ("/" in name or not _is_importable(name, mode)):
        return _in_folder(name, attributes, mode)
    if name.endswith(".py") or "/" in name:
        return _in_file(name, attributes)
    _front(os.getcwd())
    return _Place(name, attributes, f"module {name!r}")


def _split(handler: str) -> tuple[str, str]:
    name, colon, attribute = handler.rpartition(":")
    if not colon or "/" in attribute:
        return handler, ""
    if not all(part.isidentifier() for part in attribute.split(".")):
        raise _Fault(f"handler {handler!r}: {attribute!r} is not the name of an attribute")
    return name, attribute


def _default(attributes: tuple[str, ...]) -> _Place:
    here = os.getcwd()
    if os.path.isfile(os.path.join(here, _PACKAGE, "handler.py")):
        _front(here)
        return _Place(f"{_PACKAGE}.handler", attributes, f"{here}/{_PACKAGE}/handler.py")
    if os.path.isfile(os.path.join(here, "handler.py")):
        return _in_file(os.path.join(here, "handler.py"), attributes)
    raise _Fault(
        f"there is no handler: neither {_PACKAGE}/handler.py nor handler.py is in {here}; set the variable handler"
    )


def _is_importable(name: str, mode: str) -> bool:
    """Whether a folder in the working directory is meant as the package of that name."""
    return os.path.isfile(os.path.join(name, "__init__.py")) and not any(
        os.path.isfile(os.path.join(name, f"{file}.py")) for file in _FILES[mode]
    )


def _in_folder(name: str, attributes: tuple[str, ...], mode: str) -> _Place:
    folder = os.path.abspath(name)
    if os.path.isfile(os.path.join(folder, _PACKAGE, "handler.py")):
        _front(folder)
        return _Place(f"{_PACKAGE}.handler", attributes, f"{folder}/{_PACKAGE}/handler.py")
    for file in _FILES[mode]:
        if os.path.isfile(os.path.join(folder, f"{file}.py")):
            return _in_file(os.path.join(folder, f"{file}.py"), attributes)
    if os.path.isfile(os.path.join(folder, "__init__.py")):
        _front(os.path.dirname(folder))
        return _Place(os.path.basename(folder), attributes, folder)
    wanted = " or ".join(f"{file}.py" for file in _FILES[mode])
    raise _Fault(f"handler {name!r}: the folder {folder} has no {wanted}")


def _in_file(name: str, attributes: tuple[str, ...]) -> _Place:
    path = os.path.abspath(name)
    if not os.path.exists(path):
        raise _Fault(f"handler {name!r}: there is no file {path}")
    if not path.endswith(".py"):
        raise _Fault(f"handler {name!r}: {path} is neither a .py file nor a folder")
    folder, stem = os.path.dirname(path), os.path.basename(path)[:-3]
    _front(folder)
    if stem == "handler":
        return _Place(f"{_PACKAGE}.handler", attributes, path, package=folder)
    if not stem.isidentifier() or stem in sys.modules:
        stem = "function_" + "".join(character if character.isalnum() else "_" for character in stem)
    return _Place(stem, attributes, path, path)


def _alias_package(folder: str) -> None:
    """Make the folder importable as `function`, as it is in the templates, whatever its own name is."""
    init = os.path.join(folder, "__init__.py")
    package = types.ModuleType(_PACKAGE)
    package.__path__ = [folder]
    sys.modules[_PACKAGE] = package
    if os.path.isfile(init):
        spec = importlib.util.spec_from_file_location(_PACKAGE, init, submodule_search_locations=[folder])
        if spec is not None and spec.loader is not None:
            package.__spec__, package.__file__ = spec, init
            try:
                spec.loader.exec_module(package)
            except BaseException as error:
                raise _Fault(f"importing {init} failed: {_summary(error)}") from error


def _extend_path(directories: Iterable[str]) -> None:
    """Put the directories in front of sys.path, each followed by what the .pth files of a library directory add."""
    front: list[str] = []
    for directory in directories:
        path = os.path.abspath(directory)
        front.append(path)
        if os.path.basename(path) in _LIBRARIES or any(name.endswith(".pth") for name in _listing(path)):
            before = list(sys.path)
            site.addsitedir(path)
            front += [entry for entry in sys.path if entry not in before and entry != path]
    for path in reversed(front):
        _front(path)


def _listing(path: str) -> list[str]:
    try:
        return os.listdir(path)
    except OSError:
        return []


def _front(path: str) -> None:
    if path in sys.path:
        sys.path.remove(path)
    sys.path.insert(0, path)
    importlib.invalidate_caches()


# Importing


def _import(place: _Place) -> types.ModuleType:
    """Execute the module. Raises _Fault with the cause."""
    if place.module.startswith(f"{_PACKAGE}."):
        forget(name for name in list(sys.modules) if name == _PACKAGE or name.startswith(f"{_PACKAGE}."))
    if place.package:
        _alias_package(place.package)
    try:
        if not place.file:
            return importlib.import_module(place.module)
        spec = importlib.util.spec_from_file_location(place.module, place.file)
        if spec is None or spec.loader is None:
            raise _Fault(f"{place.file} cannot be imported")
        module = importlib.util.module_from_spec(spec)
        sys.modules[place.module] = module
        spec.loader.exec_module(module)
        return sys.modules.get(place.module, module)
    except ModuleNotFoundError as error:
        # The module itself or a package on the way to it, as opposed to something that it imports.
        if error.name and (place.module + ".").startswith(error.name + ".") and not list(_own_frames(error)):
            where = ", ".join(entry or "." for entry in sys.path[:3])
            raise _Fault(f"there is no module {error.name!r} (looked in {where}, and where libraries are)") from None
        raise _Fault(f"importing {place.shown} failed: {_summary(error)}") from error
    except (SystemExit, BaseException) as error:
        raise _Fault(f"importing {place.shown} failed: {_summary(error)}") from error


def _attribute(place: _Place, module: types.ModuleType, mode: str) -> Any:
    """What the module offers under the first of the names that it has. Raises _Fault."""
    for name in place.attributes:
        found: Any = module
        for part in name.split("."):
            found = getattr(found, part, _MISSING)
        if found is _MISSING:
            continue
        if mode == "python" and isinstance(found, type):
            found = _instance(place, found)
        if not callable(found):
            raise _Fault(f"{place.shown}: {name} is not callable, it is {_article(type(found).__name__)}")
        return found
    raise _Fault(f"{place.shown} has no {' or '.join(place.attributes)}")


_MISSING: Any = types.SimpleNamespace()


def _instance(place: _Place, kind: type) -> Any:
    """A class stands for one object of it, made now."""
    try:
        found = kind()
    except BaseException as error:
        raise _Fault(f"{place.shown}: making a {kind.__name__} failed: {_summary(error)}") from error
    return found if callable(found) else getattr(found, "handle", found)


# Telling


def _describe(sentence: str, error: BaseException | None) -> str:
    """The sentence and, of an exception, the traceback from the function's own frames on."""
    if error is None:
        return sentence
    try:
        lines = [f"  {line}" for part in describe_error(error) for line in part.rstrip("\n").split("\n")]
    except BaseException:  # the exception's own text failed, or there is no memory for it
        lines = ["  (no traceback can be given)"]
    return "\n".join((sentence, *lines))


def describe_error(error: BaseException) -> list[str]:
    """The traceback without frames of the import system and of ours, as `traceback.format_exception` gives it."""
    shown = traceback.TracebackException.from_exception(error, compact=True)
    _trim(shown, 0)
    return list(shown.format())


def _trim(shown: traceback.TracebackException, depth: int) -> None:
    frames = [frame for frame in shown.stack if not is_machinery(frame.filename)]
    shown.stack[:] = frames[-50:]
    if shown.__context__ is not None and shown.__context__.exc_type is _Fault:
        shown.__context__ = None
    for other in (shown.__cause__, shown.__context__):
        if other is not None and depth < 10:
            _trim(other, depth + 1)


def _own_frames(error: BaseException) -> Iterator[str]:
    return (frame.filename for frame in traceback.extract_tb(error.__traceback__) if not is_machinery(frame.filename))


def is_machinery(filename: str) -> bool:
    """Whether a frame of this file is the import system's or ours."""
    return filename.startswith(("<frozen importlib", _OUR_CODE)) or f"{os.sep}importlib{os.sep}__init__.py" in filename


def _summary(error: BaseException) -> str:
    """`ValueError: what it says`, on one line."""
    if isinstance(error, SystemExit):
        return f"it called sys.exit({error.code!r})"
    try:
        text = " ".join(str(error).split())
    except BaseException:
        text = ""
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _article(name: str) -> str:
    return f"an {name}" if name[:1].lower() in "aeiou" else f"a {name}"


def _is_compiled(module: types.ModuleType | None) -> bool:
    file = getattr(module, "__file__", None)
    return not isinstance(file, str) or not file.endswith((".py", ".pyc"))


def _keep_lines_together() -> None:
    """Write lines out as they end, and accept every character; a missing stream becomes one that discards."""
    for name, fd in (("stdout", 1), ("stderr", 2)):
        stream = getattr(sys, name)
        try:
            if stream is None or stream.closed:
                setattr(sys, name, open_stream(fd))
            elif isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)
        except (OSError, ValueError):  # it was made for another kind of file than the descriptor is now
            setattr(sys, name, open_stream(fd))


def open_stream(fd: int) -> io.TextIOWrapper:
    """A text stream that writes each line to a descriptor, which stays open when the stream is closed."""
    raw = io.FileIO(fd, "w", closefd=False)
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding="utf-8", errors="backslashreplace", line_buffering=True)
