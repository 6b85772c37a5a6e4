"""SES's event JSON turned into `Feedback`: the only module that knows SES's field names.

SES has two formats for the same facts, identity notifications (`notificationType`) and configuration-set events
(`eventType`); they share `mail` and the member named after the kind.
https://docs.aws.amazon.com/ses/latest/dg/notification-contents.html
https://docs.aws.amazon.com/ses/latest/dg/event-publishing-retrieving-sns-contents.html
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from gateway import strict_json
from gateway.addresses import reported_address
from gateway.feedback import BounceType, EventKind, Feedback

ATTEMPT_TAG = "sesgate-attempt"
ATTEMPT_HEADER = "X-Sesgate-Attempt"

_ATTEMPT_ID = re.compile(r"[0-9a-f]{32}")
_MESSAGE_ID = re.compile(r"[\x21-\x7e]{1,200}")
_TEST_TYPE = "AmazonSnsSubscriptionSucceeded"
_TEST_TEXT = "Successfully validated SNS topic"  # what SES publishes when an event destination is created; no JSON
_MAX_ADDRESS = 320
_MAX_DIAGNOSTIC = 500
_MAX_WORD = 100


class UnknownEventError(Exception):
    """The message is no SES event that we know; the text is one sentence that says why."""


def parse_event(message: str) -> tuple[Feedback, ...]:
    """What an event says, one `Feedback` a recipient; empty for the messages by which SES tests a topic.

    UnknownEventError for everything else. A bounce or complaint speaks only of the recipients that it names itself,
    never of `mail.destination`, which holds those of the same mail that were fine.
    """
    if message.startswith(_TEST_TEXT):
        return ()
    event = _load(message)
    kind_name = _optional_text(event, "eventType") or _optional_text(event, "notificationType")
    if kind_name == _TEST_TYPE:
        return ()
    kind = _kind(kind_name)
    mail = _member(event, "mail")
    return _READERS.get(kind, _read_whole_mail)(_Event(kind, mail, _detail(event, kind)))


@dataclass(frozen=True, slots=True)
class _Event:
    """An event in pieces: `detail` is the member named after the kind, such as `bounce`."""

    kind: EventKind
    mail: Mapping[str, Any]
    detail: Mapping[str, Any]

    def feedback(self, **about_recipient: Any) -> Feedback:
        return Feedback(
            kind=self.kind,
            ses_message_id=_message_id(self.mail),
            attempt_id=_attempt_id(self.mail),
            occurred_at=_moment(self.detail, self.mail),
            **about_recipient,
        )


def _read_bounce(event: _Event) -> tuple[Feedback, ...]:
    bounce_type = _bounce_type(event.detail)
    return tuple(
        event.feedback(
            address=_address(_text(recipient, "emailAddress")),
            bounce_type=_bounce_type_of_recipient(bounce_type, recipient),
            sub_type=_word(event.detail, "bounceSubType"),
            feedback_id=_word(event.detail, "feedbackId"),
            diagnostic=_printable(_optional_text(recipient, "diagnosticCode"), _MAX_DIAGNOSTIC),
            status_code=_word(recipient, "status"),
        )
        for recipient in _objects(event.detail, "bouncedRecipients")
    )


def _read_complaint(event: _Event) -> tuple[Feedback, ...]:
    return tuple(
        event.feedback(
            address=_address(_text(recipient, "emailAddress")),
            sub_type=_word(event.detail, "complaintSubType"),
            complaint_type=_word(event.detail, "complaintFeedbackType"),
            feedback_id=_word(event.detail, "feedbackId"),
        )
        for recipient in _objects(event.detail, "complainedRecipients")
    )


def _read_delivery(event: _Event) -> tuple[Feedback, ...]:
    response = _printable(_optional_text(event.detail, "smtpResponse"), _MAX_DIAGNOSTIC)
    recipients = _list(event.detail, "recipients")
    if not all(isinstance(recipient, str) for recipient in recipients):
        raise UnknownEventError("The SES event's recipients are not texts.")
    return tuple(event.feedback(address=_address(recipient), diagnostic=response) for recipient in recipients)


def _read_delay(event: _Event) -> tuple[Feedback, ...]:
    return tuple(
        event.feedback(
            address=_address(_text(recipient, "emailAddress")),
            sub_type=_word(event.detail, "delayType"),
            diagnostic=_printable(_optional_text(recipient, "diagnosticCode"), _MAX_DIAGNOSTIC),
            status_code=_word(recipient, "status"),
        )
        for recipient in _objects(event.detail, "delayedRecipients")
    )


def _read_reject(event: _Event) -> tuple[Feedback, ...]:
    return (event.feedback(diagnostic=_printable(_optional_text(event.detail, "reason"), _MAX_DIAGNOSTIC)),)


def _read_rendering_failure(event: _Event) -> tuple[Feedback, ...]:
    return (event.feedback(diagnostic=_printable(_optional_text(event.detail, "errorMessage"), _MAX_DIAGNOSTIC)),)


def _read_whole_mail(event: _Event) -> tuple[Feedback, ...]:
    return (event.feedback(),)


_READERS: dict[EventKind, Callable[[_Event], tuple[Feedback, ...]]] = {
    EventKind.BOUNCE: _read_bounce,
    EventKind.COMPLAINT: _read_complaint,
    EventKind.DELIVERY: _read_delivery,
    EventKind.DELIVERY_DELAY: _read_delay,
    EventKind.REJECT: _read_reject,
    EventKind.RENDERING_FAILURE: _read_rendering_failure,
}

# Where the facts of a kind are, when that is not the kind's own name with a small letter.
_DETAILS = {EventKind.DELIVERY_DELAY: "deliveryDelay", EventKind.RENDERING_FAILURE: "failure"}


def _kind(name: str | None) -> EventKind:
    if name is None:
        raise UnknownEventError("The message has neither an eventType nor a notificationType.")
    try:
        return EventKind(name)
    except ValueError:
        raise UnknownEventError(f"The event type {_printable(name, _MAX_WORD)!r} is not known.") from None


def _detail(event: Mapping[str, Any], kind: EventKind) -> Mapping[str, Any]:
    """The member with the facts; only kinds that name no recipient and bring nothing we need may lack it."""
    name = _DETAILS.get(kind, kind.lower())
    return _member(event, name) if kind in _READERS or event.get(name) is not None else {}


def _bounce_type(bounce: Mapping[str, Any]) -> BounceType:
    name = _text(bounce, "bounceType")
    try:
        return BounceType(name)
    except ValueError:
        raise UnknownEventError(f"The bounce type {_printable(name, _MAX_WORD)!r} is not known.") from None


def _bounce_type_of_recipient(bounce_type: BounceType, recipient: Mapping[str, Any]) -> BounceType:
    """One bounce may name a recipient that failed beside one whose mail is only late (RFC 3464 section 2.3.3)."""
    late = (_optional_text(recipient, "action") or "").casefold() == "delayed"
    return BounceType.TRANSIENT if late and bounce_type is BounceType.PERMANENT else bounce_type


def _message_id(mail: Mapping[str, Any]) -> str:
    message_id = _text(mail, "messageId")
    if not _MESSAGE_ID.fullmatch(message_id):
        raise UnknownEventError("The SES event's mail.messageId is not an identifier.")
    return message_id


def _attempt_id(mail: Mapping[str, Any]) -> str | None:
    """The id that we gave the mail: its tag, or its header where a mail carries no tags."""
    for candidate in (_attempt_tag(mail), _attempt_header(mail)):
        if isinstance(candidate, str) and _ATTEMPT_ID.fullmatch(candidate):
            return candidate
    return None


def _attempt_tag(mail: Mapping[str, Any]) -> object:
    tags = mail.get("tags")
    values = tags.get(ATTEMPT_TAG) if isinstance(tags, dict) else None
    return values[0] if isinstance(values, list) and values else None


def _attempt_header(mail: Mapping[str, Any]) -> object:
    """The first such header: ours is the first line of the mail, before anything that an application wrote."""
    headers = mail.get("headers")
    for header in headers if isinstance(headers, list) else ():
        if not isinstance(header, dict):
            continue
        name, value = header.get("name"), header.get("value")
        if isinstance(name, str) and isinstance(value, str) and name.casefold() == ATTEMPT_HEADER.casefold():
            return value.strip()
    return None


def _moment(detail: Mapping[str, Any], mail: Mapping[str, Any]) -> datetime:
    """When it happened; when the mail was accepted, for the kinds without a time of their own (Send, Reject)."""
    for text in (detail.get("timestamp"), mail.get("timestamp")):
        moment = _parse_time(text) if isinstance(text, str) else None
        if moment is not None:
            return moment
    raise UnknownEventError("The SES event has no readable timestamp.")


def _parse_time(text: str) -> datetime | None:
    """SES writes `…Z`, `+0000`, `-07:00` and no offset at all (UTC then), with and without fractions."""
    try:
        moment = datetime.fromisoformat(text.strip())
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _address(text: str) -> str:
    try:
        address = _printable(reported_address(text), _MAX_ADDRESS)
    except RecursionError:  # the standard library's parser, on comments within comments
        address = None
    if not address:
        raise UnknownEventError("The SES event names a recipient without an address.")
    return address


def _printable(text: str | None, limit: int) -> str | None:
    """At most `limit` printable characters of a text that may come from a stranger's mail server."""
    if text is None:
        return None
    return "".join(c if c.isprintable() else " " for c in text[:limit]).strip()


