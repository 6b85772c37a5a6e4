"""Whether SES will take the senders of a mail, told before the mail is accepted.

What is verified is learned from SES by the dispatcher and stands in the control store. Whatever is not surely known
refuses nothing: SES has the last word, and a mail that it refuses for its sender waits and is tried again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.addresses import MAX_PATH
from gateway.senders import SenderAddress, SenderRewrite

STALE_AFTER = 300.0  # seconds; the list is read once a minute


@dataclass(frozen=True, slots=True)
class Identities:
    """The addresses and domains that SES sends from in a region: all of them, and known to be so a moment ago."""

    verified: frozenset[str]
    region: str

    def cover(self, address: str) -> bool:
        """Whether SES sends from this address.

        An identity that is an address covers itself and its `+labels`, its local part in the case it was verified in; a
        domain covers its addresses and those of every domain below it. So says
        https://docs.aws.amazon.com/ses/latest/dg/creating-identities.html
        """
        local_part, at, domain = address.rpartition("@")
        if not at or not local_part or len(address) > MAX_PATH:
            return False
        domain = domain.lower()
        if domain in self.verified:
            return True
        labels = domain.split(".")
        parents = (".".join(labels[start:]) for start in range(1, len(labels)))
        addresses = (f"{local_part}@{domain}", f"{local_part.partition('+')[0]}@{domain}")
        return any(name in self.verified for name in (*addresses, *parents))

    def examples(self, count: int) -> list[str]:
        """Some of what may be sent from: domains first, the shorter before the longer."""
        return sorted(self.verified, key=lambda name: ("@" in name, len(name), name))[:count]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is to be done about a mail's senders: refuse it for one of them, or rewrite them. Neither: they are fine."""

    refused: SenderAddress | None = None
    rewrite: SenderRewrite | None = None


def as_fact(names: Iterable[str], *, others: int, region: str, at: float) -> dict[str, Any]:
    """The complete list as it stands in the control store; `others` counts the identities that may not send (yet)."""
    identities = sorted({_folded(name) for name in names})
    return {"identities": identities, "complete": True, "others": others, "region": region, "at": at}


def unknown_fact(reason: str, at: float) -> dict[str, Any]:
    """As it stands in the control store when SES does not tell."""
    return {"identities": [], "complete": False, "reason": reason, "at": at}


def known_identities(fact: Mapping[str, Any] | None, *, is_simulated: bool, now: float) -> Identities | None:
    """What the fact tells at the wall-clock time `now`; None when that is nothing to refuse a mail by.

    An account without identities sends nothing. The simulated AWS sends from every address until it has an identity.
    """
    if fact is None or not fact.get("complete") or abs(now - float(fact.get("at", 0.0))) > STALE_AFTER:
        return None
    names = fact.get("identities", [])
    if is_simulated and not names and not fact.get("others"):
        return None
    return Identities(frozenset(names), str(fact.get("region", "")))


def judge(senders: Sequence[SenderAddress], identities: Identities | None, rewrite_from: str | None) -> Verdict:
    """The verdict on the senders of one mail; `rewrite_from` is what shall stand in the place of unverified ones."""
    if identities is None:
        return Verdict()
    unverified = [one for one in senders if not identities.cover(one.address)]
    if not unverified:
        return Verdict()
    if rewrite_from is not None and identities.cover(rewrite_from):
        return Verdict(rewrite=SenderRewrite(frozenset(one.address for one in unverified), rewrite_from))
    return Verdict(refused=unverified[0])


def _folded(name: str) -> str:
    """Domains ignore case, the local parts of verified addresses do not."""
    local_part, at, domain = name.rpartition("@")
    return f"{local_part}{at}{domain.lower()}"
