"""`python -m bench`: measure rows, print the table, write it under bench/results/.

Exit code 0 when every row asked for was measured, met or missed; 1 when one could not be; 2 for a missing tool or a wrong flag.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from bench.machine import ROOT, describe
from bench.plan import FULL, QUICK, Plan
from bench.processes import BenchError
from bench.report import Finding, as_json, as_markdown, table
from bench.rows import ROWS, Row
from bench.wrk import LoadFailed

RESULTS = ROOT / "bench" / "results"

PACKAGES = {
    "nginx": "nginx-light",
    "wrk": "wrk",
    "java": "default-jdk-headless",
    "javac": "default-jdk-headless",
    "curl": "curl",
    "rclone": "rclone",
    "dockerd": "docker.io",
    "busybox": "busybox-static",
    "debootstrap": "debootstrap",
    "etcd": "etcd-server",
    "go": "golang-go",
    "prometheus": "prometheus",
    "prometheus-alertmanager": "prometheus-alertmanager",
}
"""Debian's names for the programs that rows need."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says; the exit code."""
    options = _parser().parse_args(arguments)
    if options.list:
        print("\n".join(f"{row.name:<12} {row.question}" for row in ROWS))
        return 0
    rows = choose(options.only)
    # Debian keeps nginx where only root's PATH looks.
    os.environ["PATH"] = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
    if missing := missing_tools(rows):
        names = " ".join(sorted({PACKAGES[tool] for tool in missing}))
        print(f"{', '.join(missing)} not found: sudo apt-get install {names}", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, _stop)
    plan = QUICK if options.quick else FULL
    machine = describe(options.quick)
    findings = [finding for row in rows for finding in measured(row, plan)]
    machine["load at end"] = " ".join(f"{load:.2f}" for load in os.getloadavg())
    name = f"{machine['date'][:10]}-{machine['commit'].split()[0]}{'-quick' if options.quick else ''}"
    if options.only:
        name += "-" + "-".join(row.name for row in rows)
    path = write(options.results, name, machine, findings)
    print(as_json(machine, findings) if options.output == "json" else "\n".join(table(findings)))
    print(f"written to {path} and {path.with_suffix('.json').name}", file=sys.stderr)
    return 1 if any(finding.verdict == "failed" for finding in findings) else 0


def choose(names: Sequence[str]) -> list[Row]:
    """The rows of these names in the table's order; all when there are none."""
    return [row for row in ROWS if not names or row.name in names]


def missing_tools(rows: Iterable[Row]) -> list[str]:
    """Programs that these rows need and the machine has not."""
    return sorted({tool for row in rows for tool in row.needs if shutil.which(tool) is None})


def measured(row: Row, plan: Plan) -> list[Finding]:
    """A row's findings. One that cannot be measured is a finding too, so that the others still get their turn."""
    print(f"{row.name}: {row.question}", file=sys.stderr)
    findings: list[Finding] = []
    try:
        for finding in row.measure(plan):
            print(f"  {finding.verdict:<6} {finding.what}: {finding.measured}", file=sys.stderr)
            findings.append(finding)
    except (BenchError, LoadFailed, OSError) as error:
        print(f"  failed {error}", file=sys.stderr)
        findings.append(Finding(row.name, row.question, "", "not measured", "failed", {}, (str(error),)))
    return findings


def write(directory: Path, name: str, machine: dict[str, str], findings: Sequence[Finding]) -> Path:
    """Write NAME.md and NAME.json; the path of the first."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{name}.md"
    path.write_text(as_markdown(machine, findings))
    path.with_suffix(".json").write_text(as_json(machine, findings))
    return path


def _stop(number: int, frame: object) -> None:
    """Leave by the way that stops what was started."""
    sys.exit(128 + number)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure the speed table.")
    names = [row.name for row in ROWS]
    parser.add_argument("--only", metavar="ROW", action="append", default=[], choices=names, help="a row; repeatable")
    parser.add_argument("--quick", action="store_true", help="short measurements and few rounds")
    parser.add_argument("--list", action="store_true", help="name the rows and end")
    parser.add_argument("--output", choices=("text", "json"), default="text", help="what to print (default: text)")
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="DIR", help="where files go")
    return parser


if __name__ == "__main__":
    sys.exit(main())
