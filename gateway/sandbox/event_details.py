"""The part of an SES event that is about what happened: `bounce`, `complaint`, `delivery` and so on.

https://docs.aws.amazon.com/ses/latest/dg/event-publishing-retrieving-sns-contents.html
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from gateway.sandbox.happenings import Happening
from gateway.sandbox.times import iso_millis

Json = dict[str, Any]

PROCESSING: Final = timedelta(milliseconds=20)
"""How long each step takes, as the events tell it: no longer than it does, so that no event comes from the future."""

_REPORTING_MTA: Final = "a8-31.smtp-out.amazonses.com"
_REMOTE_MTA: Final = "203.0.113.25"  # TEST-NET-3 (RFC 5737): nobody's.
_BROWSER: Final = "Mozilla/5.0 (sandbox)"
_RETRIED_FOR: Final = timedelta(hours=14)

_ON_GLOBAL_LIST: Final = (
    "Amazon SES has suppressed sending to this address because it has a recent history of bouncing as an invalid "
    "address. For more information about how to remove an address from the suppression list, see the Amazon SES "
    "Developer Guide."
)
_ON_ACCOUNT_LIST: Final = (
    "Amazon SES did not send the message to this address because it is on the suppression list for your account."
)
_ON_TENANT_LIST: Final = (
    "Amazon SES did not send the message to this address because it is on the suppression list for your tenant."
)
_REPORTS: Final[Mapping[tuple[str, str], tuple[str, str]]] = {
    ("Permanent", "General"): ("5.1.1", "smtp; 550 5.1.1 user unknown"),
    ("Permanent", "NoEmail"): ("5.1.1", "smtp; 550 5.1.1 no mailbox here by that name"),
    ("Permanent", "Suppressed"): ("5.1.1", _ON_GLOBAL_LIST),
    ("Permanent", "OnAccountSuppressionList"): ("5.1.1", _ON_ACCOUNT_LIST),
    ("Permanent", "OnTenantSuppressionList"): ("5.1.1", _ON_TENANT_LIST),
    ("Permanent", "EmailValidationSuppressed"): ("5.1.1", "Amazon SES expects mail to this address to bounce."),
    ("Permanent", "UnsubscribedRecipient"): ("5.7.1", "The contact has opted out of this list."),
    ("Transient", "General"): ("4.4.7", "smtp; 554 4.4.7 Message expired: unable to deliver in 840 minutes."),
    ("Transient", "MailboxFull"): ("5.2.2", "smtp; 552 5.2.2 mailbox full"),
    ("Transient", "MessageTooLarge"): ("5.3.4", "smtp; 552 5.3.4 message too big for this system"),
    ("Transient", "ContentRejected"): ("5.6.0", "smtp; 554 5.6.0 content rejected"),
    ("Transient", "AttachmentRejected"): ("5.7.0", "smtp; 552 5.7.0 attachments of this type are blocked"),
    ("Transient", "CustomTimeoutExceeded"): ("4.4.7", "smtp; 554 4.4.7 Message expired: its delivery time is over."),
}
"""Status and diagnostic code of each bounce that comes as a delivery status notification; the others are no DSN."""


@dataclass(frozen=True)
class Occasion:
    """When it happened, to which recipients of which mail. `auto_reply`: it is no report, but somebody's answer."""

    message_id: str
    at: datetime
    recipients: tuple[str, ...]
    auto_reply: bool = False

    @property
    def feedback_id(self) -> str:
        """A new one each time it is asked for."""
        return f"{self.message_id[:16]}-{uuid.uuid4()}-000000"


def detail(happening: Happening, occasion: Occasion) -> tuple[str, Json]:
    """The member's name, and the member."""
    name, made = _MEMBERS[happening.kind]
    return name, made(happening, occasion)


def with_remote_mta(name: str, member: Json) -> Json:
    """What an identity notification knows beyond an event: the server that was spoken to."""
    spoken = name == "delivery" or (name == "bounce" and "reportingMTA" in member)
    return member | {"remoteMtaIp": _REMOTE_MTA} if spoken else member


