"""Scales functions by Alertmanager's notifications (contract gateway §5.2). Called by `control.alert`, calls the provider.

An alert that names no function, or one that there is not, is nobody's fault: rules about other things may share the receiver.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

import msgspec

from penstock.core.names import check_function_name, check_namespace, split_key
from penstock.core.scalelabels import usable_scaling
from penstock.core.scaling import after_alert
from penstock.errors import FunctionNotFound, InvalidInput, PenstockError
from penstock.model import DEFAULT_NAMESPACE
from penstock.providers.base import Provider

log = logging.getLogger(__name__)


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """What is read of one alert."""

    function: str
    """`name.namespace` or `name`, from the label `function_name`; empty when the alert is about something else."""
    firing: bool
    """Otherwise it is over."""


async def follow_alerts(provider: Provider, alerts: Iterable[Alert]) -> list[PenstockError]:
    """Scale each function that an alert names, one after the other; what went wrong, in the alerts' order."""
    errors = []
    for alert in alerts:
        try:
            await _follow(provider, alert)
        except PenstockError as error:
            errors.append(error)
    return errors


async def _follow(provider: Provider, alert: Alert) -> None:
    """Raises PenstockError when the function could not be scaled."""
    try:
        name, namespace = split_key(alert.function, DEFAULT_NAMESPACE)
        check_function_name(name)
        check_namespace(namespace)
        function = await provider.get(name, namespace)
    except (InvalidInput, FunctionNotFound):
        log.info("an alert names no function that there is: %r", alert.function[:200])
        return
    wanted = after_alert(function.desired, alert.firing, usable_scaling(function.spec.labels)[0])
    if wanted == function.desired:
        return
    await provider.scale(name, namespace, wanted)
    words = "fires" if alert.firing else "is over"
    log.info("%s: an alert %s: %d replicas, not %d", function.key, words, wanted, function.desired)
