"""Which labels of ours a function may carry, so that a mistyped one is refused instead of having no effect.

Called where a provider checks a specification. Values are read, and judged, by whoever honours the label; foreign labels are
not looked at.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping

from penstock.core.policy import (
    BUCKETS_LABEL,
    MAX_INFLIGHT_LABEL,
    QUEUE_LENGTH_LABEL,
    QUEUE_TIMEOUT_LABEL,
    TIMEOUT_LABEL,
)
from penstock.core.scalelabels import HPA_LABEL, OWN_ZERO_AFTER_LABEL, QUERY_LABEL
from penstock.errors import InvalidInput

PREFIX = "com.penstock."

KNOWN = frozenset(
    {
        TIMEOUT_LABEL,
        MAX_INFLIGHT_LABEL,
        QUEUE_LENGTH_LABEL,
        QUEUE_TIMEOUT_LABEL,
        BUCKETS_LABEL,
        "com.penstock.allow-new-privileges",
        "com.penstock.capabilities",
        "com.penstock.http-port",
        HPA_LABEL,
        "com.penstock.kubernetes.user",
        "com.penstock.limit.cpu-seconds",
        "com.penstock.limit.open-files",
        "com.penstock.limit.processes",
        "com.penstock.logs.max-bytes",
        OWN_ZERO_AFTER_LABEL,
        QUERY_LABEL,
        "com.penstock.watchdog",
        "com.penstock.zero",
    }
)
"""What a function can say; docs/reference/labels.md has each of them."""


def check_labels(labels: Mapping[str, str]) -> None:
    """Raises InvalidInput for a label of ours that functions do not have, with the one that may have been meant. Those that
    providers write are among them: a function that carried them could pass for another's container."""
    for name in labels:
        if name.lower().startswith(PREFIX) and name not in KNOWN:
            raise InvalidInput(f"labels: functions have no label {name[:200]!r}; {_advice(name)}")


def _advice(name: str) -> str:
    words = {label.removeprefix(PREFIX): label for label in sorted(KNOWN)}
    near = difflib.get_close_matches(name[len(PREFIX) : 200].lower(), words, n=1)
    return f"did you mean {words[near[0]]}?" if near else f"there are {', '.join(words.values())}"
