"""Taking in one report of SES: whom it is about, and what follows for that recipient and that address.

Doing it again has the effect of doing it once, except that a rule which was changed meanwhile takes effect.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from gateway.addresses import address_key
from gateway.feedback import EventKind, Feedback
from gateway.lifecycle import Status, happening_of
from gateway.reputation import is_counted
from gateway.store.sending import happen
from gateway.store.sql import Row, Sql
from gateway.store.strikes import explain, judge_bounced, judge_delivered
from gateway.store.suppression_rows import last_lifted, suppress_by_event
from gateway.store.times import now_micros, to_micros
from gateway.suppression_policy import PASSING, Policy, Reason, rule, rule_of


@dataclass(frozen=True, slots=True)
class Applied:
    """One report that was taken in: whom it is about, and the status of that recipient by now.

    Without a known mail there is neither a message nor a status, and `recipient` is the address that SES reported, if
    any. `new` is False for a report that was taken in before, under whatever SNS message id.
    """

    kind: EventKind
    message_ulid: str | None
    recipient: str | None
    attempt_id: str | None
    status: Status | None
    new: bool


class UnmatchedError(Exception):
    """A report names a mail that is not known, maybe not yet: the answer of SES may still be on its way to us."""


@dataclass(frozen=True, slots=True)
class Source:
    """The notification that a report came in, and when that was stored."""

    notification_id: int
    received_at: int


def take_in(sql: Sql, source: Source, feedback: Feedback, policy: Policy, *, wait_for_match: bool) -> Applied:
    """Write down the event, and what it does to its recipient's status and its address.

    With `wait_for_match`, UnmatchedError when it names a mail by an SES message id that no attempt has (yet).
    """
    known = _known(sql, feedback)
    match = _match(sql, feedback, known)
    if match is None and known is None and feedback.attempt_id is None and wait_for_match:
        raise UnmatchedError(f"no attempt has the SES message id {feedback.ses_message_id}")
    event = _insert(sql, source, feedback, match) if known is None else _adopt(sql, known, feedback, match)
    status = None if match is None else _settle(sql, feedback, match)
    blamed = _blamed(feedback, match)
    if blamed is not None:
        _judge(sql, feedback, blamed, event, policy)
    return Applied(
        kind=feedback.kind,
        message_ulid=None if match is None else match.message_ulid,
        recipient=feedback.address if match is None else match.address,
        attempt_id=feedback.attempt_id if match is None else match.attempt_id,
        status=status,
        new=event.new,
    )


def suppress_early(sql: Sql, source: Source, feedback: Feedback, policy: Policy) -> None:
    """Suppress whom a report names while its mail is not known yet. What is counted waits until it is stored."""
    blamed = _blamed(feedback, None)
    if blamed is not None and rule(feedback).reason not in (None, *PASSING):
        _judge(sql, feedback, blamed, _Event(None, source.received_at, None, new=True), policy)


@dataclass(frozen=True, slots=True)
class _Match:
    recipient_id: int
    address: str
    address_key: str
    status: Status
    counted_at: int | None
    message_ulid: str
    attempt_id: str | None


@dataclass(frozen=True, slots=True)
class _Event:
    """A stored event. `known_since` is when it came here first; `new`: it, or whose it is, was not known before."""

    id: int | None
    known_since: int
    recipient_id: int | None
    new: bool = False


@dataclass(frozen=True, slots=True)
class _Blamed:
    address: str
    key: str


def _match(sql: Sql, feedback: Feedback, known: _Event | None) -> _Match | None:
    """The recipient a report is about: by our attempt id, else by the SES message id. Never by an address.

    Without either it is the one that another report of the same event has told.
    """
    for column, value in (
        ("a.attempt_id", feedback.attempt_id),
        ("a.ses_message_id", feedback.ses_message_id),
    ):
        row = value and sql.one(
            f"SELECT {_MATCHED}, a.attempt_id FROM attempts a JOIN recipients r ON r.id = a.recipient_id"
            f" WHERE {column} = ?{sql.to_change}",
            (value,),
        )
        if row:
            return _matched(row)
    if known is None or known.recipient_id is None:
        return None
    row = sql.one(f"SELECT {_MATCHED}, NULL FROM recipients r WHERE r.id = ?{sql.to_change}", (known.recipient_id,))
    return None if row is None else _matched(row)


_MATCHED = (
    "r.id, r.address, r.address_key, r.status, r.counted_at, (SELECT m.ulid FROM messages m WHERE m.id = r.message_id)"
)


def _matched(row: Row) -> _Match:
    id_, address, key, status, counted_at, ulid, attempt_id = row
    return _Match(id_, address, key, Status(status), counted_at, ulid, attempt_id)


def _known(sql: Sql, feedback: Feedback) -> _Event | None:
    """The event that this report repeats: SES and SNS both repeat themselves."""
    row = sql.one(
        "SELECT e.id, COALESCE(n.received_at, e.stored_at), e.recipient_id"
        " FROM events e LEFT JOIN notifications n ON n.id = e.notification_id WHERE e.dedupe_key = ?",
        (feedback.dedupe_key,),
    )
    return None if row is None else _Event(*row)


def _insert(sql: Sql, source: Source, feedback: Feedback, match: _Match | None) -> _Event:
    event_id = sql.value(
        "INSERT INTO events (dedupe_key, notification_id, recipient_id, attempt_id, ses_message_id, kind, bounce_type,"
        " sub_type, complaint_type, address, address_key, diagnostic, status_code, occurred_at, stored_at, blamed_key)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (dedupe_key) DO NOTHING RETURNING id",
        (
            feedback.dedupe_key,
            source.notification_id,
            None if match is None else match.recipient_id,
            (match and match.attempt_id) or feedback.attempt_id,
            feedback.ses_message_id,
            feedback.kind.value,
            feedback.bounce_type and feedback.bounce_type.value,
            feedback.sub_type,
            feedback.complaint_type,
            feedback.address,
            feedback.address and address_key(feedback.address),
            feedback.diagnostic,
            feedback.status_code,
            to_micros(feedback.occurred_at),
            now_micros(),
            _counts_for(feedback, match),
        ),
    )
    if event_id is not None:
        return _Event(event_id, source.received_at, None if match is None else match.recipient_id, new=True)
    known = _known(sql, feedback)  # another worker has just committed it
    assert known is not None  # noqa: S101  the conflict was with a row that nobody deletes meanwhile
    return _adopt(sql, known, feedback, match)


def _adopt(sql: Sql, known: _Event, feedback: Feedback, match: _Match | None) -> _Event:
    """A known event, whose mail may only now be told.

    SES may publish one bounce twice, without our attempt id and with it, and the first may have been given up on.
    """
    if match is not None and known.recipient_id is None:
        sql.run(
            "UPDATE events SET recipient_id = ?, attempt_id = ?, blamed_key = ? WHERE id = ?",
            (match.recipient_id, match.attempt_id, _counts_for(feedback, match), known.id),
        )
        return replace(known, recipient_id=match.recipient_id, new=True)
    # Events of releases that did not count have no such key yet.
    sql.run(
        "UPDATE events SET blamed_key = ? WHERE id = ? AND blamed_key IS NULL",
        (_counts_for(feedback, match), known.id),
    )
    return known


def _blamed(feedback: Feedback, match: _Match | None) -> _Blamed | None:
    """The attempt's recipient: the reported address may be where the mail was forwarded to."""
    if match is not None:
        return _Blamed(match.address, match.address_key)
    return None if feedback.address is None else _Blamed(feedback.address, address_key(feedback.address))


