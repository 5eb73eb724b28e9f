"""Alertmanager's notifications: which function an alert is about (contract gateway §5.2). The scaler follows them.

An alert that names no function, or one that there is not, is nobody's fault: rules about other things may share the receiver.
"""

from __future__ import annotations

import logging

import msgspec

from penstock.core.names import check_function_name, check_namespace, split_key
from penstock.errors import FunctionNotFound, InvalidInput
from penstock.model import DEFAULT_NAMESPACE, Function
from penstock.providers.base import Provider

log = logging.getLogger(__name__)


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """What is read of one alert."""

    function: str
    """`name.namespace` or `name`, from the label `function_name`; empty when the alert is about something else."""
    firing: bool
    """Otherwise it is over."""


async def read_alert(provider: Provider, alert: Alert) -> Function | str:
    """The function that an alert names, or the key of one that there is not, cut where it is no name."""
    key = alert.function[:200]
    try:
        name, namespace = split_key(alert.function, DEFAULT_NAMESPACE)
        check_function_name(name)
        check_namespace(namespace)
        key = f"{name}.{namespace}"
        return await provider.get(name, namespace)
    except (InvalidInput, FunctionNotFound):
        log.info("an alert names no function that there is: %r", alert.function[:200])
        return key
