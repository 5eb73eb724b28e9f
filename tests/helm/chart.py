"""What `helm template` would print of a chart: rendered by a small Go program of the same template engine, since no package has Helm.

The program is compiled once into Go's cache, by Debian's compiler and packages.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

CHART = Path(__file__).parents[2] / "deploy" / "kubernetes" / "chart"
Document = dict[str, Any]
_NEW = ("v1", "apps/v1", "policy/v1", "policy/v1beta1")


class ChartRefused(Exception):
    """The chart ends with this message, as it does for whoever installs it."""


class Renderer:
    """Renders the chart; made once, since compiling takes a while."""

    def __init__(self, folder: Path) -> None:
        """Compile into that folder."""
        self._program = folder / "render"
        environ = {**os.environ, "GO111MODULE": "off", "GOPATH": "/usr/share/gocode", "CGO_ENABLED": "0"}
        command = ["go", "build", "-o", str(self._program), "render.go"]
        subprocess.run(command, cwd=Path(__file__).parent, env=environ, check=True)

    def __call__(
        self,
        values: Mapping[str, Any] | None = None,
        namespace: str = "penstock",
        apis: tuple[str, ...] = _NEW,
        objects: Mapping[str, Document] | None = None,
    ) -> list[Document]:
        """The documents of a release of that name. `objects` are in the cluster, by version/kind/namespace/name. Raises ChartRefused."""
        rendered = self.texts(values, namespace, apis, objects)
        parts = [
            part
            for name, text in sorted(rendered.items())
            if name.endswith(".yaml")
            for part in yaml.safe_load_all(text)
        ]
        return [part for part in parts if part]

    def texts(
        self,
        values: Mapping[str, Any] | None = None,
        namespace: str = "penstock",
        apis: tuple[str, ...] = _NEW,
        objects: Mapping[str, Document] | None = None,
    ) -> dict[str, str]:
        """As `__call__`, but each template's text by its name."""
        chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
        given = merged(yaml.safe_load((CHART / "values.yaml").read_text()), values or {})
        asked = {
            "templates": {path.name: path.read_text() for path in sorted((CHART / "templates").iterdir())},
            "context": {
                "Values": given,
                "Chart": {"Name": chart["name"], "Version": chart["version"], "AppVersion": chart["appVersion"]},
                "Release": {"Name": "penstock", "Namespace": namespace, "Service": "Helm", "IsInstall": True},
            },
            "apis": list(apis),
            "objects": dict(objects or {}),
        }
        done = subprocess.run([self._program], input=json.dumps(asked), capture_output=True, text=True, check=False)
        if done.returncode:
            raise ChartRefused(done.stderr.strip())
        rendered: dict[str, str] = json.loads(done.stdout)
        return rendered


def merged(defaults: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Values over defaults, map by map, as Helm does it."""
    result = dict(defaults)
    for name, value in values.items():
        below = result.get(name)
        result[name] = merged(below, value) if isinstance(below, dict) and isinstance(value, Mapping) else value
    return result


def main() -> None:
    """Print the chart as it is with its own values."""
    with tempfile.TemporaryDirectory() as folder:
        print(yaml.safe_dump_all(Renderer(Path(folder))(), sort_keys=False), end="")


if __name__ == "__main__":
    main()
