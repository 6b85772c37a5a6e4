"""Every kind of message of the pages on SES's two formats, built from their tables of fields.

https://docs.aws.amazon.com/ses/latest/dg/notification-contents.html
https://docs.aws.amazon.com/ses/latest/dg/event-publishing-retrieving-sns-contents.html
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.support.payloads import ses
from tests.support.payloads.ses import Json

Form = Callable[..., Json]


@dataclass(frozen=True)
class Example:
    """A message about the mail that `ses.mail` describes.

    `status` is what becomes of its recipient, who had it as SENT; `reason` why the address is suppressed then.
    """

    name: str
    kind: str
    members: Json
    status: str
    reason: str | None = None
    is_counted: bool = True

    @property
    def forms(self) -> tuple[Form, ...]:
        """Identity notifications know three kinds."""
        both = self.kind in ("Bounce", "Complaint", "Delivery")
        return (ses.event, ses.notification) if both else (ses.event,)


def _bounce(
    bounce_type: str,
    sub_type: str,
    reason: str | None = None,
    *,
    name: str = "",
    is_counted: bool = True,
    **members: object,
) -> Example:
    return Example(
        name or f"bounce {bounce_type}/{sub_type}",
        "Bounce",
        {"bounce": ses.bounce(bounce_type, sub_type, **members)},
        "BOUNCED" if bounce_type == "Permanent" else "SOFT_BOUNCED",
        reason,
        is_counted,
    )


def _complaint(
    feedback_type: str | None,
    reason: str | None = "complaint",
    *,
    name: str = "",
    is_counted: bool = True,
    **members: object,
) -> Example:
    return Example(
        name or f"complaint {feedback_type}",
        "Complaint",
        {"complaint": ses.complaint(feedback_type, **members)},
        "COMPLAINED" if reason else "SENT",
        reason,
        is_counted,
    )


def _delay(delay_type: str) -> Example:
    members = {"deliveryDelay": ses.delivery_delay(delayType=delay_type)}
    return Example(f"delay {delay_type}", "DeliveryDelay", members, "DELAYED")


_ONLY_THE_ADDRESS = [{"emailAddress": ses.RECIPIENT}]

EXAMPLES = (
    Example("send", "Send", {"send": {}}, "SENT"),
    Example("delivery", "Delivery", {"delivery": ses.delivery()}, "DELIVERED"),
    Example(
        "delivery with the remote server",
        "Delivery",
        {"delivery": ses.delivery(remoteMtaIp="203.0.113.5")},
        "DELIVERED",
    ),
    _bounce("Permanent", "General", "bounce"),
    _bounce(
        "Permanent", "General", "bounce", name="bounce without a delivery report", bouncedRecipients=_ONLY_THE_ADDRESS
    ),
    _bounce(
        "Permanent",
        "General",
        "bounce",
        name="bounce with the remote server",
        remoteMtaIp="203.0.113.5",
        reportingMTA="dsn; mx.example.com",
    ),
    _bounce("Permanent", "NoEmail", "bounce"),
    _bounce("Permanent", "Suppressed", "global-list"),
    _bounce("Permanent", "EmailValidationSuppressed", "global-list"),
    _bounce("Permanent", "OnAccountSuppressionList", "bounce", is_counted=False),
    _bounce("Permanent", "OnTenantSuppressionList", "bounce", is_counted=False),
    _bounce("Permanent", "UnsubscribedRecipient", "unsubscribe"),
    _bounce("Permanent", "NotYetInvented", "bounce"),
    _bounce("Transient", "General"),
    _bounce("Transient", "MailboxFull"),
    _bounce("Transient", "MessageTooLarge"),
    _bounce("Transient", "ContentRejected"),
    _bounce("Transient", "AttachmentRejected"),
    _bounce("Transient", "CustomTimeoutExceeded"),
    _bounce("Transient", "NotYetInvented"),
    _bounce("Undetermined", "Undetermined"),
    _complaint("abuse"),
    _complaint("fraud"),
    _complaint("other"),
    _complaint("virus"),
    _complaint("not-yet-invented"),
    _complaint(None, name="complaint without a feedback report"),
    _complaint("not-spam", None),
    _complaint("auth-failure", None),
    _complaint(
        None, name="complaint of the account's list", complaintSubType="OnAccountSuppressionList", is_counted=False
    ),
    _complaint(None, name="complaint of a tenant's list", complaintSubType="OnTenantSuppressionList", is_counted=False),
    Example("reject", "Reject", {"reject": {"reason": "Bad content"}}, "REJECTED"),
    Example("rendering failure", "Rendering Failure", {"failure": ses.RENDERING_FAILURE}, "REJECTED"),
    Example("open", "Open", {"open": ses.OPEN}, "SENT"),
    Example("click", "Click", {"click": ses.CLICK}, "SENT"),
    Example("subscription", "Subscription", {"subscription": ses.SUBSCRIPTION}, "SENT"),
    *map(
        _delay,
        (
            "InternalFailure",
            "General",
            "MailboxFull",
            "SpamDetected",
            "RecipientServerError",
            "IPFailure",
            "TransientCommunicationFailure",
            "BYOIPHostNameLookupUnavailable",
            "Undetermined",
            "SendingDeferral",
            "NotYetInvented",
        ),
    ),
)
TESTS_OF_A_TOPIC = (ses.CONFIRMED_TOPIC_JSON, ses.CONFIRMED_TOPIC_TEXT, ses.CONFIRMED_TOPIC_TEXT + "\n")
