"""Whether a node-local provider accepts what it is asked for: specifications, secrets, namespaces, replica counts.

Called by the local provider before anything is stored. Every refusal is an InvalidInput naming the field and the rule.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from penstock.core.health import check_health
from penstock.core.labels import check_labels
from penstock.core.names import check_env_name, check_function_name, check_namespace, check_secret_name
from penstock.core.pipelines import check_pipeline, stage_keys
from penstock.core.policy import Policy, policy_of
from penstock.core.scalelabels import scaling_of
from penstock.core.topics import check_topics
from penstock.errors import FunctionExists, InvalidInput
from penstock.model import FunctionSpec, Namespace, Secret
from penstock.providers.limits import limits_of
from penstock.watchdog.settings import IMPORTING_MODES

MAX_REPLICAS = 10_000
"""Of one function on one machine; a slip of the finger should not fork a million processes."""
MAX_SECRET = 1 << 20
"""Bytes in a secret; Kubernetes has the same limit."""
MAX_ENV_ENTRY = (128 << 10) - 1
"""Bytes in `NAME=value`, execve(2) MAX_ARG_STRLEN without its NUL."""
MAX_ENVIRONMENT = 1 << 20
"""Bytes in all variables together; execve's own limit is a quarter of the stack limit, usually 2 MiB."""


def already_exists(spec: FunctionSpec) -> FunctionExists:
    return FunctionExists(f"function {spec.key} already exists; update it instead")


def check_spec(spec: FunctionSpec) -> None:
    """Names, texts, environment, labels, limits and health checks of a specification; not whether its secrets exist."""
    check_function_name(spec.name)
    check_namespace(spec.namespace)
    _check_environment(spec)
    _check_texts("labels", spec.labels)
    _check_texts("annotations", spec.annotations)
    check_labels(spec.labels)
    check_topics(spec.annotations)
    _check_text("image", spec.image)
    for text in (*spec.constraints, *spec.secrets):
        _check_text("constraints or secrets", text)
    for name in spec.secrets:
        check_secret_name(name)
    policy_of_checked(spec)
    limits_of(spec)
    check_health(spec)


def check_pipeline_spec(spec: FunctionSpec, others: Iterable[FunctionSpec]) -> None:
    """A specification with stages: that it says nothing about replicas, and that it can be run beside `others`."""
    for field, given in (
        ("image", spec.image),
        ("envProcess", spec.env_process),
        ("envVars", spec.env_vars),
        ("constraints", spec.constraints),
        ("secrets", spec.secrets),
        ("limits", spec.limits),
        ("requests", spec.requests),
        ("readOnlyRootFilesystem", spec.read_only_root),
    ):
        if given:
            raise InvalidInput(f"{field}: a pipeline has none, each function in it has its own; leave it out")
    check_spec(spec)
    check_pipeline(spec, others)


def check_same_kind(spec: FunctionSpec, deployed: FunctionSpec) -> None:
    """A function stays a function: whoever turns it into a pipeline may have mistaken its name."""
    if bool(spec.stages) != bool(deployed.stages):
        what, wanted = ("pipeline", "function") if deployed.stages else ("function", "pipeline")
        raise InvalidInput(f"service: {spec.key} is a {what}; delete it before a {wanted} takes its name")


def refuse_scaling(spec: FunctionSpec) -> None:
    """Raises InvalidInput for a pipeline."""
    if spec.stages:
        raise InvalidInput(f"replicas: {spec.key} is a pipeline and has no replicas of its own; scale {_stages(spec)}")


def refuse_logs(spec: FunctionSpec) -> None:
    """Raises InvalidInput for a pipeline."""
    if spec.stages:
        raise InvalidInput(f"name: {spec.key} is a pipeline and writes no logs; read those of {_stages(spec)}")


def _stages(spec: FunctionSpec) -> str:
    return ", ".join(dict.fromkeys(stage_keys(spec)))


