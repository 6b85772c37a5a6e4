"""The staging guard: whom a gateway that only tries things out may send to.

A copied configuration, or a copied database full of waiting mail, must not reach the customers of the original.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from gateway.addresses import address_key
from gateway.settings import Settings

_SHOWN = 3


@dataclass(frozen=True, slots=True)
class _Allowed:
    """The rules, sorted for looking up: addresses by their keys, and domains in small letters."""

    addresses: frozenset[str]
    domains: frozenset[str]
    parents: frozenset[str]

    def names(self, address: str) -> bool:
        key = address_key(address)
        domain = key.rpartition("@")[2]
        labels = domain.split(".")
        above = (".".join(labels[start:]) for start in range(len(labels)))
        return key in self.addresses or domain in self.domains or any(name in self.parents for name in above)


def captured(address: str, settings: Settings) -> str | None:
    """Why mail to this address is kept and not sent, for a person to read; None when it may be sent."""
    if settings.capture_only:
        return "captured: SESGATE_CAPTURE_ONLY is on, and nothing is sent"
    if not settings.allowed_recipients or _allowed(settings.allowed_recipients).names(address):
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


@lru_cache(maxsize=8)
def _allowed(rules: tuple[str, ...]) -> _Allowed:
    return _Allowed(
        addresses=frozenset(address_key(rule) for rule in rules if "@" in rule),
        domains=frozenset(rule.casefold() for rule in rules if "@" not in rule and not rule.startswith(".")),
        parents=frozenset(rule.removeprefix(".").casefold() for rule in rules if rule.startswith(".")),
    )


def _spoken(rules: tuple[str, ...]) -> str:
    shown = ", ".join(rules[:_SHOWN])
    return f"{shown} and {len(rules) - _SHOWN} more" if len(rules) > _SHOWN else shown
