"""HTTP answers: a status with a reason, as JSON, whatever happens."""

from __future__ import annotations

from http import HTTPStatus

from flask import Flask, Response, jsonify
from werkzeug.exceptions import HTTPException

from gateway.logs import get_logger

RETRY_AFTER = 20  # seconds; the pause that SNS makes by itself unless the topic has a delivery policy

_REASONS = {
    404: "There is nothing at this path.",
    405: "This path does not answer this method.",
}

log = get_logger(__name__)


def answer(code: HTTPStatus, status: str, reason: str | None = None) -> Response:
    """`{"status": …, "reason": …}`; 503 says when to come again."""
    response = jsonify({"status": status} if reason is None else {"status": status, "reason": reason})
    response.status_code = code
    if code == HTTPStatus.SERVICE_UNAVAILABLE:
        response.headers["Retry-After"] = str(RETRY_AFTER)
    return response


def later(reason: str) -> Response:
    return answer(HTTPStatus.SERVICE_UNAVAILABLE, "later", reason)


def refused(reason: str) -> Response:
    return answer(HTTPStatus.FORBIDDEN, "refused", reason)


def make_flask(name: str) -> Flask:
    """A Flask application without files and redirects, in which no exception and no HTML reaches a client."""
    app = Flask(name, static_folder=None, template_folder=None)
    # SNS takes a redirect for a failure, so `//sns` is simply not found.
    app.url_map.merge_slashes = False
    app.url_map.redirect_defaults = False
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _unforeseen)
    return app


def _http_error(error: HTTPException) -> Response:
    code = HTTPStatus(error.code or 500)
    response = answer(code, "refused", _REASONS.get(code, f"{code.phrase}."))
    for name, value in error.get_headers():
        if name == "Allow":
            response.headers[name] = value
    return response


def _unforeseen(error: Exception) -> Response:
    log.error("webhook.failed", exc_info=error)
    return later("Something unforeseen went wrong here; the log has it.")