def check_program(spec: FunctionSpec) -> None:
    """That a process runtime would have something to run: `envProcess`, `envVars.fprocess`, or a mode without a program."""
    mode = spec.env_vars.get("mode", "")
    if program_of(spec) or mode == "static":
        return
    if mode in IMPORTING_MODES:
        _check_handler(spec)
        return
    raise InvalidInput(
        f"envProcess: is required, the process provider runs programs and not images; name the program for "
        f"{spec.name!r} in envProcess (or envVars.fprocess), or use the docker provider to run image {spec.image!r}"
    )


def _check_handler(spec: FunctionSpec) -> None:
    """That a handler is named and, when it is a path, is absolute: a replica's working directory is its own, and empty unless
    the function says what its HOME is. Whether it can be imported is found out by importing it."""
    handler = spec.env_vars.get("handler", "")
    if not handler and not spec.env_vars.get("python_path"):
        raise InvalidInput(
            f"envVars: handler: is required in mode {spec.env_vars['mode']}, it names what to import: "
            "the absolute path of a .py file or folder, or a module that python_path leads to"
        )
    is_path = "/" in handler or handler.partition(":")[0].endswith(".py")
    if is_path and not handler.startswith("/") and "HOME" not in spec.env_vars:
        raise InvalidInput(
            f"envVars: handler: {handler[:200]!r} must be an absolute path, replicas start in an empty folder"
        )


def program_of(spec: FunctionSpec) -> str:
    """The command line that the watchdog will split; `envProcess` wins over `envVars`."""
    return spec.env_process or spec.env_vars.get("fprocess", "") or spec.env_vars.get("function_process", "")


def policy_of_checked(spec: FunctionSpec) -> Policy:
    """The gateway's policy and the first replica count, with numbers too long to read refused as well."""
    try:
        policy = policy_of(spec, Policy())
        check_replicas(scaling_of(spec.labels).least)
    except ValueError as error:
        raise InvalidInput(f"labels: {error}") from error
    return policy


def check_replicas(replicas: int) -> None:
    if not 0 <= replicas <= MAX_REPLICAS:
        raise InvalidInput(f"replicas: must be from 0 to {MAX_REPLICAS}")


def check_secret(secret: Secret) -> None:
    check_secret_name(secret.name)
    if len(secret.value) > MAX_SECRET:
        raise InvalidInput(f"secret: {secret.name!r} has {len(secret.value)} bytes, at most {MAX_SECRET} are kept")


def check_namespace_object(namespace: Namespace) -> None:
    check_namespace(namespace.name)
    _check_texts("labels", namespace.labels)
    _check_texts("annotations", namespace.annotations)


def check_secrets_exist(wanted: Iterable[str], known: Iterable[str], namespace: str) -> None:
    have = set(known)
    for name in wanted:
        if name not in have:
            raise InvalidInput(f"secrets: unable to find secret {name!r} in namespace {namespace!r}")


def _check_environment(spec: FunctionSpec) -> None:
    _check_text("envProcess", spec.env_process)
    total = 0
    for name, value in spec.env_vars.items():
        _check_text("envVars", name)
        check_env_name(name)
        _check_text(f"envVars: {name}", value)
        size = len(name.encode()) + len(value.encode()) + 1
        if size > MAX_ENV_ENTRY:
            raise InvalidInput(f"envVars: {name[:64]!r} is too long, at most {MAX_ENV_ENTRY} bytes reach a program")
        total += size
    if total + len(spec.env_process) > MAX_ENVIRONMENT:
        raise InvalidInput(f"envVars: {total} bytes are too many, at most {MAX_ENVIRONMENT} reach a program")
    if len(spec.env_process.encode()) + len("fprocess=") > MAX_ENV_ENTRY:
        raise InvalidInput(f"envProcess: is too long, at most {MAX_ENV_ENTRY} bytes reach a program")


def _check_texts(field: str, texts: Mapping[str, str]) -> None:
    for name, value in texts.items():
        _check_text(field, name)
        _check_text(f"{field}: {name}", value)


def _check_text(field: str, text: str) -> None:
    """Text that can be stored and handed to a program: valid Unicode without NUL."""
    if "\x00" in text:
        raise InvalidInput(f"{field[:200]!r}: may not contain a NUL character")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidInput(f"{field[:200]!r}: is not valid Unicode text") from None
