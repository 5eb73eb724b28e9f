"""The one place where names are judged: functions, namespaces and secrets.

Whoever accepts a name from outside passes it through here first; everything behind may then use it in paths and labels.
"""

from __future__ import annotations

import re

from penstock.errors import InvalidInput

_LABEL = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?", re.ASCII)
_SECRET = re.compile(r"[a-z0-9](?:[-a-z0-9.]{0,251}[a-z0-9])?", re.ASCII)
_ENV_NAME = re.compile(r"[^=\x00]+")


def check_function_name(name: str, field: str = "service") -> str:
    """`name` itself when it is a DNS label of at most 63 characters (contract gateway §1.4); else InvalidInput, beginning with `field`."""
    return _check(name, _LABEL, field)


def check_namespace(name: str) -> str:
    """`name` itself when it is a DNS label of at most 63 characters; else InvalidInput."""
    return _check(name, _LABEL, "namespace")


def check_secret_name(name: str) -> str:
    """`name` itself when it is a DNS subdomain of at most 253 characters without `..`; else InvalidInput."""
    if ".." in name:
        raise InvalidInput(f"secret: ({name!r}) is invalid, it may not contain '..'")
    return _check(name, _SECRET, "secret")


def check_env_name(name: str) -> str:
    """`name` itself when it can name an environment variable: not empty, no `=`, no NUL; else InvalidInput."""
    if not _ENV_NAME.fullmatch(name):
        raise InvalidInput(f"envVars: ({name!r}) cannot name an environment variable")
    return name


def split_key(key: str, default_namespace: str) -> tuple[str, str]:
    """`name.namespace` in two at the last dot; without a dot the default namespace (contract gateway §1.4)."""
    name, dot, namespace = key.rpartition(".")
    return (name, namespace) if dot else (namespace, default_namespace)


def _check(name: str, rule: re.Pattern[str], field: str) -> str:
    if not name:
        raise InvalidInput(f"{field}: is required")
    if not rule.fullmatch(name):
        raise InvalidInput(
            f"{field}: ({name!r}) is invalid, must be a valid DNS entry: lower-case letters, digits and inner dashes"
        )
    return name
