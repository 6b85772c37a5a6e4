"""POST /sns: verified, stored, answered; understood later, by a task.

SNS tries again after a 5xx and gives up after a 4xx, for good: 403 is for what can never become acceptable and 503 for
everything else that went wrong. https://docs.aws.amazon.com/sns/latest/dg/sns-message-delivery-retries.html
"""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Protocol

from flask import Response, request
from werkzeug.exceptions import ClientDisconnected, RequestEntityTooLarge

from gateway.logs import get_logger
from gateway.sns import (
    AnyMessage,
    ForgedError,
    MalformedError,
    Notification,
    SubscriptionConfirmation,
    TryLaterError,
    UnsubscribeConfirmation,
    Verifier,
)
from gateway.store.errors import StoreError
from gateway.store.notifications import NewNotification
from webhook.answers import answer, later, refused
from webhook.confirm import Confirm, ConfirmError

MAX_BODY = 512 * 1024  # SNS carries 256 KiB, which JSON within JSON makes longer

_RAW_DELIVERY = (
    "Raw message delivery leaves out the signature, so nothing of it can be trusted. Switch it off: "
    "aws sns set-subscription-attributes --subscription-arn ARN "
    "--attribute-name RawMessageDelivery --attribute-value false"
)

log = get_logger(__name__)


class NotificationStore(Protocol):
    def store(self, notification: NewNotification) -> int | None:
        """Its id after the commit, None when it was stored before; StoreError when it is not stored."""


class SnsEndpoint:
    """What becomes of a request of SNS, or of somebody who pretends to be SNS."""

    def __init__(
        self, verifier: Verifier, notifications: NotificationStore, confirm: Confirm, hint: Callable[[int], None]
    ) -> None:
        self._verifier = verifier
        self._notifications = notifications
        self._confirm = confirm
        self._hint = hint

    def receive(self) -> Response:
        if request.headers.get("x-amz-sns-rawdelivery", "").casefold() == "true":
            return _refuse(_RAW_DELIVERY)
        try:
            message = self._verifier.verify(_read_body())
            _check_header(message)
        except (MalformedError, ForgedError) as error:
            return _refuse(str(error))
        except TryLaterError as error:
            log.warning("sns.later", reason=str(error))
            return later(str(error))
        except RequestEntityTooLarge:
            reason = f"The body is larger than {MAX_BODY} bytes; SNS sends none that large."
            return answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "refused", reason)
        except ClientDisconnected:
            return later("The body did not arrive whole.")
        return self._take(message)

    def _take(self, message: AnyMessage) -> Response:
        match message:
            case Notification():
                return self._store(message)
            case SubscriptionConfirmation():
                return self._confirm_subscription(message)
            case UnsubscribeConfirmation():
                return _note_unsubscription(message)

    def _store(self, message: Notification) -> Response:
        arn, message_id = message.topic.arn, message.message_id
        notification = NewNotification(message_id, arn, message.message, message.sent_at)
        try:
            stored_id = self._notifications.store(notification)
        except StoreError as error:
            log.warning("sns.not_stored", sns_message_id=message_id, topic=arn, reason=str(error))
            return later("The database cannot take the notification.")
        log.info(
            "sns.notification",
            notification_id=stored_id,
            sns_message_id=message_id,
            topic=arn,
            known=stored_id is None,
        )
        if stored_id is None:
            return answer(HTTPStatus.OK, "known")
        self._offer_hint(stored_id)
        return answer(HTTPStatus.OK, "stored")

    def _offer_hint(self, stored_id: int) -> None:
        try:
            self._hint(stored_id)
        except Exception:
            # It is stored, so the answer stays 200, and the dispatcher finds it without a hint.
            log.exception("sns.hint_failed", notification_id=stored_id)

    def _confirm_subscription(self, message: SubscriptionConfirmation) -> Response:
        try:
            self._confirm(message)
        except ConfirmError as error:
            log.warning("sns.not_confirmed", topic=message.topic.arn, reason=str(error))
            return later("The subscription could not be confirmed now; the log has the reason.")
        log.info("sns.confirmed", topic=message.topic.arn)
        return answer(HTTPStatus.OK, "confirmed")


def _read_body() -> bytes:
    """The whole body, or an exception of werkzeug: too large, or broken off.

    werkzeug cuts a body without a length off at its limit and says nothing, so one byte more than allowed is asked for;
    and it takes a body that is shorter than it says for a whole one when the server ends the stream, as gunicorn does.
    """
    declared = request.content_length
    if declared is not None and declared > MAX_BODY:
        raise RequestEntityTooLarge
    request.max_content_length = MAX_BODY + 1
    body = request.get_data(cache=False)
    if len(body) > MAX_BODY:
        raise RequestEntityTooLarge
    if declared is not None and len(body) < declared:
        raise ClientDisconnected
    return body


def _check_header(message: AnyMessage) -> None:
    """The header is not signed and decides nothing; but SNS never contradicts itself."""
    claimed = request.headers.get("x-amz-sns-message-type")
    if claimed is not None and claimed != type(message).__name__:
        raise MalformedError("The header x-amz-sns-message-type contradicts the body.")


def _refuse(reason: str) -> Response:
    log.warning("sns.refused", client=request.remote_addr, reason=reason)
    return refused(reason)


def _note_unsubscription(message: UnsubscribeConfirmation) -> Response:
    """Nobody here asked for it: without this subscription no bounce or complaint arrives any more."""
    log.warning(
        "sns.unsubscribed",
        topic=message.topic.arn,
        action="Subscribe this gateway's /sns to the topic again if it was not meant to be removed.",
    )
    return answer(HTTPStatus.OK, "noted")
