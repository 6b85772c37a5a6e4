"""What becomes of an envelope of SNS, whichever way it came: verified, stored, and only then said to be done."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from gateway import strict_json
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
from webhook.confirm import Confirm, ConfirmError
from webhook.heard import Seen

RAW_DELIVERY = (
    "Raw message delivery leaves out the signature, so nothing of it can be trusted. Switch it off: "
    "aws sns set-subscription-attributes --subscription-arn ARN "
    "--attribute-name RawMessageDelivery --attribute-value false"
)

_NOT_CONFIRMED = "The subscription could not be confirmed now; the log has the reason."

log = get_logger(__name__)


class NotificationStore(Protocol):
    def store_all(self, notifications: Sequence[NewNotification]) -> list[int | StoreError | None]:
        """For each its id after the commit, None when it was stored before, or why it is not stored."""


class Verdict(StrEnum):
    """What became of an envelope; whoever brought it needs not come again after the first four."""

    STORED = "stored"
    KNOWN = "known"
    CONFIRMED = "confirmed"
    NOTED = "noted"
    LATER = "later"  # cannot be judged or confirmed now
    NOT_STORED = "not stored"  # it is good, and the database cannot take it now
    REFUSED = "refused"  # never


_DONE = frozenset({Verdict.STORED, Verdict.KNOWN, Verdict.CONFIRMED, Verdict.NOTED})


@dataclass(frozen=True, slots=True)
class Outcome:
    """A verdict, and one sentence for whoever brought the envelope if it is not done."""

    verdict: Verdict
    reason: str = ""

    @property
    def is_done(self) -> bool:
        return self.verdict in _DONE


class Inbox:
    """Takes envelopes that the webhook or the queue was given.

    `hint` and `hear` must not block; `hint` gets the id of each new notification after its commit, `hear` what kind of
    thing was seen (see `webhook.heard`), of which topic, and why it was not taken. `tell` gets what is to be logged of
    each notification that was taken, for `log_taken`.
    """

    def __init__(
        self,
        verifier: Verifier,
        notifications: NotificationStore,
        confirm: Confirm,
        hint: Callable[[int], None],
        hear: Callable[[Seen, str, str], None] = lambda _seen, _topic, _reason: None,
        tell: Callable[[Mapping[str, object]], None] = lambda fields: log_taken((fields,)),
    ) -> None:
        self._verifier = verifier
        self._notifications = notifications
        self._confirm = confirm
        self._hint = hint
        self._hear = hear
        self._tell = tell

    def refuse_raw(self) -> Outcome:
        """What becomes of a message that says of itself that it has no envelope."""
        self._hear(Seen.REFUSED, "", RAW_DELIVERY)
        return Outcome(Verdict.REFUSED, RAW_DELIVERY)

    def read(self, body: bytes) -> AnyMessage | Outcome:
        """The message in a body, once it is sure to be genuine; else LATER or REFUSED."""
        try:
            return self._verifier.verify(body)
        except (MalformedError, ForgedError) as error:
            if _is_raw(body):
                return self.refuse_raw()
            if error.topic:  # what strangers send is mostly no envelope, and nothing to tell of
                self._hear(Seen.REFUSED, error.topic, str(error))
            return Outcome(Verdict.REFUSED, str(error))
        except TryLaterError as error:
            self._hear(Seen.LATER, error.topic, str(error))
            return Outcome(Verdict.LATER, str(error))

    def read_and_take_all(self, bodies: Sequence[bytes]) -> list[Outcome]:
        """What becomes of each body; an error that nobody thought of is told of one, and harms no other."""
        read = [self._read_safely(body) for body in bodies]
        taken = iter(self.take_all([message for message in read if not isinstance(message, Outcome)]))
        return [message if isinstance(message, Outcome) else next(taken) for message in read]

    def _read_safely(self, body: bytes) -> AnyMessage | Outcome:
        try:
            return self.read(body)
        except Exception:
            log.exception("sns.not_read")
            return Outcome(Verdict.LATER, "Something unforeseen went wrong here; the log has it.")

    def take(self, message: AnyMessage) -> Outcome:
        """What becomes of one message."""
        return self._store([message])[0] if isinstance(message, Notification) else self._take_confirmation(message)

    def take_all(self, messages: Sequence[AnyMessage]) -> list[Outcome]:
        """What becomes of each message; the notifications among them share one commit."""
        notifications = [message for message in messages if isinstance(message, Notification)]
        stored = iter(self._store(notifications))
        return [
            next(stored) if isinstance(message, Notification) else self._take_confirmation(message)
            for message in messages
        ]

    def _store(self, messages: Sequence[Notification]) -> list[Outcome]:
        if not messages:
            return []
        new = [
            NewNotification(message.message_id, message.topic.arn, message.message, message.sent_at)
            for message in messages
        ]
        results = self._notifications.store_all(new)
        return [self._settle(message, result) for message, result in zip(messages, results, strict=True)]

    def _settle(self, message: Notification, stored: int | StoreError | None) -> Outcome:
        named = {"sns_message_id": message.message_id, "topic": message.topic.arn}
        if isinstance(stored, StoreError):
            log.warning("sns.not_stored", reason=str(stored), **named)
            self._hear(Seen.LATER, message.topic.arn, str(stored))
            return Outcome(Verdict.NOT_STORED, "The database cannot take the notification.")
        self._tell({"notification_id": stored, "known": stored is None, **named})
        self._hear(Seen.NOTIFICATION, message.topic.arn, "")
        if stored is None:
            return Outcome(Verdict.KNOWN)
        self._offer_hint(stored)
        return Outcome(Verdict.STORED)

    def _offer_hint(self, stored_id: int) -> None:
        try:
            self._hint(stored_id)
        except Exception:
            # It is stored, so it stays done, and the dispatcher finds it without a hint.
            log.exception("sns.hint_failed", notification_id=stored_id)

    def _take_confirmation(self, message: SubscriptionConfirmation | UnsubscribeConfirmation) -> Outcome:
        if isinstance(message, UnsubscribeConfirmation):
            self._hear(Seen.UNSUBSCRIBED, message.topic.arn, "")
            return _note_unsubscription(message)
        try:
            self._confirm(message)
        except ConfirmError as error:
            log.warning("sns.not_confirmed", topic=message.topic.arn, reason=str(error))
            self._hear(Seen.NOT_CONFIRMED, message.topic.arn, str(error))
            return Outcome(Verdict.LATER, _NOT_CONFIRMED)
        except Exception:
            log.exception("sns.not_confirmed", topic=message.topic.arn)
            return Outcome(Verdict.LATER, _NOT_CONFIRMED)
        log.info("sns.confirmed", topic=message.topic.arn)
        self._hear(Seen.CONFIRMED, message.topic.arn, "")
        return Outcome(Verdict.CONFIRMED)


def log_taken(notifications: Sequence[Mapping[str, object]]) -> None:
    """A line for each notification, with these fields."""
    for fields in notifications:
        log.info("sns.notification", **fields)


def _is_raw(body: bytes) -> bool:
    """Whether it looks like what SES has to say, without the envelope of SNS around it."""
    try:
        event = strict_json.loads(body.decode())
    except ValueError:  # no UTF-8, or no JSON
        return False
    return isinstance(event, dict) and "mail" in event and not {"eventType", "notificationType"}.isdisjoint(event)


def _note_unsubscription(message: UnsubscribeConfirmation) -> Outcome:
    """Nobody here asked for it: without this subscription no bounce or complaint arrives any more."""
    log.warning(
        "sns.unsubscribed",
        topic=message.topic.arn,
        action="Subscribe this gateway's /sns or its queue to the topic again if it was not meant to be removed.",
    )
    return Outcome(Verdict.NOTED)
