"""How often each credential's mail bounces or is complained of, and the hold that keeps a careless one back."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from gateway.lifecycle import Status
from gateway.reputation import LAST_SENDS, MIN_EVENTS, Limits, Rates, verdict
from gateway.store.audit import record
from gateway.store.control import Lease, require_lease
from gateway.store.db import Database
from gateway.store.errors import StoreError
from gateway.store.sent_counts import SentCounts, count_sent
from gateway.store.sql import Row, Sql
from gateway.store.times import from_micros, now_micros, span

_DAY = timedelta(hours=24)
# As constants: a partial index is used only where the statement repeats its condition.
_BLAMED = f"'{Status.BOUNCED}', '{Status.COMPLAINED}'"


@dataclass(frozen=True, slots=True)
class Standing:
    """What a credential's mail has caused: in 24 hours, and in its last 1,000 sends; `credential` None means all.

    `queued` counts what waits under its name; None where that was not asked for. While `held_at` is set nothing of it
    is sent.
    """

    credential: str | None
    day: Rates
    last: Rates
    held_at: datetime | None
    held_reason: str
    held_by: str
    queued: int | None


class Reputation:
    """Asks for rates, holds and releases. Mail to the mailbox simulator counts nowhere."""

    def __init__(self, db: Database, limits: Limits) -> None:
        self._db = db
        self._limits = limits
        self._sent = SentCounts()

    @property
    def limits(self) -> Limits:
        return self._limits

    def standings(self, *, with_queue: bool = True) -> list[Standing]:
        """One of each credential, by name, and the last of all together; `with_queue` counts what waits, row by row."""
        with self._db.read() as sql:
            rows = sql.all(f"{_SELECT} ORDER BY name")
            each = [self._standing(sql, row, with_queue=with_queue) for row in rows]
            return [*each, self._total(sql, [row[0] for row in rows], each)]

    def hold(self, credential: str, reason: str, *, actor: str) -> bool:
        """Send nothing of a credential any more; its mail waits and ages. False when it is held already.

        StoreError when there is no such credential.
        """

        def work(sql: Sql) -> bool:
            return _hold(sql, _find(sql, credential), reason, actor)

        return self._db.write(work)

    def release(self, credential: str, *, actor: str) -> bool:
        """Let a credential send again. It is judged anew, by what it sends from now on. False when it was not held.

        StoreError when there is no such credential.
        """

        def work(sql: Sql) -> bool:
            row = _find(sql, credential)
            if row[2] is None:
                return False
            sql.run(
                "UPDATE credentials SET held_at = NULL, held_reason = NULL, held_by = NULL, judged_from = ?"
                " WHERE id = ?",
                (now_micros(), row[0]),
            )
            record(sql, actor, "credential.release", credential, f"was held: {row[3] or ''}")
            return True

        return self._db.write(work)

    def judge(self, lease: Lease) -> list[tuple[str, str]]:
        """Hold every credential that is over its limits: name and reason of those held now.

        LeaseLostError when the lease is another's.
        """
        with self._db.read() as sql:
            due = self._verdicts(sql)
        if not due:
            return []

        def work(sql: Sql) -> list[tuple[str, str]]:
            require_lease(sql, lease)
            return [
                (name, reason)
                for name, reason in self._verdicts(sql)
                if _hold(sql, _find(sql, name), reason, "the dispatcher")
            ]

        return self._db.write(work)

    def _verdicts(self, sql: Sql) -> list[tuple[str, str]]:
        found = []
        for row in sql.all(f"{_SELECT} WHERE held_at IS NULL ORDER BY name"):
            # The many that cause nothing cost one look at a small index each.
            if not _was_blamed(sql, row[0]):
                continue
            standing = self._standing(sql, row, with_queue=False)
            for rates, window in ((standing.day, "24 hours"), (standing.last, f"the last {LAST_SENDS:,}")):
                reason = verdict(rates, self._limits, window)
                if reason:
                    found.append((row[1], reason))
                    break
        return found

    def _standing(self, sql: Sql, row: Row, *, with_queue: bool) -> Standing:
        id_, name, held_at, held_reason, held_by, judged_from = row
        return Standing(
            credential=name,
            day=self._of_a_day(sql, id_, judged_from or 0),
            last=_since(sql, id_, max(judged_from or 0, _begin_of_last(sql, id_))),
            held_at=None if held_at is None else from_micros(held_at),
            held_reason=held_reason or "",
            held_by=held_by or "",
            queued=_queued(sql, id_) if with_queue else None,
        )

    def _total(self, sql: Sql, credentials: list[int], standings: list[Standing]) -> Standing:
        """What AWS sees: it knows no release of ours, so everything counts."""
        newest = sorted((moment for id_ in credentials for moment in _last_moments(sql, id_)), reverse=True)
        begin = newest[:LAST_SENDS][-1] if newest else 0
        waiting = [one.queued for one in standings if one.queued is not None]
        return Standing(
            credential=None,
            day=_sum([self._of_a_day(sql, id_, 0) for id_ in credentials]),
            last=_sum([_since(sql, id_, begin) for id_ in credentials]),
            held_at=None,
            held_reason="",
            held_by="",
            queued=sum(waiting) if len(waiting) == len(standings) else None,
        )

    def _of_a_day(self, sql: Sql, credential_id: int, judged_from: int) -> Rates:
        now = now_micros()
        begin = max(judged_from, now - span(_DAY))
        return _rates(sql, credential_id, begin, now, self._sent.count(sql, credential_id, begin, now))


_SELECT = "SELECT id, name, held_at, held_reason, held_by, judged_from FROM credentials"


def _find(sql: Sql, name: str) -> Row:
    row = sql.one(f"{_SELECT} WHERE name = ?{sql.to_change}", (name,))
    if row is None:
        raise StoreError(f"There is no credential {name!r}.")
    return row


def _hold(sql: Sql, row: Row, reason: str, actor: str) -> bool:
    if row[2] is not None:
        return False
    sql.run(
        "UPDATE credentials SET held_at = ?, held_reason = ?, held_by = ? WHERE id = ?",
        (now_micros(), reason, actor, row[0]),
    )
    record(sql, actor, "credential.hold", row[1], reason)
    return True


def _since(sql: Sql, credential_id: int, begin: int) -> Rates:
    now = now_micros()
    return _rates(sql, credential_id, begin, now, count_sent(sql, credential_id, begin, now))


def _rates(sql: Sql, credential_id: int, begin: int, now: int, sends: int) -> Rates:
    """Of the mail that SES took since `begin`; what a fast clock has dated ahead counts when its time has come."""
    blamed = _blamed(sql, credential_id, begin, now)
    return Rates(sends, bounces=blamed.get(Status.BOUNCED, 0), complaints=blamed.get(Status.COMPLAINED, 0))


def _blamed(sql: Sql, credential_id: int, begin: int, now: int) -> dict[Status, int]:
    return {
        Status(status): int(count)
        for status, count in sql.all(
            f"SELECT status, count(*) FROM recipients WHERE status IN ({_BLAMED}) AND credential_id = ?"
            " AND counted_at BETWEEN ? AND ? GROUP BY status",
            (credential_id, begin, now),
        )
    }


def _was_blamed(sql: Sql, credential_id: int) -> bool:
    """Whether it was, ever, often enough to be looked at."""
    some = (
        f"SELECT 1 FROM recipients WHERE status IN ({_BLAMED}) AND credential_id = ? AND counted_at > 0"
        f" LIMIT {MIN_EVENTS}"
    )
    return int(sql.value(f"SELECT count(*) FROM ({some}) first_few", (credential_id,))) >= MIN_EVENTS


def _last_moments(sql: Sql, credential_id: int) -> list[int]:
    """When SES took its last mails, the newest first."""
    return [
        row[0]
        for row in sql.all(
            "SELECT counted_at FROM recipients WHERE credential_id = ? AND counted_at <= ?"
            f" ORDER BY counted_at DESC LIMIT {LAST_SENDS}",
            (credential_id, now_micros()),
        )
    ]


def _begin_of_last(sql: Sql, credential_id: int) -> int:
    moments = _last_moments(sql, credential_id)
    return moments[-1] if moments else 0


def _queued(sql: Sql, credential_id: int) -> int:
    return int(
        sql.value("SELECT count(*) FROM recipients WHERE status = 'QUEUED' AND credential_id = ?", (credential_id,))
    )


def _sum(rates: list[Rates]) -> Rates:
    return Rates(
        sends=sum(one.sends for one in rates),
        bounces=sum(one.bounces for one in rates),
        complaints=sum(one.complaints for one in rates),
    )
