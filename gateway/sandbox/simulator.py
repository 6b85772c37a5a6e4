"""The mailbox simulator: what becomes of a mail, by its recipient.

https://docs.aws.amazon.com/ses/latest/dg/send-an-email-from-console.html
"""

from __future__ import annotations

from typing import Final

from gateway.sandbox.happenings import (
    ABUSE,
    BOUNCE_ECHO,
    COMPLAINT_ECHO,
    DELIVERY,
    GLOBALLY_SUPPRESSED,
    HARD_BOUNCE,
    SEND,
    SOFT_BOUNCE,
    Happening,
)
from gateway.sandbox.mime import mailbox
from gateway.sandbox.names import SIMULATOR_DOMAIN

# The test file of the anti-virus vendors, in two parts so that no scanner takes this module for it.
_EICAR: Final = (
    rb"X5O!P%@AP[4\PZX54(P^)7CC)7}$EICAR-" + b"STANDARD-ANTIVIRUS-TEST-FILE!$H+H*",
    b"WDVPIVAlQEFQWzRcUFpYNTQo",
)


DELIVERED: Final = (SEND, DELIVERY)
_BY_LABEL: Final = {
    "success": DELIVERED,
    "bounce": (SEND, HARD_BOUNCE),
    "ooto": (SEND, DELIVERY, SOFT_BOUNCE),
    "complaint": (SEND, DELIVERY, ABUSE),
    "suppressionlist": (SEND, GLOBALLY_SUPPRESSED),
    "blacklist": (SEND, GLOBALLY_SUPPRESSED),  # Its name before 2013; still in many test suites.
}
_ECHOES: Final = {"BOUNCE": (SEND, BOUNCE_ECHO), "COMPLAINT": (SEND, COMPLAINT_ECHO)}


def is_simulated(address: str) -> bool:
    """Whether this is an address of the simulator, which costs no daily quota and needs no verification."""
    return mailbox(address).rpartition("@")[2].lower() == SIMULATOR_DOMAIN


def echo(reason: str) -> tuple[Happening, ...]:
    """What becomes of mail to an address that is on the account's list for this reason."""
    return _ECHOES[reason]


def timeline(address: str) -> tuple[Happening, ...]:
    """What becomes of mail to this mailbox: whatever is not of the simulator is delivered."""
    if not is_simulated(address):
        return DELIVERED
    name = mailbox(address).rpartition("@")[0].partition("+")[0].lower()
    return _BY_LABEL.get(name, DELIVERED)


def has_virus(raw: bytes) -> bool:
    """Whether the EICAR file is inside, bare or in base64: SES accepts such a mail and then rejects it."""
    return any(pattern in raw for pattern in _EICAR)
