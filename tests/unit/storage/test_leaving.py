"""A process ends with its code and all its output, whether or not the storage library is loaded."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize("loaded", ("import obstore", "pass"))
@pytest.mark.parametrize("code", (0, 3))
def test_the_code_and_the_output_are_kept(loaded: str, code: int) -> None:
    program = f"{loaded}\nfrom penstock.storage.leaving import leave\nprint('said' * 10000)\nleave({code})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (code, "said" * 10000 + "\n")


def test_output_that_cannot_be_written_is_no_success() -> None:
    program = "import obstore\nfrom penstock.storage.leaving import leave\nprint('said')\nleave(0)"
    with open("/dev/full", "wb") as full:
        done = subprocess.run([sys.executable, "-c", program], stdout=full, stderr=subprocess.PIPE, check=False)
    assert done.returncode != 0


def test_an_ordinary_command_does_not_load_the_library() -> None:
    program = "import sys\nimport penstock.cli.main, penstock.cli.verbs.storage, penstock.storage.objects\nprint('obstore' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
