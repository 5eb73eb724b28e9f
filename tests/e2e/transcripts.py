"""Transcripts of a terminal in pages of Markdown, read and played: what a page shows is what its reader gets.

A page's fenced blocks marked `console` are one session, from the top of the page to its end, in one folder:

- `$ command` is typed. A command whose line ends with `\\` goes on in the next; so it does in lines that begin with `> `.
- Other lines are what it prints, stdout and stderr as they come. No line: it prints nothing.
- It ends with 0, unless the next command is `echo $?`, whose output then says with what.
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
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

PAGES_GATEWAY = "127.0.0.1:8080"
"""Where the pages say that the gateway is."""

DEADLINE = 600.0
"""Seconds for a whole page."""

_PROMPT = "$ "
_CONTINUED = "> "
_ANY = re.compile(r"…|\.\.\.")
_END = "--- end of step"
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

    `gateway` is the host and port that the server has. What the session has started in the foreground or background is
    ended with it, and after DEADLINE.
    """
    script = folder / ".session"
    script.write_text("".join(_typed(step, gateway) for step in steps))
    (folder / ".curlrc").write_text("no-progress-meter\n")  # a terminal shows none
    path = os.pathsep.join([str(Path(sys.executable).parent), environ.get("PATH", "")])
    with subprocess.Popen(
        ["bash", str(script)],
        cwd=folder,
        env={**environ, "PATH": path, "CURL_HOME": str(folder)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    ) as session:
        try:
            printed, _ = session.communicate(timeout=DEADLINE)
        except subprocess.TimeoutExpired:
            _end(session)
            printed, _ = session.communicate()
        finally:
            _end(session)
    return [
        Played(output, int(code))
        for output, code in re.findall(rf"(.*?)\n{_END} (\d+)\n", printed.decode(errors="replace"), re.DOTALL)
    ]


def _end(session: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(session.pid, signal.SIGKILL)


def _typed(step: Step, gateway: str) -> str:
    """A step for bash; the next one finds its exit code in `$?`, as on a terminal."""
    command = step.command.replace(PAGES_GATEWAY, gateway)
    return f'{command}\ncode=$?; printf "\\n{_END} %d\\n" $code; (exit $code)\n'


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
        found.append(f"line {steps[len(played)].line}: `{steps[len(played)].command}` did not end in {DEADLINE:.0f} s")
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
