"""What SES reported about one recipient, in a form that knows no JSON."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from gateway.addresses import address_key


class EventKind(StrEnum):
    """The kinds of SES events, spelled as `eventType` spells them."""

    SEND = "Send"
    DELIVERY = "Delivery"
    BOUNCE = "Bounce"
    COMPLAINT = "Complaint"
    REJECT = "Reject"
    DELIVERY_DELAY = "DeliveryDelay"
    OPEN = "Open"
    CLICK = "Click"
    RENDERING_FAILURE = "Rendering Failure"
    SUBSCRIPTION = "Subscription"


class BounceType(StrEnum):
    PERMANENT = "Permanent"
    TRANSIENT = "Transient"
    UNDETERMINED = "Undetermined"


@dataclass(frozen=True, slots=True, kw_only=True)
class Feedback:
    """One event about one recipient; an event about three recipients is three of these.

    `attempt_id` is ours and says for certain whom the event is about; `address` is what SES reported, which may be
    where the mail was forwarded to, and is None when the event speaks of the whole mail (Send, Reject). Every text
    is printable and short enough to store, whatever a stranger's mail server wrote into its bounce.
    """

    kind: EventKind
    ses_message_id: str
    occurred_at: datetime
    attempt_id: str | None = None
    address: str | None = None
    bounce_type: BounceType | None = None
    sub_type: str | None = None
    complaint_type: str | None = None
    feedback_id: str | None = None
    diagnostic: str | None = None
    status_code: str | None = None

    @property
    def dedupe_key(self) -> str:
        """Equal for two reports of one event, however SNS delivered them.

        SNS's own MessageId is not enough: with identity notifications and a configuration set both on, SES publishes
        every bounce twice. Both carry one feedbackId, which bounces and complaints have and the other kinds do not.
        """
        recipient = address_key(self.address) if self.address else ""
        if self.feedback_id:
            return f"{self.feedback_id}\n{recipient}"
        moment = self.occurred_at.astimezone(UTC).isoformat(timespec="microseconds")
        return f"{self.ses_message_id}\n{self.kind}\n{moment}\n{recipient}"
