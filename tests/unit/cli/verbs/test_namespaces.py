"""`penstock namespaces`, which faas-cli still accepts."""

from __future__ import annotations

from tests.unit.cli.support import ScriptedGateway, answer_json, run_cli


def test_it_is_namespace_list(gateway: ScriptedGateway) -> None:
    gateway.on("GET /system/namespaces", answer_json(["openfaas-fn", "staging"]))
    for flags in ((), ("-j",), ("-g", gateway.url)):
        old, new = run_cli("namespaces", *flags), run_cli("namespace", "list", *flags)
        assert (old.exit_code, old.stdout) == (0, new.stdout)


def test_it_works_without_being_listed() -> None:
    assert "namespaces" not in run_cli("--help").stdout.replace("remove namespaces", "")
    assert "Usage: penstock namespaces" in run_cli("namespaces", "--help").stdout
