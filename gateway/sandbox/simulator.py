"""The mailbox simulator: what becomes of a mail, by its recipient.

https://docs.aws.amazon.com/ses/latest/dg/send-an-email-from-console.html
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import Enum
from typing import Final

from gateway.sandbox.mime import mailbox
from gateway.sandbox.names import SIMULATOR_DOMAIN

# The test file of the anti-virus vendors, in two parts so that no scanner takes this module for it.
_EICAR: Final = (
    rb"X5O!P%@AP[4\PZX54(P^)7CC)7}$EICAR-" + b"STANDARD-ANTIVIRUS-TEST-FILE!$H+H*",
    b"WDVPIVAlQEFQWzRcUFpYNTQo",
)


class Fate(Enum):
    """What becomes of one recipient's copy."""

    DELIVERED = "delivered"
    BOUNCED = "bounced"
    OUT_OF_OFFICE = "out of office"
    COMPLAINED = "complained"
    GLOBALLY_SUPPRESSED = "on the global suppression list"
    ACCOUNT_BOUNCE = "on the account's suppression list after a bounce"
    ACCOUNT_COMPLAINT = "on the account's suppression list after a complaint"


_BY_LABEL: Final = {
    "success": Fate.DELIVERED,
    "bounce": Fate.BOUNCED,
    "ooto": Fate.OUT_OF_OFFICE,
    "complaint": Fate.COMPLAINED,
    "suppressionlist": Fate.GLOBALLY_SUPPRESSED,
    "blacklist": Fate.GLOBALLY_SUPPRESSED,  # Its name before 2013; still in many test suites.
}
_BY_REASON: Final = {"BOUNCE": Fate.ACCOUNT_BOUNCE, "COMPLAINT": Fate.ACCOUNT_COMPLAINT}


def is_simulated(address: str) -> bool:
    """Whether this is an address of the simulator, which costs no daily quota and needs no verification."""
    return mailbox(address).rpartition("@")[2].lower() == SIMULATOR_DOMAIN


def fate(address: str, suppressed_for: str | None) -> Fate:
    """`suppressed_for` is the reason on the account's list, which is asked before anything is tried."""
    if suppressed_for is not None:
        return _BY_REASON[suppressed_for]
    if not is_simulated(address):
        return Fate.DELIVERED
    name = mailbox(address).rpartition("@")[0].partition("+")[0].lower()
    return _BY_LABEL.get(name, Fate.DELIVERED)


def fates(recipients: Iterable[str], suppressed_for: Callable[[str], str | None]) -> dict[Fate, list[str]]:
    """The recipients by fate: SES merges what happens to several recipients of one call into one event."""
    grouped: dict[Fate, list[str]] = {}
    for recipient in recipients:
        address = mailbox(recipient)
        grouped.setdefault(fate(address, suppressed_for(address)), []).append(address)
    return grouped


def has_virus(raw: bytes) -> bool:
    """Whether the EICAR file is inside, bare or in base64: SES accepts such a mail and then rejects it."""
    return any(pattern in raw for pattern in _EICAR)
