"""Named pipelines: what their stages mean, and whether a set of pipelines can be run at all.

A named pipeline is a function whose specification has stages. Checked here when one is deployed; the feed asks for the stages
with their namespaces before it tells the gateway.
"""

from __future__ import annotations

from penstock.core.pipelinetarget import split_stage


def resolve_stage(text: str, namespace: str) -> str:
    """A stage's text with its namespace: the one it names, else that of its pipeline."""
    name, rest = split_stage(text)
    return text if "." in name else f"{name}.{namespace}{rest}"
