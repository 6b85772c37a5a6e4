"""The peer of the webhook: the same server and framework, reading the same requests, and doing nothing with them."""

from __future__ import annotations

from http import HTTPStatus

from flask import Response, request

from webhook.answers import answer, make_flask

app = make_flask(__name__)


@app.post("/sns")
def take() -> Response:
    request.get_data(cache=False)
    return answer(HTTPStatus.OK, "stored")


@app.get("/readyz")
def readyz() -> Response:
    return answer(HTTPStatus.OK, "ready")
