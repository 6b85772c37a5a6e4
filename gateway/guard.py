"""The staging guard: whom a gateway that only tries things out may send to.

A copied configuration, or a copied database full of waiting mail, must not reach the customers of the original.
"""

from __future__ import annotations

from gateway.addresses import address_key
from gateway.settings import Settings

_SHOWN = 3


def captured(address: str, settings: Settings) -> str | None:
    """Why mail to this address is kept and not sent, for a person to read; None when it may be sent."""
    if settings.capture_only:
        return "captured: SESGATE_CAPTURE_ONLY is on, and nothing is sent"
    if not settings.allowed_recipients or _is_allowed(address, settings.allowed_recipients):
        return None
    return "captured: SESGATE_ALLOWED_RECIPIENTS does not name the address or its domain"


def guard_warning(settings: Settings) -> str | None:
    """What the guard does, in one sentence for everybody who wonders where the mail is; None when it is off."""
    if settings.capture_only:
        return "SESGATE_CAPTURE_ONLY is on: mail is accepted and kept, and none of it is sent."
    if settings.allowed_recipients:
        return (
            f"Mail is sent to {_spoken(settings.allowed_recipients)} only (SESGATE_ALLOWED_RECIPIENTS);"
            " what goes elsewhere is accepted and kept."
        )
    return None


def _is_allowed(address: str, rules: tuple[str, ...]) -> bool:
    key = address_key(address)
    domain = key.rpartition("@")[2]
    return any(_names(rule, key, domain) for rule in rules)


def _names(rule: str, key: str, domain: str) -> bool:
    if "@" in rule:
        return address_key(rule) == key
    if rule.startswith("."):
        return f".{domain}".endswith(rule.casefold())
    return rule.casefold() == domain


def _spoken(rules: tuple[str, ...]) -> str:
    shown = ", ".join(rules[:_SHOWN])
    return f"{shown} and {len(rules) - _SHOWN} more" if len(rules) > _SHOWN else shown
