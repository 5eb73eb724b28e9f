"""`/system/info`: who runs here, for `version` commands (contract gateway §1.3)."""

from __future__ import annotations

import json
import platform
from importlib import metadata

from starlette.requests import Request
from starlette.responses import Response

import penstock
from penstock.control.request import json_answer
from penstock.providers.base import Provider

UNKNOWN_COMMIT = "unknown"


class Info:
    """Handler of the info resource. Clients crash on a null provider or an empty release: neither is ever sent."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider
        self._version = {
            "commit_message": "see the change log",
            "sha": installed_commit(),
            "release": penstock.__version__,
        }

    async def get(self, request: Request) -> Response:
        info = self._provider.info()
        provider = {
            "provider": f"penstock-{info.provider.removeprefix('penstock-')}",
            "version": {"sha": self._version["sha"], "release": info.release or penstock.__version__},
            "orchestration": info.orchestration,
        }
        return json_answer({"provider": provider, "version": self._version, "arch": platform.machine()})


def installed_commit() -> str:
    """The commit that pip installed from, if it recorded one (PEP 610); otherwise `unknown`."""
    try:
        record = metadata.distribution("penstock").read_text("direct_url.json")
    except metadata.PackageNotFoundError:
        return UNKNOWN_COMMIT
    origin = json.loads(record or "{}").get("vcs_info", {})
    return str(origin.get("commit_id", UNKNOWN_COMMIT))
