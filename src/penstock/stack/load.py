"""A stack file becomes a `Stack`: found, read, its variables replaced, its YAML judged (contract watchdog-cli §3).

Called by the verbs through `penstock.cli.stackoptions` and by `penstock.examples`. All faults of a file are reported together,
each with its line; keys that nobody knows are warnings, because others ignore them.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping as Variables
from pathlib import Path

from penstock.core.names import check_env_name, check_function_name, check_namespace, check_secret_name
from penstock.core.pipelines import split_pipeline
from penstock.core.pipelinetarget import read_stage
from penstock.errors import InvalidInput, NotFound
from penstock.model import Resources
from penstock.stack.defaults import DEFAULT_FILES, default_file
from penstock.stack.document import Mapping, Scalar, Sequence, decode, is_null, parse
from penstock.stack.envsubst import expand
from penstock.stack.fetch import STDIN, STDIN_NAME, download, is_url, read
from penstock.stack.fields import Fields
from penstock.stack.model import Position, Stack, StackFunction, StackPipeline, TemplateSource

_TOP = ("version", "provider", "functions", "pipelines", "configuration")
_PROVIDER = ("name", "gateway")
_CONFIGURATION = ("templates", "copy")
_FUNCTION = (
    "lang", "handler", "image", "fprocess", "environment", "environment_file", "secrets", "labels", "annotations",
    "constraints", "limits", "requests", "readonly_root_filesystem", "skip_build", "build_options", "build_args",
    "build_secrets", "namespace", "platforms",
)  # fmt: skip
_PIPELINE = ("stages", "namespace", "labels", "annotations")
_RESOURCES = ("memory", "cpu")


def load_stack(
    source: str | None, environ: Variables[str, str], *, substitute: bool = True, directory: Path | None = None
) -> Stack:
    """Read the stack file `source`: a path, an http(s) URL, `-` for stdin, or None for the default file in `directory`.

    Relative paths, also those of `environment_file` and `build_secrets`, begin at `directory` (default: the current one).
    Raises NotFound when there is no file, TooLarge, InvalidInput for what is wrong in it, PenstockError when it cannot be read.
    """
    directory = directory or Path.cwd()
    if source is None:
        source = default_file(directory)
        if source is None:
            raise NotFound(f"there is no {' or '.join(DEFAULT_FILES)} here; name a stack file with --yaml FILE")
    file = STDIN_NAME if source == STDIN else source
    data = download(source) if is_url(source) else read(source if source == STDIN else directory / source, file)
    return read_stack(decode(data, file), file, environ if substitute else None, directory)


def read_stack(text: str, file: str, environ: Variables[str, str] | None, directory: Path) -> Stack:
    """The text of a stack file as a `Stack`; `file` is its name in messages. Without `environ` nothing is substituted.

    Raises InvalidInput and what reading an `environment_file` raises.
    """
    if environ is None:
        document = parse(text, file)
    else:
        expanded = expand(text, environ, file)
        document = parse(expanded.text, file, expanded.written)
    fields = Fields(file)
    if document.more:
        fields.warn(document.more, "a second document begins here, it is ignored; a stack file is one")
    if is_null(document.root):
        raise InvalidInput(f"{file}: is empty; a stack file has at least `functions:` with a function in it")
    stack = _Reader(fields, directory).stack(fields.mapping(document.root, "a stack file"))
    fields.check()
    return stack


class _Reader:
    def __init__(self, fields: Fields, directory: Path) -> None:
        self.fields = fields
        self.directory = directory

    def stack(self, root: Mapping) -> Stack:
        fields = self.fields
        fields.known(root, _TOP, "a stack file")
        version = fields.text(root, "version", "version")
        if version not in ("", "1.0"):
            fields.fault(root.entries["version"].line, f"version must be 1.0 or absent, not {version!r}")
        provider = fields.mapping(root.get("provider"), "provider")
        fields.known(provider, _PROVIDER, "provider")
        name = fields.text(provider, "name", "provider.name")
        if name not in ("", "openfaas"):
            fields.fault(provider.entries["name"].line, f"provider.name must be openfaas, not {name!r}")
        configuration = fields.mapping(root.get("configuration"), "configuration")
        fields.known(configuration, _CONFIGURATION, "configuration")
        functions = fields.mapping(root.get("functions"), "functions")
        pipelines = fields.mapping(root.get("pipelines"), "pipelines")
        for name in functions.entries.keys() & pipelines.entries.keys():
            first = functions.entries[name].line
            fields.fault(
                pipelines.entries[name].line,
                f"{name[:80]!r} is the function on line {first} already; name one otherwise",
            )
        return Stack(
            file=fields.file,
            gateway=fields.text(provider, "gateway", "provider.gateway"),
            functions=tuple(
                self._function(name, entry.line, fields.mapping(entry.value, f"function {name!r}"))
                for name, entry in functions.entries.items()
            ),
            pipelines=tuple(
                self._pipeline(name, entry.line, fields.mapping(entry.value, f"pipeline {name!r}"))
                for name, entry in pipelines.entries.items()
            ),
            templates=self._templates(configuration),
            copy=fields.texts(configuration, "copy", "configuration.copy"),
            warnings=fields.shown_warnings(),
        )

    def _templates(self, configuration: Mapping) -> tuple[TemplateSource, ...]:
        fields = self.fields
        node = configuration.get("templates")
        if node is None:
            return ()
        if not isinstance(node, Sequence):
            fields.fault(node.line, "configuration.templates must be a list of `- name: …` entries")
            return ()
        found = []
        for item in node.items:
            entry = fields.mapping(item, "an entry of configuration.templates")
            fields.known(entry, ("name", "source"), "an entry of configuration.templates")
            name = fields.text(entry, "name", "the name of a template")
            source = fields.text(entry, "source", "the source of a template")
            if name:
                found.append(TemplateSource(name, source))
            elif isinstance(item, Mapping):
                fields.fault(item.line, "an entry of configuration.templates needs a `name`")
        return tuple(found)

    def _check_name(self, name: str, line: int, what: str) -> None:
        try:
            check_function_name(name)
        except InvalidInput:
            self.fields.fault(
                line, f"{name[:80]!r} cannot name a {what}: lower-case letters, digits and inner dashes, at most 63"
            )

    def _namespace(self, keys: Mapping) -> str:
        namespace = self.fields.text(keys, "namespace", "namespace")
        return self.fields.judged(keys.entries["namespace"].line, check_namespace, namespace) if namespace else ""

    def _pipeline(self, name: str, line: int, keys: Mapping) -> StackPipeline:
        fields = self.fields
        self._check_name(name, line, "pipeline")
        fields.known(keys, _PIPELINE, f"pipeline {name!r}")
        stages = self._stages(keys)
        if keys.get("stages") is None:
            fields.fault(line, f"pipeline {name!r} needs `stages`, such as [sort, uniq] or sort | uniq")
        return StackPipeline(
            name=name,
            where=Position(fields.file, line),
            stages=stages,
            namespace=self._namespace(keys),
            labels=fields.pairs(keys, "labels", "labels"),
            annotations=fields.pairs(keys, "annotations", "annotations"),
        )

    def _stages(self, keys: Mapping) -> tuple[str, ...]:
        """A list, or one line with pipes; each stage judged."""
        node = keys.get("stages")
        try:
            if isinstance(node, Scalar):
                written = [(node.line, stage) for stage in split_pipeline(node.text)]
            else:
                written = [(item.line, item.text) for item in self.fields.scalars(keys, "stages", "stages")]
        except InvalidInput as error:
            self.fields.fault(keys.entries["stages"].line, str(error))
            return ()
        if isinstance(node, Sequence) and not node.items:
            self.fields.fault(node.line, "stages: there is none")
        for line, stage in written:
            try:
                read_stage(stage)
            except InvalidInput as error:
                self.fields.fault(line, str(error))
        return tuple(stage for _, stage in written)

    def _function(self, name: str, line: int, keys: Mapping) -> StackFunction:
        fields = self.fields
        self._check_name(name, line, "function")
        if not keys.entries:
            fields.fault(line, f"function {name!r} says nothing: it needs `lang` and `handler`, `image` or `fprocess`")
        fields.known(keys, _FUNCTION, f"function {name!r}")
        namespace = self._namespace(keys)
        files = fields.scalars(keys, "environment_file", "environment_file")
        return StackFunction(
            name=name,
            where=Position(fields.file, line),
            lang=fields.text(keys, "lang", "lang"),
            lang_line=keys.entries["lang"].line if "lang" in keys.entries else 0,
            handler=fields.text(keys, "handler", "handler"),
            image=fields.text(keys, "image", "image"),
            fprocess=fields.text(keys, "fprocess", "fprocess"),
            environment=self._environment(keys, files),
            environment_files=tuple(self.directory / item.text for item in files),
            secrets=self._secrets(keys),
            labels=fields.pairs(keys, "labels", "labels"),
            annotations=fields.pairs(keys, "annotations", "annotations"),
            constraints=fields.texts(keys, "constraints", "constraints") if keys.get("constraints") else None,
            limits=self._resources(keys, "limits"),
            requests=self._resources(keys, "requests"),
            read_only_root=fields.switch(keys, "readonly_root_filesystem", "readonly_root_filesystem"),
            skip_build=fields.switch(keys, "skip_build", "skip_build"),
            build_options=fields.texts(keys, "build_options", "build_options"),
            build_args=fields.pairs(keys, "build_args", "build_args"),
            build_secrets={
                key: (self.directory / Path(path).expanduser()).absolute()
                for key, path in fields.pairs(keys, "build_secrets", "build_secrets").items()
            },
            namespace=namespace,
            platforms=fields.text(keys, "platforms", "platforms"),
        )

    def _environment(self, keys: Mapping, files: Iterable[Scalar]) -> dict[str, str]:
        environment = self._variables(self.fields, keys)
        for item in files:
            try:
                environment |= self._environment_file(item.text)
            except (InvalidInput, NotFound) as error:
                self.fields.fault(item.line, f"environment_file: {error}")
        return environment

    def _environment_file(self, name: str) -> dict[str, str]:
        """The variables under `environment` of a file, where nothing is substituted."""
        document = parse(decode(read(self.directory / name, name), name), name)
        fields = Fields(name)
        root = fields.mapping(document.root, "an environment file")
        fields.known(root, ("environment",), "an environment file")
        found = self._variables(fields, root)
        fields.check()
        self.fields.warnings += fields.warnings
        return found

    def _variables(self, fields: Fields, keys: Mapping) -> dict[str, str]:
        found = fields.pairs(keys, "environment", "environment")
        for name in found:
            fields.judged(keys.entries["environment"].line, check_env_name, name)
        return found

    def _secrets(self, keys: Mapping) -> tuple[str, ...]:
        names = self.fields.scalars(keys, "secrets", "secrets")
        return tuple(self.fields.judged(item.line, check_secret_name, item.text) for item in names)

    def _resources(self, keys: Mapping, key: str) -> Resources:
        mapping = self.fields.mapping(keys.get(key), key)
        self.fields.known(mapping, _RESOURCES, key)
        return Resources(
            memory=self.fields.text(mapping, "memory", f"{key}.memory"),
            cpu=self.fields.text(mapping, "cpu", f"{key}.cpu"),
        )
