"""What the stored bounces and deliveries of an address say about it, computed anew each time.

Nothing is counted up: the same events give the same suppression in whatever order they came, and however often.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from gateway.feedback import EventKind
from gateway.store.sql import Row, Sql
from gateway.store.suppression_rows import SES, Suppression, last_lifted, lift, restate, standing, suppress_by_event
from gateway.store.times import from_micros, now_micros, to_micros
from gateway.suppression_policy import (
    PASSING,
    Finding,
    Policy,
    Reason,
    Ruling,
    Sighting,
    find_listed,
    find_struck,
    rule_of,
)

# The newest tell: whoever has more is suppressed long since, and what other systems send may have no end.
_MOST = 200
_MOST_DELIVERIES = 1000
_REPLY_WITHIN = timedelta(days=14)  # how long after its delivery a mail may be answered by a machine
_NEVER = -1


@dataclass(frozen=True, slots=True)
class _Begin:
    """What bounces count from: the last delivery, and the moment when a person last lifted a suppression."""

    delivered_at: int
    lifted_at: int


def judge_bounced(sql: Sql, key: str, policy: Policy) -> None:
    """Let the stored events of the address with this key suppress it, after one of them was a bounce."""
    sql.in_turn(key)
    finding = _find(sql, key, _begin(sql, key), policy)
    if finding is not None:
        _suppress(sql, key, finding)


def judge_delivered(sql: Sql, key: str, policy: Policy) -> None:
    """Lift what a delivery has refuted, unless later bounces say the same."""
    if not _is_passing(sql, key):
        # A bounce may be under way that sees as little of this delivery as is seen of it here.
        sql.in_turn(key, alone=False)
        if not _is_passing(sql, key):
            return  # as nearly all who are delivered to
    sql.in_turn(key)
    current = standing(sql, key)
    if current is None or current.reason not in PASSING:
        return
    begin = _begin(sql, key)
    finding = _find(sql, key, begin, policy)
    if _is_refuted(current, begin, finding):
        lift(sql, key, at=now_micros(), by=SES, why="delivered again")
        if finding is not None:
            _suppress(sql, key, finding)
    elif finding is not None and current.actor == SES:
        _restate(sql, key, finding)


def cite(sql: Sql, event_id: int) -> tuple[str, str]:
    """Whom a stored event blames, as they were written, and what a person reads about it."""
    row = sql.one(
        "SELECT COALESCE(r.address, e.address), e.kind, e.bounce_type, e.sub_type, e.complaint_type, e.diagnostic"
        " FROM events e LEFT JOIN recipients r ON r.id = e.recipient_id WHERE e.id = ?",
        (event_id,),
    )
    assert row is not None  # noqa: S101  it was read in this transaction, and events go only with retention
    address, kind, *types, diagnostic = row
    return address, explain(kind, types, diagnostic)


def explain(kind: str, types: Sequence[str | None], diagnostic: str | None) -> str:
    """A report in a few words, with the far server's own."""
    return ": ".join(filter(None, (f"{kind} {'/'.join(filter(None, types))}".strip(), diagnostic)))


def _is_refuted(current: Suppression, begin: _Begin, finding: Finding | None) -> bool:
    """Whether a delivery has shown that what suppresses the address is over.

    It began before the delivery; or the bounces do not add up any more, since the mail of one of them was delivered.
    """
    return to_micros(current.since) < begin.delivered_at or (finding is None and current.actor == SES)


def _find(sql: Sql, key: str, begin: _Begin, policy: Policy) -> Finding | None:
    """The stronger finding that is still in force, until both are over."""
    bounces = _bounces(sql, key, begin)
    listed = [one for one, ruling in bounces if ruling.reason is Reason.GLOBAL_LIST]
    strikes = _undelivered(sql, key, [one for one, ruling in bounces if ruling.strike])
    now = from_micros(now_micros())
    found = [
        finding
        for finding in (find_listed(listed, policy), find_struck(strikes, policy))
        if finding is not None and (finding.expires_at is None or finding.expires_at > now)
    ]
    if not found:
        return None
    ends = [finding.expires_at for finding in found if finding.expires_at is not None]
    return replace(found[0], expires_at=max(ends) if len(ends) == len(found) else None)


