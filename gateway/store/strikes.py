"""What the stored bounces and deliveries of an address say about it, computed anew each time.

Nothing is counted up: the same events give the same suppression in whatever order they came, and however often.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

from gateway.feedback import EventKind
from gateway.store.by_address import of_part, parts
from gateway.store.sql import Sql, marks
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
_REPLY_WITHIN = timedelta(days=14)  # how long after its delivery a mail may be answered by a machine
_NEVER = -1

_Bounces = Sequence[tuple[Sighting, Ruling]]


def judge_bounced(sql: Sql, key: str, policy: Policy) -> None:
    """Let the stored events of the address with this key suppress it, after one of them was a bounce."""
    sql.in_turn(key)
    bounces = _bounces(sql, key)
    if _find(bounces, policy) is None:
        return  # as for most; deliveries are looked for where they matter, and they only take away
    finding = _find(_still_counted(sql, key, bounces, _last_delivered(sql, key)), policy)
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
    delivered_at = _last_delivered(sql, key)
    finding = _find(_still_counted(sql, key, _bounces(sql, key), delivered_at), policy)
    if _is_refuted(current, delivered_at, finding):
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


def _is_refuted(current: Suppression, delivered_at: int, finding: Finding | None) -> bool:
    """Whether a delivery has shown that what suppresses the address is over.

    It began before the delivery; or the bounces do not add up any more, since the mail of one of them was delivered.
    """
    return to_micros(current.since) < delivered_at or (finding is None and current.actor == SES)


def _find(bounces: _Bounces, policy: Policy) -> Finding | None:
    """The stronger finding that is still in force, until both are over. Of fewer bounces it is never more."""
    now = from_micros(now_micros())
    found = [
        finding
        for finding in (
            find_listed([one for one, ruling in bounces if ruling.reason is Reason.GLOBAL_LIST], policy),
            find_struck([one for one, ruling in bounces if ruling.strike], policy),
        )
        if finding is not None and (finding.expires_at is None or finding.expires_at > now)
    ]
    if not found:
        return None
    ends = [finding.expires_at for finding in found if finding.expires_at is not None]
    return replace(found[0], expires_at=max(ends) if len(ends) == len(found) else None)


def _is_passing(sql: Sql, key: str) -> bool:
    """Whether the address is suppressed for what a delivery refutes, as far as that is committed."""
    return sql.value("SELECT reason FROM suppressions WHERE address_key = ?", (key,)) in PASSING


# Kinds as constants: a partial index is used only where the statement repeats its condition.
_BOUNCES = (
    "SELECT COALESCE(n.received_at, e.stored_at), e.id, e.ses_message_id, e.occurred_at, e.bounce_type, e.sub_type"
    " FROM events e LEFT JOIN notifications n ON n.id = e.notification_id"
    f" WHERE e.blamed_key = ? AND e.kind = '{EventKind.BOUNCE}' ORDER BY e.occurred_at DESC LIMIT {_MOST}"
)
# Of each part the last one, so that an address that is mailed all day takes no longer than another.
_LAST_DELIVERED = (
    f"{parts('events')} SELECT (SELECT max(e.occurred_at) FROM events e WHERE {of_part('e.')}"
    f" AND e.blamed_key = ? AND e.kind = '{EventKind.DELIVERY}') FROM part"
)
# Spelled so that the index of `_LAST_DELIVERED` is out of the question: PostgreSQL takes it while there are few events,
# and reads all of it later by the plan that it has kept.
_MAILS_DELIVERED = (
    "SELECT ses_message_id, max(occurred_at) FROM events WHERE ses_message_id IN ({mails})"
    " AND COALESCE(blamed_key, '') = ?"
    f" AND kind = '{EventKind.DELIVERY}' GROUP BY ses_message_id"
)


def _bounces(sql: Sql, key: str) -> _Bounces:
    """Of the newest bounces those since a person last lifted a suppression, each with what it does.

    A bounce that a person had before his eyes then is forgiven, and what counts for that is when the report came here:
    a later one is news, whenever the mail bounced; but not behind so many newer ones that it is not among the newest.
    """
    lifted_at = last_lifted(sql, key) or 0
    return [_bounce(row) for known_since, *row in sql.all(_BOUNCES, (key,)) if known_since > lifted_at]


def _bounce(row: Sequence[Any]) -> tuple[Sighting, Ruling]:
    event_id, mail, occurred_at, bounce_type, sub_type = row
    return Sighting(event_id, mail, from_micros(occurred_at)), rule_of(EventKind.BOUNCE, bounce_type, sub_type, None)


def _last_delivered(sql: Sql, key: str) -> int:
    """When the last delivery to the address was, of which is known; 0 for none."""
    return max((row[0] for row in sql.all(_LAST_DELIVERED, (key,)) if row[0] is not None), default=0)


def _still_counted(sql: Sql, key: str, bounces: _Bounces, delivered_at: int) -> _Bounces:
    """Those since the last delivery, without strikes of mail that was delivered itself.

    What followed a delivery was an automatic reply, such as out of office. Each is looked at by itself: whether one is
    a reply does not depend on what else has bounced.
    """
    since = [(one, ruling) for one, ruling in bounces if to_micros(one.occurred_at) > delivered_at]
    delivered = _delivered(sql, key, {one.mail for one, ruling in since if ruling.strike})
    return [
        (one, ruling)
        for one, ruling in since
        if not ruling.strike or delivered.get(one.mail, _NEVER) <= to_micros(one.occurred_at - _REPLY_WITHIN)
    ]


def _delivered(sql: Sql, key: str, mails: Collection[str]) -> dict[str, int]:
    """Of those of these mails that reached the address, when they last did."""
    if not mails:
        return {}
    return dict(sql.all(_MAILS_DELIVERED.format(mails=marks(list(mails))), (*mails, key)))


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
