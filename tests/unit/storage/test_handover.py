"""Keys go from process to process without standing in an environment."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest

from penstock.storage.handover import (
    MAX_KEYS,
    OWN_VARIABLES,
    PIPE_VARIABLE,
    SECRET_VARIABLES,
    keys_pipe,
    receive,
    withhold,
    without,
)


def test_the_keys_leave_the_environment_and_the_block_that_others_can_read() -> None:
    program = textwrap.dedent("""\
        import os
        from penstock.storage.handover import withhold

        descriptor = os.open("/proc/self/environ", os.O_RDONLY)
        kept = withhold(os.environ)
        shown = os.read(descriptor, 1 << 20)
        print(sorted(kept.items()), os.environ.get("PENSTOCK_S3_SECRET_KEY"), b"hidden" in shown, b"OTHER=stays" in shown)
        """)
    environ = {**os.environ, "PENSTOCK_S3_SECRET_KEY": "hidden", "AWS_SESSION_TOKEN": "hidden too", "OTHER": "stays"}
    done = subprocess.run([sys.executable, "-c", program], env=environ, capture_output=True, text=True, check=True)
    kept = "[('AWS_SESSION_TOKEN', 'hidden too'), ('PENSTOCK_S3_SECRET_KEY', 'hidden')]"
    assert done.stdout == f"{kept} None False True\n"


def test_without_keys_nothing_is_withheld() -> None:
    environ = {"PATH": "/bin"}
    assert withhold(environ) == {}
    assert environ == {"PATH": "/bin"}


def test_programs_of_others_get_all_but_the_keys() -> None:
    environ = dict.fromkeys(SECRET_VARIABLES, "hidden") | {"AWS_PROFILE": "stays", "PENSTOCK_S3_REGION": "stays"}
    assert without(environ) == {"AWS_PROFILE": "stays", "PENSTOCK_S3_REGION": "stays"}


def test_what_speaks_to_amazon_itself_keeps_amazons_keys() -> None:
    environ = {"PENSTOCK_S3_SECRET_KEY": "hidden", "AWS_SECRET_ACCESS_KEY": "stays"}
    assert without(environ, OWN_VARIABLES) == {"AWS_SECRET_ACCESS_KEY": "stays"}


def test_what_is_sent_is_received_in_a_process_of_its_own() -> None:
    program = "import os\nfrom penstock.storage.handover import receive\nreceive(os.environ)\nprint(os.environ['AWS_SESSION_TOKEN'])"
    reader = keys_pipe({"AWS_SESSION_TOKEN": "t" * 3000})
    try:
        environ = {**os.environ, PIPE_VARIABLE: str(reader)}
        done = subprocess.run(
            [sys.executable, "-c", program], env=environ, pass_fds=(reader,), capture_output=True, text=True, check=True
        )
    finally:
        os.close(reader)
    assert done.stdout.strip() == "t" * 3000


def test_a_process_that_is_sent_nothing_goes_on() -> None:
    environ = {"PATH": "/bin"}
    receive(environ)
    assert environ == {"PATH": "/bin"}


def test_keys_larger_than_a_pipe_are_refused_and_do_not_hang() -> None:
    with pytest.raises(OSError, match="larger"):
        keys_pipe({"AWS_SESSION_TOKEN": "t" * MAX_KEYS})
