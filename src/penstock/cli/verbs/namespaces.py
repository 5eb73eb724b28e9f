"""`penstock namespaces`: `penstock namespace list` under the name that faas-cli once had for it (contract watchdog-cli §4.1)."""

from __future__ import annotations

from penstock.cli.commands import Verb
from penstock.cli.verbs.namespace import list_

command = Verb("namespaces", params=list_.params, callback=list_.callback, help=list_.help, hidden=True)
