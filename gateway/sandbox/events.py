"""The JSON of SES's event publishing, as it arrives inside an SNS message.

https://docs.aws.amazon.com/ses/latest/dg/event-publishing-retrieving-sns-contents.html
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from gateway.sandbox import mime
from gateway.sandbox.mime import Header
from gateway.sandbox.simulator import Fate
from gateway.sandbox.times import iso_millis

Json = dict[str, Any]

_MAX_HEADERS: Final = 10 * 1024
_REPORTING_MTA: Final = "a8-31.smtp-out.amazonses.com"
_REMOTE_MTA: Final = "203.0.113.25"  # TEST-NET-3 (RFC 5737): nobody's.
_PROCESSING: Final = timedelta(milliseconds=500)


@dataclass(frozen=True)
class Accepted:
    """A message that SES took, as far as its events tell of it."""

    message_id: str
    accepted_at: datetime
    account_id: str
    region: str
    source: str
    identity: str
    source_ip: str
    operation: str
    recipients: tuple[str, ...]
    fields: tuple[Header, ...] = field(repr=False)
    configuration_set: str | None
    tags: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Event:
    """`after` is how long after the acceptance it is published, in seconds."""

    kind: str
    body: Json
    after: float = 0.0

    def message(self) -> str:
        """The text of the SNS message: SES ends it with a line feed, which the signature covers."""
        return json.dumps(self.body, separators=(",", ":"), ensure_ascii=False) + "\n"


def of(accepted: Accepted, fates: dict[Fate, list[str]]) -> list[Event]:
    """Everything that SES reports about this mail, in the order in which it happens."""
    mail = _mail(accepted)
    events = [Event("Send", {"eventType": "Send", "mail": mail, "send": {}})]
    delivered = [who for fate in _DELIVERED for who in fates.get(fate, [])]
    if delivered:
        events.append(_delivery(accepted, mail, delivered))
    events += [_AFTERWARDS[fate](accepted, mail, fates[fate]) for fate in Fate if fate in fates.keys() & _AFTERWARDS]
    return events


def rejection(accepted: Accepted) -> Event:
    """What becomes of a mail with a virus: accepted, and never attempted."""
    return Event("Reject", {"eventType": "Reject", "mail": _mail(accepted), "reject": {"reason": "Bad content"}})


_DELIVERED: Final = (Fate.DELIVERED, Fate.OUT_OF_OFFICE, Fate.COMPLAINED)


def _mail(accepted: Accepted) -> Json:
    listed, truncated = _listed(accepted.fields)
    return {
        "timestamp": iso_millis(accepted.accepted_at),
        "source": accepted.source,
        "sourceArn": f"arn:aws:ses:{accepted.region}:{accepted.account_id}:identity/{accepted.identity}",
        "sendingAccountId": accepted.account_id,
        "messageId": accepted.message_id,
        "destination": list(accepted.recipients),
        "headersTruncated": truncated,
        "headers": listed,
        "commonHeaders": _common_headers(accepted),
        "tags": _tags(accepted),
    }


def _listed(fields: Iterable[Header]) -> tuple[list[Json], bool]:
    """The headers up to 10 KB, and whether there were more."""
    listed: list[Json] = []
    room = _MAX_HEADERS
    for header in fields:
        room -= len(header.name) + len(header.value) + len(": \r\n")
        if room < 0:
            break
        listed.append({"name": header.name, "value": header.value})
    return listed, room < 0


_ADDRESS_FIELDS: Final = (("from", "From"), ("replyTo", "Reply-To"), ("to", "To"), ("cc", "Cc"), ("bcc", "Bcc"))
_TEXT_FIELDS: Final = (("sender", "Sender"), ("returnPath", "Return-Path"), ("date", "Date"), ("subject", "Subject"))


def _common_headers(accepted: Accepted) -> Json:
    common: Json = {}
    for key, name in _ADDRESS_FIELDS:
        if (value := mime.first(accepted.fields, name)) is not None:
            common[key] = [mime.decoded(part) for part in mime.split_addresses(value)]
    for key, name in _TEXT_FIELDS:
        if (value := mime.first(accepted.fields, name)) is not None:
            common[key] = mime.decoded(value)
    common["messageId"] = mime.first(accepted.fields, "Message-ID") or accepted.message_id
    return common


def _tags(accepted: Accepted) -> dict[str, list[str]]:
    tags = {
        "ses:operation": [accepted.operation],
        "ses:configuration-set": [accepted.configuration_set or ""],
        "ses:source-ip": [accepted.source_ip],
        "ses:from-domain": [mime.mailbox(accepted.source).rpartition("@")[2]],
        "ses:caller-identity": ["sandbox"],
    }
    for name, value in accepted.tags:
        tags.setdefault(name, []).append(value)
    return tags


def _delivery(accepted: Accepted, mail: Json, recipients: Sequence[str]) -> Event:
    body = {
        "eventType": "Delivery",
        "mail": mail | {"tags": mail["tags"] | {"ses:outgoing-ip": ["198.51.100.31"]}},
        "delivery": {
            "timestamp": iso_millis(accepted.accepted_at + _PROCESSING),
            "processingTimeMillis": _PROCESSING // timedelta(milliseconds=1),
            "recipients": list(recipients),
            "smtpResponse": "250 2.6.0 Message received",
            "reportingMTA": _REPORTING_MTA,
        },
    }
    return Event("Delivery", body, after=0.02)


def _bounce(
    accepted: Accepted,
    mail: Json,
    *,
    kind: str,
    subtype: str,
    recipients: list[Json],
    after: float,
    reporting: bool = True,
) -> Event:
    bounce: Json = {
        "feedbackId": _feedback_id(accepted),
        "bounceType": kind,
        "bounceSubType": subtype,
        "bouncedRecipients": recipients,
        "timestamp": iso_millis(accepted.accepted_at + _PROCESSING),
    }
    if reporting:
        bounce["reportingMTA"] = f"dns; {_REPORTING_MTA}"
    return Event("Bounce", {"eventType": "Bounce", "mail": mail, "bounce": bounce}, after)


def _user_unknown(accepted: Accepted, mail: Json, recipients: list[str]) -> Event:
    diagnostic = "smtp; 550 5.1.1 user unknown"
    listed = [
        {"emailAddress": who, "action": "failed", "status": "5.1.1", "diagnosticCode": diagnostic} for who in recipients
    ]
    return _bounce(accepted, mail, kind="Permanent", subtype="General", recipients=listed, after=0.02)


def _globally_suppressed(accepted: Accepted, mail: Json, recipients: list[str]) -> Event:
    diagnostic = (
        "Amazon SES has suppressed sending to this address because it has a recent history of bouncing as an invalid "
        "address. For more information about how to remove an address from the suppression list, see the Amazon SES "
        "Developer Guide."
    )
    listed = [
        {"emailAddress": who, "action": "failed", "status": "5.1.1", "diagnosticCode": diagnostic} for who in recipients
    ]
    return _bounce(accepted, mail, kind="Permanent", subtype="Suppressed", recipients=listed, after=0.02)


def _account_bounce(accepted: Accepted, mail: Json, recipients: list[str]) -> Event:
    diagnostic = (
        "Amazon SES did not send the message to this address because it is on the suppression list for your account."
    )
    listed = [
        {"emailAddress": who, "action": "failed", "status": "5.1.1", "diagnosticCode": diagnostic} for who in recipients
    ]
    return _bounce(accepted, mail, kind="Permanent", subtype="OnAccountSuppressionList", recipients=listed, after=0.02)


def _auto_reply(accepted: Accepted, mail: Json, recipients: list[str]) -> Event:
    listed: list[Json] = [
        {"emailAddress": who} for who in recipients
    ]  # An auto-reply is no DSN: nothing more is known.
    return _bounce(accepted, mail, kind="Transient", subtype="General", recipients=listed, after=0.04, reporting=False)


def _complaint(accepted: Accepted, mail: Json, recipients: list[str], subtype: str | None) -> Json:
    return {
        "eventType": "Complaint",
        "mail": mail,
        "complaint": {
            "feedbackId": _feedback_id(accepted),
            "complaintSubType": subtype,
            "complainedRecipients": [{"emailAddress": who} for who in recipients],
            "timestamp": iso_millis(accepted.accepted_at + 2 * _PROCESSING),
        },
    }


def _abuse(accepted: Accepted, mail: Json, recipients: list[str]) -> Event:
    body = _complaint(accepted, mail, recipients, None)
    body["complaint"] |= {
        "userAgent": "Amazon SES Mailbox Simulator",
        "complaintFeedbackType": "abuse",
        "arrivalDate": iso_millis(accepted.accepted_at + 2 * _PROCESSING),
    }
    return Event("Complaint", body, after=0.04)


def _account_complaint(accepted: Accepted, mail: Json, recipients: list[str]) -> Event:
    return Event("Complaint", _complaint(accepted, mail, recipients, "OnAccountSuppressionList"), after=0.02)


def _feedback_id(accepted: Accepted) -> str:
    return f"{accepted.message_id[:16]}-{uuid.uuid4()}-000000"


_AFTERWARDS: Final = {
    Fate.BOUNCED: _user_unknown,
    Fate.OUT_OF_OFFICE: _auto_reply,
    Fate.COMPLAINED: _abuse,
    Fate.GLOBALLY_SUPPRESSED: _globally_suppressed,
    Fate.ACCOUNT_BOUNCE: _account_bounce,
    Fate.ACCOUNT_COMPLAINT: _account_complaint,
}
