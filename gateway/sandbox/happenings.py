"""What can become of a mail, as SES tells it: kinds of events with their types. Pure.

https://docs.aws.amazon.com/ses/latest/dg/event-publishing-retrieving-sns-contents.html
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Happening:
    """One thing that happens to a mail. `type` and `subtype` say which bounce, complaint or delay it is."""

    kind: str
    type: str = ""
    subtype: str = ""

    @property
    def is_hard_bounce(self) -> bool:
        """A bounce of the recipient's server that puts the address on the account's suppression list."""
        return self.type == "Permanent" and self.subtype in {"General", "NoEmail"}


SEND: Final = Happening("Send")
DELIVERY: Final = Happening("Delivery")
REJECT: Final = Happening("Reject")
HARD_BOUNCE: Final = Happening("Bounce", "Permanent", "General")
SOFT_BOUNCE: Final = Happening("Bounce", "Transient", "General")
GLOBALLY_SUPPRESSED: Final = Happening("Bounce", "Permanent", "Suppressed")
ABUSE: Final = Happening("Complaint", "abuse")
BOUNCE_ECHO: Final = Happening("Bounce", "Permanent", "OnAccountSuppressionList")
COMPLAINT_ECHO: Final = Happening("Complaint", "", "OnAccountSuppressionList")

_PLAIN: Final = ("Send", "Delivery", "Reject", "Open", "Click", "Rendering Failure", "Subscription")
_BOUNCES: Final = {
    "Permanent": (
        "General",
        "NoEmail",
        "Suppressed",
        "OnAccountSuppressionList",
        "OnTenantSuppressionList",
        "EmailValidationSuppressed",
        "UnsubscribedRecipient",
    ),
    "Transient": (
        "General",
        "MailboxFull",
        "MessageTooLarge",
        "ContentRejected",
        "AttachmentRejected",
        "CustomTimeoutExceeded",
    ),
    "Undetermined": ("Undetermined",),
}
_COMPLAINTS: Final = ("abuse", "auth-failure", "fraud", "not-spam", "other", "virus")
_ECHOES: Final = ("OnAccountSuppressionList", "OnTenantSuppressionList")
_DELAYS: Final = (
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
)


def _all() -> Iterator[tuple[str, Happening]]:
    for kind in _PLAIN:
        yield kind, Happening(kind)
    yield "Bounce", HARD_BOUNCE
    for kind, subtypes in _BOUNCES.items():
        for subtype in subtypes:
            yield f"Bounce/{kind}/{subtype}", Happening("Bounce", kind, subtype)
    yield "Complaint", Happening("Complaint")  # Many reports do not say what for.
    for kind in _COMPLAINTS:
        yield f"Complaint/{kind}", Happening("Complaint", kind)
    for echo in _ECHOES:
        yield f"Complaint/{echo}", Happening("Complaint", "", echo)
    yield "DeliveryDelay", Happening("DeliveryDelay", "General")
    for kind in _DELAYS:
        yield f"DeliveryDelay/{kind}", Happening("DeliveryDelay", kind)


BY_NAME: Final[dict[str, Happening]] = dict(_all())
"""Everything that can be asked for, by the name to ask for it."""
