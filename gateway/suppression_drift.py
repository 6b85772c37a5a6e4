"""How our suppressions and SES's account-level list differ, and which of the two has to follow.

They never hold the same. SES lists addresses with one of two reasons; here there are domains, single credentials,
entries that end, and people who lift. SES tells spellings of a local part apart when its list is read or changed, and
not when it blocks; here they share one key, so all spellings of a key are looked at and lifted together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from gateway.addresses import AddressError, address_key, parse_mailbox
from gateway.suppression_policy import Reason, stronger

MOST_EXAMPLES = 20
_KEYS_AT_ONCE = 500  # SQLite and PostgreSQL both bind more than that to one statement


class ListedReason(StrEnum):
    """The two reasons that SES knows."""

    BOUNCE = "BOUNCE"
    COMPLAINT = "COMPLAINT"


@dataclass(frozen=True, slots=True)
class Listed:
    """One entry of SES's list. The spelling is what its API wants to have again."""

    address: str
    reason: ListedReason
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Local:
    """One entry in force here. `is_temporary`: it ends by itself, sooner than its reason does by the settings."""

    key: str
    address: str
    reason: Reason
    scope: str
    is_temporary: bool = False

    @property
    def is_domain(self) -> bool:
        return self.address.startswith("@")


class Kind(StrEnum):
    """How an address stands in the two lists."""

    IN_STEP = "in_step"
    ONLY_AT_SES = "only_at_ses"
    STRONGER_AT_SES = "stronger_at_ses"
    ONLY_HERE = "only_here"
    STRONGER_HERE = "stronger_here"
    LIFTED_HERE = "lifted_here"
    OUTLIVED = "outlived"
    BY_HAND = "by_hand"
    TEMPORARY = "temporary"
    DOMAIN = "domain"
    SCOPED = "scoped"
    UNMAILABLE = "unmailable"


_FROM_SES = {ListedReason.BOUNCE: Reason.BOUNCE, ListedReason.COMPLAINT: Reason.COMPLAINT}
_TO_SES = {reason: listed for listed, reason in _FROM_SES.items()}
# The will of the recipient is told as what only a recipient can say, the operator's as the weaker reason: whoever
# clears the bounces of SES's list one day brings nobody back who opted out.
_BY_HAND = {Reason.MANUAL: ListedReason.BOUNCE, Reason.UNSUBSCRIBE: ListedReason.COMPLAINT}


def told_to_ses(reason: Reason, *, all_reasons: bool) -> ListedReason | None:
    """As which reason an entry goes to SES; None when it is not for SES.

    Soft bounces and entries of the global list end by themselves here, and would not at SES.
    """
    return _TO_SES.get(reason) or (_BY_HAND.get(reason) if all_reasons else None)


def is_known_to_ses(reason: Reason) -> bool:
    """Whether SES lists addresses by itself for what is this reason here."""
    return reason in _TO_SES


@dataclass(frozen=True, slots=True)
class AtSes:
    """What SES has under one key: nearly always one spelling."""

    key: str
    spellings: tuple[Listed, ...]

    @property
    def address(self) -> str:
        return self._latest.address

    @property
    def reason(self) -> Reason:
        """The strongest, as it is called here."""
        complained = any(listed.reason is ListedReason.COMPLAINT for listed in self.spellings)
        return Reason.COMPLAINT if complained else Reason.BOUNCE

    @property
    def updated_at(self) -> datetime:
        return self._latest.updated_at

    def is_lifted(self, lifted_at: datetime | None) -> bool:
        """Whether a person lifted it here after SES had listed it."""
        return lifted_at is not None and lifted_at >= self.updated_at

    @property
    def _latest(self) -> Listed:
        return max(self.spellings, key=lambda listed: listed.updated_at)


class AccountSide:
    """SES's list by key, in memory: SES gives it in no order that ours could be read beside."""

    def __init__(self, listed: Iterable[Listed] = ()) -> None:
        self._by_key: dict[str, tuple[Listed, ...]] = {}
        self.addresses = 0
        for one in listed:
            self.add(one)

    def add(self, listed: Listed) -> None:
        key = address_key(listed.address)
        key = listed.address if key == listed.address else key  # one text in memory and not two, a million times
        known = self._by_key.get(key, ())
        # A list that changes while it is read may name an address twice.
        others = tuple(one for one in known if one.address != listed.address)
        self.addresses += len(others) == len(known)
        self._by_key[key] = (*others, listed)

    def find(self, key: str) -> AtSes | None:
        spellings = self._by_key.get(key)
        return None if spellings is None else AtSes(key, spellings)

    def __iter__(self) -> Iterator[AtSes]:
        return (AtSes(key, spellings) for key, spellings in self._by_key.items())

    @property
    def spelled_several_times(self) -> int:
        """How many keys SES has in more than one spelling."""
        return sum(len(spellings) > 1 for spellings in self._by_key.values())


