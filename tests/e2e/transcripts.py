"""Transcripts of a terminal in pages of Markdown, read and played: what a page shows is what its reader gets.

A page's fenced blocks marked `console` are one session, from the top of the page to its end, in one folder:

- `$ command` is typed. A command whose line ends with `\\` goes on in the next; so it does in lines that begin with `> `.
- Other lines are what it prints, stdout and stderr as they come. No line: it prints nothing.
- It ends with 0, unless the next command is `echo $?`, whose output then says with what.
- `penstock logs` is asked again until it prints what the page says: what a function logs may be there a little after its answer.
- `…` and `...` stand for any text in a line; alone in a line, for any number of lines.
- Durations (`0.05s`, `12 ms`), times (`2026-01-31T12:00:00Z`, `2026/01/31 12:00:00`) and UUIDs stand for any other of their kind.
- Runs of blanks are one blank; blank lines, and blanks at a line's ends, do not count.

http://127.0.0.1:8080 is typed as wherever the server under test is, and may be printed as either. Blocks with another mark (`sh`,
`yaml`) are not played.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

PAGES_GATEWAY = "127.0.0.1:8080"
"""Where the pages say that the gateway is."""

DEADLINE = 600.0
"""Seconds for a whole page."""

LOG_DEADLINE = 60.0
"""Seconds until a log must have what a page says."""

_PROMPT = "$ "
_CONTINUED = "> "
_ANY = re.compile(r"…|\.\.\.")
_END = "--- end of step"
_OVER = re.compile(rf"\n{_END} (\d+)\n".encode())
_VOLATILE = (
    r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)",
    r"\d{4}/\d\d/\d\d \d\d:\d\d:\d\d",
    r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}",
    r"\b\d+(?:\.\d+)? ?(?:ms|s)\b",
)
_PIECES = re.compile(
    "|".join(f"(?P<v{number}>{kind})" for number, kind in enumerate(_VOLATILE))
    + rf"|(?P<gateway>{re.escape(PAGES_GATEWAY)})|(?P<blanks>\s+)"
)


@dataclass(frozen=True)
class Step:
    """A command, and what a page says that it prints."""

    line: int
    """Of the page, from 1."""
    command: str
    output: tuple[str, ...] = ()

    @property
    def tells_exit_code(self) -> bool:
        return self.command == "echo $?"

    @property
    def may_be_early(self) -> bool:
        return self.command.startswith("penstock logs ")


@dataclass(frozen=True)
class Played:
    """What became of a step."""

    output: str
    code: int


def read(text: str) -> list[Step]:
    """The steps of a page. Raises ValueError for a block whose first line is no command."""
    steps: list[Step] = []
    inside = fresh = False
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("```"):
            inside = line == "```console" and not inside
            fresh = True
            continue
        if not inside:
            continue
        last = steps[-1] if steps and not fresh else None
        if last is not None and not last.output and _goes_on(last.command, line):
            steps[-1] = Step(last.line, f"{last.command}\n{line.removeprefix(_CONTINUED)}")
        elif line.startswith(_PROMPT):
            steps.append(Step(number, line.removeprefix(_PROMPT)))
        elif last is None:
            raise ValueError(f"line {number}: a console block begins with a command, `$ ...`, not with {line!r}")
        else:
            steps[-1] = Step(last.line, last.command, (*last.output, line))
        fresh = False
    return steps


def _goes_on(command: str, line: str) -> bool:
    return command.endswith("\\") or line.startswith(_CONTINUED)


def play(steps: Sequence[Step], folder: Path, environ: Mapping[str, str], gateway: str) -> list[Played]:
    """Run the steps by one bash in `folder`; as many results as it came to, in order.

    `gateway` is the host and port that the server has. What the session has started is ended with it, and after DEADLINE.
    """
    played = []
    with _session(folder, environ) as session:
        end = time.monotonic() + DEADLINE
        for step in steps:
            result = _run(session, step, gateway, end)
            patience = time.monotonic() + LOG_DEADLINE
            while result and step.may_be_early and not matches(step.output, result.output, gateway):
                if time.monotonic() > patience:
                    break
                time.sleep(0.1)
                result = _run(session, step, gateway, end)
            if result is None:
                break
            played.append(result)
    return played


@contextlib.contextmanager
def _session(folder: Path, environ: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A bash that reads what it is to do."""
    (folder / ".curlrc").write_text("no-progress-meter\n")  # a terminal shows none
    path = os.pathsep.join([str(Path(sys.executable).parent), environ.get("PATH", "")])
    with subprocess.Popen(
        ["bash"],
        cwd=folder,
        env={**environ, "PATH": path, "CURL_HOME": str(folder)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    ) as bash:
        try:
            yield bash
        finally:
            os.killpg(bash.pid, signal.SIGKILL)  # it is not reaped yet: its number is its own


def _run(bash: subprocess.Popen[bytes], step: Step, gateway: str, end: float) -> Played | None:
    """What became of a step; None when the session is over, or not through with it when the clock says `end`."""
    assert bash.stdin is not None and bash.stdout is not None
    command = step.command.replace(PAGES_GATEWAY, gateway)
    # The next one finds the exit code in `$?`, as on a terminal.
    typed = f'{{ {command}\n}} < /dev/null\ncode=$?; printf "\\n{_END} %d\\n" $code; (exit $code)\n'
    bash.stdin.write(typed.encode())
    bash.stdin.flush()
    printed = b""
    while (found := _OVER.search(printed)) is None:
        ready, _, _ = select.select([bash.stdout], [], [], max(0.0, end - time.monotonic()))
        piece = os.read(bash.stdout.fileno(), 65536) if ready else b""
        if not piece:
            return None
        printed += piece
    return Played(printed[: found.start()].decode(errors="replace"), int(found[1]))


def faults(steps: Sequence[Step], played: Sequence[Played], gateway: str) -> list[str]:
    """What a page says and the session did not do; empty when it is right."""
    found = []
    for index, (step, result) in enumerate(zip(steps, played, strict=False)):
        told = index + 1 < len(steps) and steps[index + 1].tells_exit_code
        if result.code and not told:
            found.append(f"line {step.line}: `{step.command}` ended with {result.code}:\n{result.output}")
        elif not matches(step.output, result.output, gateway):
            wanted = "\n".join(step.output)
            found.append(f"line {step.line}: `{step.command}`\n--- the page\n{wanted}\n--- printed\n{result.output}")
    if len(played) < len(steps):
        found.append(
            f"line {steps[len(played)].line}: `{steps[len(played)].command}` ended the session, or did not end in {DEADLINE:.0f} s"
        )
    return found


def matches(expected: Sequence[str], output: str, gateway: str = PAGES_GATEWAY) -> bool:
    """Whether `output` is what the lines of a page stand for."""
    lines = [line.strip() for line in output.splitlines()]
    pattern = "".join(_pattern(line.strip(), gateway) for line in expected)
    return re.fullmatch(pattern, "".join(f"{line}\n" for line in lines if line)) is not None


def _pattern(line: str, gateway: str) -> str:
    if not line:
        return ""
    if _ANY.fullmatch(line):
        return r"(?:.*\n)*?"
    return ".*".join(_literal(piece, gateway) for piece in _ANY.split(line)) + r"\n"


def _literal(text: str, gateway: str) -> str:
    """A pattern for text without dots that stand for anything."""
    pattern, end = "", 0
    for found in _PIECES.finditer(text):
        pattern += re.escape(text[end : found.start()]) + _loose(found.lastgroup or "", gateway)
        end = found.end()
    return pattern + re.escape(text[end:])


def _loose(kind: str, gateway: str) -> str:
    if kind == "blanks":
        return r"\s+"
    if kind == "gateway":
        return f"(?:{re.escape(PAGES_GATEWAY)}|{re.escape(gateway)})"
    return f"(?:{_VOLATILE[int(kind[1:])]})"