def _counts_for(feedback: Feedback, match: _Match | None) -> str | None:
    """Whom the event counts for or against when bounces are counted."""
    blamed = _blamed(feedback, match) if feedback.kind in (EventKind.BOUNCE, EventKind.DELIVERY) else None
    return None if blamed is None else blamed.key


def _settle(sql: Sql, feedback: Feedback, match: _Match) -> Status | None:
    """Let the recipient become what the report proves; its status then."""
    status = happen(sql, match.recipient_id, happening_of(feedback), _explain(feedback))
    if not is_counted(match.address_key):
        return status
    if rule(feedback).echo:
        if not _was_attempted(sql, match.recipient_id):
            sql.run("UPDATE recipients SET counted_at = NULL WHERE id = ?", (match.recipient_id,))
    elif feedback.kind in _VERDICTS and match.counted_at is None:
        sql.run(
            "UPDATE recipients SET counted_at = COALESCE(counted_at, ?) WHERE id = ?",
            (now_micros(), match.recipient_id),
        )
    return status


# What is told only of mail that SES has tried to deliver, unless it is an echo.
_VERDICTS = (EventKind.DELIVERY, EventKind.BOUNCE, EventKind.COMPLAINT)


def _was_attempted(sql: Sql, recipient_id: int) -> bool:
    """Whether SES has tried to deliver another mail to this recipient: one sent again may bounce and then echo."""
    rows = sql.all(
        "SELECT kind, bounce_type, sub_type, complaint_type FROM events WHERE recipient_id = ?", (recipient_id,)
    )
    return any(kind in _VERDICTS and not rule_of(kind, *types).echo for kind, *types in rows)


def _judge(sql: Sql, feedback: Feedback, blamed: _Blamed, event: _Event, policy: Policy) -> None:
    """Suppress the address, or lift what suppresses it.

    Whoever lifted a suppression by hand had seen what was known then: a report of that time does not undo it.
    """
    ruling = rule(feedback)
    if ruling.strike or ruling.reason in PASSING:
        judge_bounced(sql, blamed.key, policy)
    elif feedback.kind is EventKind.DELIVERY:
        judge_delivered(sql, blamed.key, policy)
    elif ruling.reason is not None:
        sql.in_turn(blamed.key)  # whoever lifts it at this moment is waited for, and then has had his word
        if event.known_since > (last_lifted(sql, blamed.key) or 0):
            _suppress(sql, feedback, ruling.reason, blamed, event, policy)


def _suppress(sql: Sql, feedback: Feedback, reason: Reason, blamed: _Blamed, event: _Event, policy: Policy) -> None:
    expires_at = policy.expires(reason, feedback.occurred_at)
    suppress_by_event(
        sql,
        blamed.address,
        blamed.key,
        reason,
        source=f"SES {feedback.kind}",
        detail=_explain(feedback),
        at=to_micros(feedback.occurred_at),
        event_id=event.id,
        expires_at=None if expires_at is None else to_micros(expires_at),
    )


def _explain(feedback: Feedback) -> str:
    return explain(
        feedback.kind, (feedback.bounce_type, feedback.sub_type, feedback.complaint_type), feedback.diagnostic
    )
