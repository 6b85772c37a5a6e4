"""POST /sns: verified, stored, answered; understood later, by a task.

SNS tries again after a 5xx and gives up after a 4xx, for good: 403 is for what can never become acceptable and 503 for
everything else that went wrong. https://docs.aws.amazon.com/sns/latest/dg/sns-message-delivery-retries.html
"""

from __future__ import annotations

from http import HTTPStatus

from flask import Response, request
from werkzeug.exceptions import ClientDisconnected, HTTPException, RequestEntityTooLarge

from gateway.logs import get_logger
from gateway.sns import AnyMessage
from webhook.answers import answer, later, refused
from webhook.inbox import Inbox, Outcome, Verdict

MAX_BODY = 512 * 1024  # SNS carries 256 KiB, which JSON within JSON makes longer

# Headers by their names in WSGI (PEP 3333): werkzeug looks one that is missing up by way of an exception.
_RAW_DELIVERY = "HTTP_X_AMZ_SNS_RAWDELIVERY"
_MESSAGE_TYPE = "HTTP_X_AMZ_SNS_MESSAGE_TYPE"

log = get_logger(__name__)


class SnsEndpoint:
    """What becomes of a request of SNS, or of somebody who pretends to be SNS."""

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox

    def receive(self) -> Response:
        if request.environ.get(_RAW_DELIVERY, "").casefold() == "true":
            return _refuse(self._inbox.refuse_raw().reason)
        try:
            body = _read_body()
        except RequestEntityTooLarge:
            reason = f"The body is larger than {MAX_BODY} bytes; SNS sends none that large."
            return answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "refused", reason)
        except ClientDisconnected:
            return later("The body did not arrive whole.")
        return self._judge(self._inbox.read(body))

    def _judge(self, read: AnyMessage | Outcome) -> Response:
        if isinstance(read, Outcome):
            return _answer_unread(read)
        if _contradicts_header(read):
            return _refuse("The header x-amz-sns-message-type contradicts the body.")
        outcome = self._inbox.take(read)
        return answer(HTTPStatus.OK, outcome.verdict) if outcome.is_done else later(outcome.reason)


def _read_body() -> bytes:
    """The whole body, or an exception of werkzeug: too large, or broken off."""
    declared = request.content_length
    if declared is None:
        return _read_undeclared()
    if declared > MAX_BODY:
        raise RequestEntityTooLarge
    return _read_declared(declared)


def _read_declared(length: int) -> bytes:
    """What has a length needs none of werkzeug's limits.

    A body that is shorter than it says would be taken for a whole one there, when the server ends the stream, as
    gunicorn does.
    """
    try:
        body: bytes = request.environ["wsgi.input"].read(length)
    except (OSError, ValueError) as error:
        raise ClientDisconnected from error
    if len(body) < length:
        raise ClientDisconnected
    return body


def _read_undeclared() -> bytes:
    """werkzeug cuts it off at its limit and says nothing, so one byte more than allowed is asked for."""
    request.max_content_length = MAX_BODY + 1
    try:
        body = request.get_data(cache=False)
    except HTTPException:
        raise
    except Exception as error:  # the server has exceptions of its own for chunks that are none, and they share no class
        raise ClientDisconnected from error
    if len(body) > MAX_BODY:
        raise RequestEntityTooLarge
    return body


def _contradicts_header(message: AnyMessage) -> bool:
    """The header is not signed and decides nothing; but SNS never contradicts itself."""
    claimed = request.environ.get(_MESSAGE_TYPE)
    return claimed is not None and claimed != type(message).__name__


def _answer_unread(outcome: Outcome) -> Response:
    if outcome.verdict is Verdict.REFUSED:
        return _refuse(outcome.reason)
    log.warning("sns.later", reason=outcome.reason)
    return later(outcome.reason)


def _refuse(reason: str) -> Response:
    log.warning("sns.refused", client=request.remote_addr, reason=reason)
    return refused(reason)