def _word(members: Mapping[str, Any], name: str) -> str | None:
    return _printable(_optional_text(members, name), _MAX_WORD) or None


def _load(message: str) -> Mapping[str, Any]:
    try:
        event = strict_json.loads(message)
    except strict_json.JsonError as error:
        raise UnknownEventError(f"The message cannot be read as an SES event: {error}.") from None
    if not isinstance(event, dict):
        raise UnknownEventError("The message is JSON, but not an object, so it is no SES event.")
    return event


def _member(members: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = members.get(name)
    if not isinstance(value, dict):
        raise UnknownEventError(f"The SES event's {name} is missing or is not an object.")
    return value


def _optional_text(members: Mapping[str, Any], name: str) -> str | None:
    value = members.get(name)
    if value is not None and not isinstance(value, str):
        raise UnknownEventError(f"The SES event's {name} is not a text.")
    return value


def _text(members: Mapping[str, Any], name: str) -> str:
    value = _optional_text(members, name)
    if not value:
        raise UnknownEventError(f"The SES event's {name} is missing.")
    return value


def _list(members: Mapping[str, Any], name: str) -> list[Any]:
    value = members.get(name)
    if not isinstance(value, list) or not value:
        raise UnknownEventError(f"The SES event's {name} is missing or is not a list of recipients.")
    return value


def _objects(members: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    value = _list(members, name)
    if not all(isinstance(recipient, dict) for recipient in value):
        raise UnknownEventError(f"The SES event's {name} is not a list of objects.")
    return value