def _send(_: Happening, __: Occasion) -> Json:
    return {}


def _delivery(_: Happening, occasion: Occasion) -> Json:
    return {
        "timestamp": iso_millis(occasion.at),
        "processingTimeMillis": PROCESSING // timedelta(milliseconds=1),
        "recipients": list(occasion.recipients),
        "smtpResponse": "250 2.6.0 Message received",
        "reportingMTA": _REPORTING_MTA,
    }


def _bounce(happening: Happening, occasion: Occasion) -> Json:
    report = None if occasion.auto_reply else _REPORTS.get((happening.type, happening.subtype))
    bounce: Json = {
        "feedbackId": occasion.feedback_id,
        "bounceType": happening.type,
        "bounceSubType": happening.subtype,
        "bouncedRecipients": [_bounced(who, report) for who in occasion.recipients],
        "timestamp": iso_millis(occasion.at),
    }
    return bounce if report is None else bounce | {"reportingMTA": f"dns; {_REPORTING_MTA}"}


def _bounced(who: str, report: tuple[str, str] | None) -> Json:
    if report is None:
        return {"emailAddress": who}
    status, diagnostic = report
    return {"emailAddress": who, "action": "failed", "status": status, "diagnosticCode": diagnostic}


def _complaint(happening: Happening, occasion: Occasion) -> Json:
    complaint: Json = {
        "feedbackId": occasion.feedback_id,
        "complaintSubType": happening.subtype or None,
        "complainedRecipients": [{"emailAddress": who} for who in occasion.recipients],
        "timestamp": iso_millis(occasion.at),
    }
    if happening.type:
        complaint |= {
            "userAgent": "Amazon SES Mailbox Simulator",
            "complaintFeedbackType": happening.type,
            "arrivalDate": iso_millis(occasion.at),
        }
    return complaint


def _reject(_: Happening, __: Occasion) -> Json:
    return {"reason": "Bad content"}


def _open(_: Happening, occasion: Occasion) -> Json:
    return {"ipAddress": _REMOTE_MTA, "timestamp": iso_millis(occasion.at), "userAgent": _BROWSER}


def _click(happening: Happening, occasion: Occasion) -> Json:
    return _open(happening, occasion) | {"link": "https://example.com/", "linkTags": None}


def _failure(_: Happening, __: Occasion) -> Json:
    return {
        "templateName": "sandbox",
        "errorMessage": "Attribute 'name' is not present in the rendering data.",
    }


def _delay(happening: Happening, occasion: Occasion) -> Json:
    report = {"status": "4.4.1", "diagnosticCode": "smtp; 421 4.4.1 Unable to connect to remote host"}
    return {
        "delayType": happening.type,
        "delayedRecipients": [{"emailAddress": who} | report for who in occasion.recipients],
        "expirationTime": iso_millis(occasion.at + _RETRIED_FOR),
        "reportingMTA": _REPORTING_MTA,
        "timestamp": iso_millis(occasion.at),
    }


def _subscription(_: Happening, occasion: Occasion) -> Json:
    return {
        "contactList": "sandbox",
        "timestamp": iso_millis(occasion.at),
        "source": "UnsubscribeHeader",
        "newTopicPreferences": _preferences(out=True),
        "oldTopicPreferences": _preferences(out=False),
    }


def _preferences(*, out: bool) -> Json:
    status = "OptOut" if out else "OptIn"
    return {"unsubscribeAll": out, "topicSubscriptionStatus": [{"topicName": "news", "subscriptionStatus": status}]}


_MEMBERS: Final[Mapping[str, tuple[str, Callable[[Happening, Occasion], Json]]]] = {
    "Send": ("send", _send),
    "Delivery": ("delivery", _delivery),
    "Bounce": ("bounce", _bounce),
    "Complaint": ("complaint", _complaint),
    "Reject": ("reject", _reject),
    "Open": ("open", _open),
    "Click": ("click", _click),
    "Rendering Failure": ("failure", _failure),
    "DeliveryDelay": ("deliveryDelay", _delay),
    "Subscription": ("subscription", _subscription),
}