def _is_passing(sql: Sql, key: str) -> bool:
    """Whether the address is suppressed for what a delivery refutes, as far as that is committed."""
    return sql.value("SELECT reason FROM suppressions WHERE address_key = ?", (key,)) in PASSING


def _begin(sql: Sql, key: str) -> _Begin:
    delivered = sql.value(
        "SELECT max(occurred_at) FROM events WHERE blamed_key = ? AND kind = ?", (key, EventKind.DELIVERY.value)
    )
    return _Begin(delivered or 0, last_lifted(sql, key) or 0)


def _bounces(sql: Sql, key: str, begin: _Begin) -> list[tuple[Sighting, Ruling]]:
    """The newest bounces since then, each with what it does.

    A bounce that a person had before his eyes when he lifted a suppression is forgiven, and what counts for that is
    when the report came here: a later one is news, whenever the mail bounced.
    """
    rows = sql.all(
        "SELECT e.id, e.ses_message_id, e.occurred_at, e.bounce_type, e.sub_type"
        " FROM events e LEFT JOIN notifications n ON n.id = e.notification_id"
        " WHERE e.blamed_key = ? AND e.kind = ? AND e.occurred_at > ? AND COALESCE(n.received_at, e.stored_at) > ?"
        " ORDER BY e.occurred_at DESC LIMIT ?",
        (key, EventKind.BOUNCE.value, begin.delivered_at, begin.lifted_at, _MOST),
    )
    return [_bounce(row) for row in rows]


def _bounce(row: Row) -> tuple[Sighting, Ruling]:
    event_id, mail, occurred_at, bounce_type, sub_type = row
    return Sighting(event_id, mail, from_micros(occurred_at)), rule_of(EventKind.BOUNCE, bounce_type, sub_type, None)


def _undelivered(sql: Sql, key: str, strikes: list[Sighting]) -> list[Sighting]:
    """Without those of mail that was delivered: what followed was an automatic reply, such as out of office.

    Each by itself: whether one is a reply does not depend on what else has bounced.
    """
    if not strikes:
        return []
    first = to_micros(min(one.occurred_at for one in strikes) - _REPLY_WITHIN)
    rows = sql.all(
        "SELECT ses_message_id, occurred_at FROM events WHERE blamed_key = ? AND kind = ? AND occurred_at > ?"
        " ORDER BY occurred_at DESC LIMIT ?",
        (key, EventKind.DELIVERY.value, first, _MOST_DELIVERIES),
    )
    delivered: dict[str, int] = dict(reversed(rows))  # of each mail the last
    return [one for one in strikes if delivered.get(one.mail, _NEVER) <= to_micros(one.occurred_at - _REPLY_WITHIN)]


def _suppress(sql: Sql, key: str, finding: Finding) -> None:
    address, detail = cite(sql, finding.began.event_id)
    suppress_by_event(
        sql,
        address,
        key,
        finding.reason,
        source=f"SES {EventKind.BOUNCE}",
        detail=detail,
        at=to_micros(finding.began.occurred_at),
        event_id=finding.began.event_id,
        expires_at=None if finding.expires_at is None else to_micros(finding.expires_at),
    )


def _restate(sql: Sql, key: str, finding: Finding) -> None:
    """One of the bounces turned out to be an automatic reply: the others may have begun later, and end sooner."""
    address, detail = cite(sql, finding.began.event_id)
    restate(
        sql,
        key,
        address=address,
        detail=detail,
        at=to_micros(finding.began.occurred_at),
        event_id=finding.began.event_id,
        expires_at=None if finding.expires_at is None else to_micros(finding.expires_at),
    )
