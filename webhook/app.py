"""The public web application: SNS's way in, and two questions for a load balancer."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus

from flask import Flask, Response

from gateway.logs import get_logger
from gateway.store.errors import StoreError
from webhook.answers import answer, later, make_flask
from webhook.inbox import Inbox
from webhook.notifications import SnsEndpoint

log = get_logger(__name__)


def create_app(*, inbox: Inbox, ask_database: Callable[[], object]) -> Flask:
    """Put together what was made elsewhere. `ask_database` raises StoreError while the database cannot be asked."""
    app = make_flask(__name__)
    app.add_url_rule("/sns", "sns", SnsEndpoint(inbox).receive, methods=["POST"])

    @app.get("/healthz")
    def healthz() -> Response:
        return answer(HTTPStatus.OK, "alive")

    @app.get("/readyz")
    def readyz() -> Response:
        """Only the database: without a broker feedback is still stored, so SNS must still be let in."""
        try:
            ask_database()
        except StoreError as error:
            log.warning("webhook.not_ready", reason=str(error))
            return later("The database cannot be asked.")
        return answer(HTTPStatus.OK, "ready")

    return app