@dataclass(slots=True)
class Drift:
    """The comparison: how many of each kind, some of each by name, and all that are to be carried out from SES's side.

    What only we have is counted, not kept: it may be far longer than SES's list.
    """

    counts: Counter[Kind] = field(default_factory=Counter)
    examples: dict[Kind, list[str]] = field(default_factory=dict)
    to_adopt: list[AtSes] = field(default_factory=list)
    to_lift: list[AtSes] = field(default_factory=list)

    def note(self, kind: Kind, address: str) -> None:
        self.counts[kind] += 1
        if kind is not Kind.IN_STEP and self.counts[kind] <= MOST_EXAMPLES:
            self.examples.setdefault(kind, []).append(address)


Lifted = Callable[[Sequence[str]], Mapping[str, datetime]]
"""When a person lifted these keys last; a key that nobody lifted is missing."""

Outlived = Callable[[Reason, datetime], bool]
"""Whether an entry that began then would have ended by now."""


def compare(local: Iterable[Local], at_ses: AccountSide, lifted: Lifted, outlived: Outlived) -> Drift:
    """Hold every entry here against SES's list. `local` may be far longer than memory."""
    drift = Drift()
    here: set[str] = set()
    doubtful: list[AtSes] = []
    for one in local:
        found = None if one.scope or one.is_domain else at_ses.find(one.key)
        if found is not None:
            here.add(found.key)
        kind = kind_here(one, found)
        if found is not None and kind is Kind.STRONGER_AT_SES:
            doubtful.append(found)
        else:
            drift.note(kind, one.address)
    _judge(drift, doubtful, lifted, lambda found, at: Kind.IN_STEP if found.is_lifted(at) else Kind.STRONGER_AT_SES)
    alone = (found for found in at_ses if found.key not in here)
    _judge(drift, alone, lifted, lambda found, at: kind_at_ses(found, at, outlived))
    return drift


def kind_here(local: Local, at_ses: AtSes | None) -> Kind:
    """How an entry in force here stands to what SES has under its key."""
    if local.scope:
        return Kind.SCOPED
    if local.is_domain:
        return Kind.DOMAIN
    if at_ses is None:
        return Kind.TEMPORARY if local.is_temporary else _kind_alone(local.reason)
    if local.reason is not at_ses.reason and stronger(local.reason, at_ses.reason) is at_ses.reason:
        return Kind.STRONGER_AT_SES
    # An opt-out or an entry by hand that SES lists as a bounce keeps the mail back all the same.
    both_told = is_known_to_ses(local.reason) and local.reason is not at_ses.reason and not local.is_temporary
    return Kind.STRONGER_HERE if both_told else Kind.IN_STEP


def _kind_alone(reason: Reason) -> Kind:
    if is_known_to_ses(reason):
        return Kind.ONLY_HERE
    return Kind.BY_HAND if reason in _BY_HAND else Kind.TEMPORARY


def kind_at_ses(at_ses: AtSes, lifted_at: datetime | None, outlived: Outlived) -> Kind:
    """How an address stands that is not suppressed here."""
    if at_ses.is_lifted(lifted_at):
        return Kind.LIFTED_HERE
    try:
        parse_mailbox(at_ses.address)
    except AddressError:
        return Kind.UNMAILABLE
    return Kind.OUTLIVED if outlived(at_ses.reason, at_ses.updated_at) else Kind.ONLY_AT_SES


def _judge(
    drift: Drift, found: Iterable[AtSes], lifted: Lifted, judge: Callable[[AtSes, datetime | None], Kind]
) -> None:
    for batch in in_batches(found, _KEYS_AT_ONCE):
        when = lifted([one.key for one in batch])
        for one in batch:
            kind = judge(one, when.get(one.key))
            drift.note(kind, one.address)
            if kind in (Kind.ONLY_AT_SES, Kind.STRONGER_AT_SES):
                drift.to_adopt.append(one)
            elif kind is Kind.LIFTED_HERE:
                drift.to_lift.append(one)


@dataclass(frozen=True, slots=True)
class Request:
    """What SES is to be told about one spelling; without a reason it is lifted there."""

    key: str
    address: str
    reason: ListedReason | None


def requests(local: Iterable[Local], at_ses: AccountSide, drift: Drift, *, all_reasons: bool) -> Iterator[Request]:
    """All that makes SES follow: first what is lifted, then what is listed, each spelling by itself."""
    for found in drift.to_lift:
        yield from (Request(found.key, listed.address, None) for listed in found.spellings)
    for one in local:
        found_too = at_ses.find(one.key)
        kind = kind_here(one, found_too)
        if kind in (Kind.ONLY_HERE, Kind.BY_HAND) and (reason := told_to_ses(one.reason, all_reasons=all_reasons)):
            yield Request(one.key, one.address, reason)
        elif kind is Kind.STRONGER_HERE and found_too is not None:
            yield from (Request(one.key, listed.address, ListedReason.COMPLAINT) for listed in found_too.spellings)


def count_requests(drift: Drift, *, all_reasons: bool) -> int:
    """About how many `requests` there will be: an address of several spellings is counted once when it is listed."""
    told = (Kind.ONLY_HERE, Kind.STRONGER_HERE, *((Kind.BY_HAND,) if all_reasons else ()))
    return sum(len(found.spellings) for found in drift.to_lift) + sum(drift.counts[kind] for kind in told)


def in_batches(found: Iterable[AtSes], size: int) -> Iterator[list[AtSes]]:
    batch: list[AtSes] = []
    for one in found:
        batch.append(one)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
