"""Recipients that SES may have or may not: found, judged by the evidence there is, and sent again or held."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from gateway.evidence import MOST_CALLS, Channel, Doubt, Policy, Verdict, channel, verdict
from gateway.feedback import EventKind
from gateway.lifecycle import Happening, Status
from gateway.store.control import Lease, require_lease
from gateway.store.db import Database
from gateway.store.sending import ACCEPTED, AMBIGUOUS, happen
from gateway.store.sql import Sql, marks
from gateway.store.statuses import unsettled
from gateway.store.times import from_micros, now_micros, span

# What every mail that SES took causes sooner or later; a bounce or a complaint says nothing about the others.
_REPORTS = (EventKind.SEND.value, EventKind.DELIVERY.value)
# A report is understood within a second of its coming; older ones that wait are a backlog.
_BACKLOG = timedelta(seconds=10)

_AMBIGUOUS = unsettled(Status.AMBIGUOUS, "r.")

# How the reason of a recipient begins that is HELD because it could be sent a second time.
IN_DOUBT = "SES may have it already"


@dataclass(frozen=True, slots=True)
class AmbiguityOutlook:
    """What waits for evidence, since when, and whether evidence can be expected.

    `channel` is the worst of all configuration sets that mail in doubt was sent with.
    """

    waiting: int
    oldest_at: datetime | None
    channel: Channel

    @property
    def is_silent(self) -> bool:
        """Whether mail waits for evidence that does not come for anything: somebody must look at SNS."""
        return self.waiting > 0 and self.channel is Channel.SILENT


@dataclass(frozen=True, slots=True)
class Settled:
    """Recipients that one batch moved."""

    resent: int = 0
    held: int = 0


@dataclass(frozen=True, slots=True)
class _InDoubt:
    """`attempt` is the place of its last attempt in the order of all, which began at `started_at`.

    `configuration_set` is the one of its credential, empty for the installation's: each has a channel of its own.
    """

    recipient_id: int
    since: int
    calls: int
    attempt: int
    started_at: int
    configuration_set: str


class Ambiguity:
    """Asks for evidence, and decides where none will come."""

    def __init__(self, db: Database, policy: Policy) -> None:
        self._db = db
        self._policy = policy

    @property
    def wait(self) -> float:
        """Seconds that the first doubt waits for evidence."""
        return self._policy.wait / 1_000_000

    def outlook(self) -> AmbiguityOutlook:
        now = now_micros()
        with self._db.read() as sql:
            waiting, oldest = sql.all(f"SELECT count(*), min(r.changed_at) FROM recipients r WHERE {_AMBIGUOUS}")[0]
            looks = [channel(doubt, self._policy, now) for doubt in _oldest_doubts(sql)] if waiting else []
        worst = min(looks or [channel(Doubt(now, 0), self._policy, now)], key=_WORST_FIRST.index)
        return AmbiguityOutlook(int(waiting), None if oldest is None else from_micros(oldest), worst)

    def settle(self, lease: Lease, limit: int = 200) -> Settled:
        """One batch of those whose patience is over. LeaseLostError when the lease is another's."""
        with self._db.read() as sql:
            if not self._ripe(sql, limit):
                return Settled()
        return self._db.write(lambda sql: self._settle(sql, lease, limit))

    def _settle(self, sql: Sql, lease: Lease, limit: int) -> Settled:
        require_lease(sql, lease)
        if _reports_wait(sql):
            return Settled()
        ripe = self._ripe(sql, limit, sql.to_take)
        for recipient_id, what in ripe:
            (_resend if what is Verdict.RESEND else _hold)(sql, recipient_id)
        resent = sum(what is Verdict.RESEND for _, what in ripe)
        return Settled(resent, len(ripe) - resent)

    def _ripe(self, sql: Sql, limit: int, locked: str = "") -> list[tuple[int, Verdict]]:
        now = now_micros()
        behind = None
        if self._policy.has_channel:
            behind = _newest_reported(sql)
            if behind is None:
                return []
        found = _ripening(sql, now, self._policy, behind, limit, locked)
        judged = [(one.recipient_id, verdict(_doubt(sql, one), self._policy, now)) for one in found]
        return [(recipient_id, what) for recipient_id, what in judged if what is not Verdict.WAIT]


# How many calls for this recipient ended in nothing that is known; at least the one it waits for.
_CALLS = f"(SELECT count(*) FROM attempts n WHERE n.recipient_id = r.id AND n.outcome = '{AMBIGUOUS}')"
_SET = "COALESCE(c.configuration_set, '')"
_IN_DOUBT = (
    f"SELECT r.id, r.changed_at, {_CALLS}, a.id, a.started_at, {_SET} FROM recipients r"
    " JOIN attempts a ON a.attempt_id = r.attempt_id JOIN credentials c ON c.id = r.credential_id"
    f" WHERE {_AMBIGUOUS}"
)
_WORST_FIRST = (Channel.SILENT, Channel.UNKNOWN, Channel.ALIVE, Channel.NONE)


