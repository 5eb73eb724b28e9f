"""Capabilities: a short list, asked for by label, and advice to those who need one."""

from __future__ import annotations

import pytest

from penstock.errors import InvalidInput
from penstock.model import FunctionSpec
from penstock.providers.containers.capabilities import ALLOWED, advice, capabilities_of
from penstock.providers.containers.labels import CAPABILITIES

DENIED = "chown: /var/cache/nginx: Operation not permitted"


def asked(value: str) -> tuple[str, ...]:
    return capabilities_of(FunctionSpec(name="f", image="web:1", labels={CAPABILITIES: value}))


def test_a_function_has_none_unless_it_asks() -> None:
    assert capabilities_of(FunctionSpec(name="f", image="web:1")) == asked("") == ()


@pytest.mark.parametrize("name", ALLOWED)
def test_each_allowed_one_is_given_by_either_of_its_names_in_any_case(name: str) -> None:
    for text in (name, name.lower(), f"CAP_{name}", f"cap_{name.title()}"):
        assert asked(text) == (name,)


def test_several_come_once_each_and_in_order() -> None:
    assert asked("setuid, CHOWN ,cap_setuid,SETGID") == ("CHOWN", "SETGID", "SETUID")


@pytest.mark.parametrize(
    "value",
    [
        "ALL",
        "NET_RAW",
        "SYS_ADMIN",
        "CAP_SYS_PTRACE",
        "CAP_CAP_CHOWN",
        "CHOWN,NET_ADMIN",
        "CHOWN,",
        ",",
        " ",
        "CHOWN SETUID",
        "CHOWN;SETUID",
        "\u017fETUID",
        "true",
        "\x1b[2J\n",
        "x" * 10_000,
    ],
)
def test_anything_else_is_refused_with_all_there_are(value: str) -> None:
    with pytest.raises(InvalidInput, match=f"labels: {CAPABILITIES}: ") as refusal:
        asked(value)
    message = str(refusal.value)
    assert all(name in message for name in ALLOWED)
    assert message.isprintable()
    assert len(message) < 500


@pytest.mark.parametrize(
    ("said", "flags"),
    [
        (
            'nginx: [emerg] chown("/var/cache/nginx/client_temp", 101) failed (1: Operation not permitted)',
            "--capability CHOWN --capability SETGID --capability SETUID",
        ),
        (
            'error: failed switching to "redis": operation not permitted',
            "--capability CHOWN --capability SETGID --capability SETUID",
        ),
        ("chmod: changing permissions of '/data': Operation not permitted", "--capability FOWNER"),
        ("mkdir: cannot create directory '/data/x': Permission denied", "--capability DAC_OVERRIDE"),
        (
            "(13)Permission denied: AH00072: make_sock: could not bind to address 0.0.0.0:80",
            "--capability NET_BIND_SERVICE",
        ),
        (
            "[FATAL tini (1)] Unexpected error when forwarding signal: 'Operation not permitted'",
            "--capability KILL",
        ),
        ("bind() to 0.0.0.0:80 failed (13: Permission denied)", "--capability NET_BIND_SERVICE"),
    ],
)
def test_what_a_root_without_capabilities_says_tells_which_it_lacks(said: str, flags: str) -> None:
    assert advice(1, said, "", ()) == f"its container may lack a capability, try {flags} (label {CAPABILITIES})"


@pytest.mark.parametrize("user", ["", "0", "0:0", "root", "root:root"])
def test_root_is_advised_under_each_of_its_names(user: str) -> None:
    assert advice(1, DENIED, user, ())


@pytest.mark.parametrize("user", ["12000:12000", "nginx", "1000"])
def test_a_capability_is_no_help_to_other_users(user: str) -> None:
    assert advice(1, DENIED, user, ()) == ""


def test_what_is_given_is_not_advised_again() -> None:
    assert "try --capability SETGID (" in advice(1, DENIED, "", ("CHOWN", "SETUID"))
    assert advice(1, DENIED, "", ("CHOWN", "SETGID", "SETUID")) == ""


def test_other_ends_bring_no_advice() -> None:
    assert advice(0, DENIED, "", ()) == advice(1, "no such table", "", ()) == advice(1, "", "", ()) == ""
