"""The operator's web application: what a monitor reads. Never to be reached from the internet."""

from __future__ import annotations

from http import HTTPStatus
from ipaddress import ip_address
from typing import Protocol

from flask import Flask, Response, request

from gateway.logs import get_logger
from gateway.metrics import CONTENT_TYPE, Gauges, exposition
from gateway.store.errors import StoreError
from webhook.answers import answer, later, make_flask, refused

log = get_logger(__name__)


class Reports(Protocol):
    def gauges(self) -> Gauges:
        """StoreError when the database cannot be asked."""


def create_app(*, reports: Reports, listen_host: str) -> Flask:
    app = make_flask(__name__)

    @app.before_request
    def check_host() -> Response | None:
        """A page on the internet can point its own name at this address and read answers (DNS rebinding)."""
        if is_own_host(request.headers.get("Host"), listen_host):
            return None
        return refused("The Host header names another server; use the address that SESGATE_ADMIN_LISTEN has.")

    @app.get("/healthz")
    def healthz() -> Response:
        return answer(HTTPStatus.OK, "alive")

    @app.get("/metrics")
    def metrics() -> Response:
        try:
            gauges = reports.gauges()
        except StoreError as error:
            log.warning("metrics.not_read", reason=str(error))
            return later("The database cannot be asked.")
        return Response(exposition(gauges), content_type=CONTENT_TYPE)

    return app


def is_own_host(host: str | None, listen_host: str) -> bool:
    """Whether a Host header was typed by somebody who meant us.

    Any IP address will do, for rebinding needs a name; so will `localhost` and the name that we listen on. A client
    that sends no Host is no browser.
    """
    if host is None:
        return True
    name = _without_port(host).casefold()
    return name in {"localhost", listen_host.casefold()} or _is_address(name)


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
