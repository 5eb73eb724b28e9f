"""A machine without logins and without a gateway of its own."""

from __future__ import annotations

from tests.commands import bare_machine, gateway

__all__ = ["bare_machine", "gateway"]
