"""`/system/alert`: takes the notifications of Prometheus' Alertmanager (contract gateway §1.3 and §5.2)."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from penstock.autoscaler.alerts import Alert
from penstock.autoscaler.scaler import Scaler
from penstock.control.decode import JsonObject
from penstock.control.request import read_body
from penstock.errors import InvalidInput


class Alerts:
    """Handler of the alert resource; its answers are the original's to the byte."""

    def __init__(self, scaler: Scaler) -> None:
        self._scaler = scaler

    async def notify(self, request: Request) -> Response:
        body = await read_body(request)
        if not body:
            return _text(400, "A body is required for this endpoint")
        try:
            alerts = [_alert(one) for one in JsonObject.parse(body).children("alerts")]
        except InvalidInput:
            return _text(400, "Unable to parse alert, bad format.")
        errors = await self._scaler.follow(alerts)
        if errors:
            return _text(500, "".join(f"[{index}] {error}\n" for index, error in enumerate(errors)))
        return Response(status_code=200)


def _alert(one: JsonObject) -> Alert:
    return Alert(function=one.child("labels").text("function_name"), firing=one.text("status") == "firing")


def _text(status: int, text: str) -> Response:
    return Response(text, status, media_type="text/plain")
