"""`penstock up` as it is typed: flags that exclude each other. What it does is tested end to end."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.cli.support import ScriptedGateway, run_cli


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--replace", "--update"), "--replace and --update exclude each other"),
        (("--watch", "--skip-deploy"), "--watch and --skip-deploy exclude each other"),
        (("--watch", "-f", "-"), "--watch: needs a stack file that can be read again, not -"),
        (("--publish", "--skip-push"), "--publish and --skip-push exclude each other"),
        (("--platforms", "linux/arm64"), "needs --publish"),
        (("--env", "novalue"), "--env 'novalue': write it as KEY=VALUE"),
    ],
    ids=["strategy", "watch", "watched stdin", "push", "platforms", "pair"],
)
def test_what_cannot_be_meant_reaches_no_gateway(
    gateway: ScriptedGateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: tuple[str, ...], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "stack.yml").write_text("functions:\n  copy:\n    fprocess: cat\n")
    result = run_cli("up", "--gateway", gateway.url, *flags)
    assert (result.exit_code, gateway.lines) == (2, [])
    assert words in result.stderr