def _ripening(sql: Sql, now: int, policy: Policy, behind: int | None, limit: int, locked: str = "") -> list[_InDoubt]:
    """The oldest first: those that have waited long enough, and whose attempt came before the one `behind` them.

    The patience is that of `Policy.patience`, so that nothing which must wait takes the place of what need not.
    """
    later = "" if behind is None else " AND a.id < ?"
    patience = " ".join(f"WHEN {calls} THEN {policy.patience(calls)}" for calls in range(MOST_CALLS))
    rows = sql.all(
        f"{_IN_DOUBT} AND r.changed_at <= ? - (CASE {_CALLS} {patience}"
        f" ELSE {policy.patience(MOST_CALLS)} END){later} ORDER BY r.changed_at LIMIT ?{locked}",
        (now, *(() if behind is None else (behind,)), limit),
    )
    return [_InDoubt(*row) for row in rows]


def _oldest_doubts(sql: Sql) -> list[Doubt]:
    """The oldest of each configuration set."""
    sets = sql.all(
        f"SELECT DISTINCT {_SET} FROM recipients r JOIN credentials c ON c.id = r.credential_id WHERE {_AMBIGUOUS}"
    )
    oldest = [sql.one(f"{_IN_DOUBT} AND {_SET} = ? ORDER BY r.changed_at LIMIT 1", row) for row in sets]
    return [_doubt(sql, _InDoubt(*row)) for row in oldest if row is not None]


def _doubt(sql: Sql, one: _InDoubt) -> Doubt:
    return Doubt(
        since=one.since,
        calls=one.calls,
        later_sent_at=sql.value(
            "SELECT finished_at FROM (SELECT id, recipient_id, finished_at, outcome FROM attempts WHERE id > ?"
            f" ORDER BY id LIMIT 1000) later WHERE outcome = ? AND {_by_the_same_set('later')} ORDER BY id LIMIT 1",
            (one.attempt, ACCEPTED, one.configuration_set),
        ),
        later_seen_at=sql.value(
            "SELECT e.stored_at FROM events e JOIN attempts a ON a.attempt_id = e.attempt_id"
            f" WHERE e.stored_at >= ? AND e.kind IN ({marks(_REPORTS)}) AND a.id > ? AND {_by_the_same_set('a')}"
            " ORDER BY e.stored_at LIMIT 1",
            (one.started_at, *_REPORTS, one.attempt, one.configuration_set),
        ),
    )


def _by_the_same_set(attempt: str) -> str:
    """A condition on an attempt: its mail was sent with the configuration set that is bound to it."""
    credential = "SELECT 1 FROM recipients r JOIN credentials c ON c.id = r.credential_id"
    return f"EXISTS ({credential} WHERE r.id = {attempt}.recipient_id AND {_SET} = ?)"


def _newest_reported(sql: Sql) -> int | None:
    """The newest attempt that a report came on lately: only what was in doubt before it can be judged."""
    newest: int | None = sql.value(
        "SELECT max(a.id) FROM attempts a JOIN (SELECT attempt_id FROM events WHERE stored_at > 0"
        f" AND kind IN ({marks(_REPORTS)}) AND attempt_id IS NOT NULL ORDER BY stored_at DESC LIMIT 50) e"
        " ON e.attempt_id = a.attempt_id",
        _REPORTS,
    )
    return newest


def _reports_wait(sql: Sql) -> bool:
    """Whether reports are stored and have not been looked at: one of them may be the evidence."""
    # By the index of what is due, and not by the one of all that ever came: hence the plus.
    waiting = "processed_at IS NULL AND next_attempt_at > 0 AND error = '' AND +received_at <= ?"
    moment_ago = now_micros() - span(_BACKLOG)
    return sql.value(f"SELECT 1 FROM notifications WHERE {waiting} LIMIT 1", (moment_ago,)) is not None


def _resend(sql: Sql, recipient_id: int) -> None:
    happen(sql, recipient_id, Happening.RESEND, "no evidence came that SES has it; it is sent again")
    sql.run("UPDATE recipients SET next_attempt_at = ? WHERE id = ?", (now_micros(), recipient_id))


def _hold(sql: Sql, recipient_id: int) -> None:
    happen(sql, recipient_id, Happening.HOLD, f"{IN_DOUBT}, or may not; no evidence came, and a person decides")
