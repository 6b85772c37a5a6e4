"""The sending side of the recipients: marks, claims, attempts and their outcomes.

Every step is a compare-and-set. A hint that comes late, twice or from a stranger does nothing.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from gateway.envelope import Origin
from gateway.lifecycle import FINAL, Happening, Status, after
from gateway.store.control import CIRCUIT, STOPPED, Lease, require_lease
from gateway.store.db import Database
from gateway.store.sql import Sql
from gateway.store.suppressions import Suppression, find
from gateway.store.times import from_micros, now_micros, span


@dataclass(frozen=True, slots=True)
class Due:
    """A recipient that may be sent to now. `overdue`: it was marked before, and nobody claimed it in time."""

    recipient_id: int
    overdue: bool


@dataclass(frozen=True, slots=True)
class Outlook:
    """Whether recipients are due, how many are marked and not claimed, and whether sending is stopped.

    `probing`: the circuit was open, its time is over, and one mail shall show whether SES takes mail again.
    """

    due: bool
    marked: int
    stopped: bool
    probing: bool


@dataclass(frozen=True, slots=True)
class Claim:
    """A recipient that is ours to send to, until the claim lapses. The attempt id is the claim's proof."""

    recipient_id: int
    attempt_id: str
    message_id: int
    ulid: str
    address: str
    size: int
    attempts: int
    accepted_at: datetime
    origin: Origin


# Longer than any wait between two attempts, and than the circuit stays open.
_FURTHEST = timedelta(minutes=75)
_MINUTE = timedelta(minutes=1)


class Sending:
    """What the dispatcher and the workers do with due recipients."""

    def __init__(self, db: Database, *, dispatch_timeout: timedelta, claim_lease: timedelta) -> None:
        self._db = db
        self._dispatch_timeout = span(dispatch_timeout)
        self._claim_lease = span(claim_lease)

    # The dispatcher

    def outlook(self) -> Outlook:
        """What there is to do for a dispatcher: a few looks at indexes, and no write."""
        now = now_micros()
        with self._db.read() as sql:
            circuit = sql.one("SELECT until FROM control WHERE key = ?", (CIRCUIT,))
            return Outlook(
                due=any(
                    sql.value(f"SELECT 1 {_DUE} LIMIT 1", (credential_id, now, now))
                    for credential_id in _credentials(sql)
                ),
                marked=int(
                    sql.value(
                        "SELECT count(*) FROM recipients WHERE status = 'QUEUED' AND dispatched_until > ?", (now,)
                    )
                ),
                stopped=sql.value(STOPPED, (now,)) is not None,
                probing=circuit is not None and circuit[0] is not None and circuit[0] <= now,
            )

    def mark_due(self, lease: Lease, limit: int) -> list[Due]:
        """Mark up to `limit` due recipients for this dispatcher, each credential in its turn.

        LeaseLostError when the lease is another's. Nothing while sending is paused or the circuit is open.
        """

        def work(sql: Sql) -> list[Due]:
            require_lease(sql, lease)
            now = now_micros()
            if sql.value(STOPPED, (now,)) is not None:
                return []
            queues = [
                [
                    Due(row[0], row[1] is not None)
                    for row in sql.all(f"{_SELECT_DUE} LIMIT ?{sql.to_take}", (credential, now, now, limit))
                ]
                for credential in _credentials(sql)
            ]
            due = take_turns(queues, limit)
            sql.many(
                "UPDATE recipients SET dispatched_until = ? WHERE id = ? AND status = 'QUEUED'",
                [(now + self._dispatch_timeout, one.recipient_id) for one in due],
            )
            return due

        return self._db.write(work)

    # The worker

    def claim(self, recipient_id: int) -> Claim | None:
        """Take a marked recipient for sending; None when it is not to be had (any more), and that is no fault.

        The claim without an attempt lapses as soon as a mark would: nothing was sent yet, and it may go to another.
        """
        attempt_id = secrets.token_hex(16)

        def work(sql: Sql) -> Claim | None:
            now = now_micros()
            claimed = sql.run(
                "UPDATE recipients SET status = ?, reason = '', attempt_id = ?, claimed_until = ?,"
                " dispatched_until = NULL, changed_at = ? WHERE id = ? AND status = ? AND dispatched_until > ?"
                " AND next_attempt_at <= ?"
                f" AND NOT EXISTS ({STOPPED})",
                (
                    after(Status.QUEUED, Happening.CLAIM).value,
                    attempt_id,
                    now + self._dispatch_timeout,
                    now,
                    recipient_id,
                    Status.QUEUED.value,
                    now,
                    now,
                    now,
                ),
            )
            return _claim(sql, recipient_id) if claimed else None

        return self._db.write(work)

    def content(self, claim: Claim) -> bytes | None:
        """The octets of the claimed message; None when they are not kept any more."""
        with self._db.read() as sql:
            data = sql.value("SELECT data FROM contents WHERE message_id = ?", (claim.message_id,))
        return None if data is None else bytes(data)

    def begin_attempt(self, claim: Claim) -> Suppression | bool:
        """Write the attempt down before the call to SES, and ask the suppressions a last time, in one transaction.

        True: go on, nobody else will send this one. A Suppression: the recipient has become SUPPRESSED.
        False: the claim has lapsed, or sending has been stopped; leave it alone.
        """

        def work(sql: Sql) -> Suppression | bool:
            now = now_micros()
            key = sql.value(
                "SELECT address_key FROM recipients WHERE id = ? AND attempt_id = ? AND status = 'SENDING'"
                f" AND claimed_until > ?{sql.to_change}",
                (claim.recipient_id, claim.attempt_id, now),
            )
            if key is None:
                return False
            if sql.value(STOPPED, (now,)) is not None:
                happen(sql, claim.recipient_id, Happening.RELEASE, "sending was stopped")
                return False
            suppression = find(sql, key)
            if suppression is not None:
                reason = f"suppressed ({suppression.reason}, {suppression.since:%Y-%m-%d})"
                happen(sql, claim.recipient_id, Happening.SUPPRESS, reason)
                return suppression
            sql.run(
                "UPDATE recipients SET attempts = attempts + 1, claimed_until = ? WHERE id = ?",
                (now + self._claim_lease, claim.recipient_id),
            )
            sql.run(
                "INSERT INTO attempts (attempt_id, recipient_id, started_at, detail) VALUES (?, ?, ?, '')",
                (claim.attempt_id, claim.recipient_id, now),
            )
            return True

        return self._db.write(work)

    def accepted(self, claim: Claim, ses_message_id: str) -> None:
        """SES answered 200: it has the mail."""
        self._finish(claim, "accepted", ses_message_id, Happening.SEND, ses_message_id=ses_message_id)

    def refused(self, claim: Claim, reason: str) -> None:
        """SES will never take this mail, or it cannot be sent at all."""
        self._finish(claim, "refused", reason, Happening.REFUSE)

    def ambiguous(self, claim: Claim, reason: str) -> None:
        """SES may have taken it: the recipient waits for evidence."""
        self._finish(claim, "ambiguous", reason, Happening.LOSE_SIGHT)

    def released(self, claim: Claim, reason: str, *, wait: timedelta, counts: bool = True) -> None:
        """SES surely did not take it: queue it again for `wait` from now. What does not `count` is no attempt."""
        self._finish(claim, "not accepted", reason, Happening.RELEASE, wait=wait, give_back=not counts)

    def _finish(
        self,
        claim: Claim,
        outcome: str,
        detail: str,
        happening: Happening,
        *,
        ses_message_id: str | None = None,
        wait: timedelta = timedelta(0),
        give_back: bool = False,
    ) -> None:
        def work(sql: Sql) -> None:
            now = now_micros()
            begun = sql.run(
                "UPDATE attempts SET finished_at = ?, outcome = ?, detail = ?, ses_message_id = ? WHERE attempt_id = ?",
                (now, outcome, detail, ses_message_id, claim.attempt_id),
            )
            # Evidence counts whoever holds the claim by now, as long as its attempt is known: a recipient that was
            # erased has taken it along. Everything else counts only while this attempt is the last one.
            counts = bool(begun) if happening is Happening.SEND else _is_current(sql, claim)
            if not counts:
                return
            become = happen(sql, claim.recipient_id, happening, "" if happening is Happening.SEND else detail)
            if happening is Happening.SEND:
                # The probe of a circuit whose time is over has shown that SES takes mail again.
                sql.run("DELETE FROM control WHERE key = ? AND until <= ?", (CIRCUIT, now))
            if become is Status.QUEUED:
                sql.run(
                    "UPDATE recipients SET next_attempt_at = ?, attempts = attempts - ? WHERE id = ?",
                    (now + span(wait), int(give_back and bool(begun)), claim.recipient_id),
                )

        self._db.write(work)

    # Housekeeping

    def sweep_lapsed(self, lease: Lease, limit: int = 500) -> tuple[int, int]:
        """Settle claims whose worker is gone: (given back to QUEUED, become AMBIGUOUS)."""
        lapsed = "r.status = 'SENDING' AND r.claimed_until <= ?"
        if not self._any(f"recipients r WHERE {lapsed}"):
            return 0, 0

        def work(sql: Sql) -> tuple[int, int]:
            require_lease(sql, lease)
            # Locked as they are chosen: a worker that begins its attempt at this moment comes first, or finds nothing.
            rows = sql.all(
                "SELECT r.id, EXISTS (SELECT 1 FROM attempts a WHERE a.attempt_id = r.attempt_id) FROM recipients r"
                f" WHERE {lapsed} LIMIT ?{sql.to_take}",
                (now_micros(), limit),
            )
            for recipient_id, begun in rows:
                if begun:
                    happen(
                        sql, recipient_id, Happening.LOSE_SIGHT, "no outcome of the call to SES was recorded in time"
                    )
                else:
                    happen(sql, recipient_id, Happening.RELEASE, "the call to SES was not begun in time")
            ambiguous = sum(bool(begun) for _, begun in rows)
            return len(rows) - ambiguous, ambiguous

        return self._db.write(work)

    def correct_times(self, lease: Lease) -> int:
        """Bring back what a clock that has been set back since has put further ahead than anything is ever put.

        The number of rows that were changed. Meant for the beginning of a term of office and for a clock that jumps.
        """

        def work(sql: Sql) -> int:
            require_lease(sql, lease)
            now = now_micros()
            return sum(
                (
                    sql.run(
                        "UPDATE recipients SET next_attempt_at = ? WHERE status = 'QUEUED' AND (next_attempt_at > ?"
                        " OR (attempts = 0 AND reason = '' AND next_attempt_at > ?))",
                        (now, now + span(_FURTHEST), now + span(_MINUTE)),
                    ),
                    sql.run(
                        "UPDATE recipients SET dispatched_until = NULL WHERE status = 'QUEUED'"
                        " AND dispatched_until > ?",
                        (now + self._dispatch_timeout,),
                    ),
                    sql.run(
                        "UPDATE recipients SET claimed_until = ? WHERE status = 'SENDING' AND claimed_until > ?",
                        (now + self._claim_lease, now + self._claim_lease),
                    ),
                    sql.run(
                        "UPDATE notifications SET next_attempt_at = ?, dispatched_until = NULL"
                        " WHERE processed_at IS NULL AND (next_attempt_at > ? OR dispatched_until > ?)",
                        (now, now + span(_FURTHEST), now + self._dispatch_timeout),
                    ),
                    sql.run("UPDATE control SET until = ? WHERE until > ?", (now, now + span(_FURTHEST))),
                )
            )

        return self._db.write(work)

    def expire(self, lease: Lease, limit: int = 500) -> int:
        """End what is older than the maximum age; the last reason is kept in the new one."""
        aged = "status IN ('QUEUED', 'AMBIGUOUS', 'HELD') AND expires_at <= ?"
        if not self._any(f"recipients WHERE {aged}"):
            return 0

        def work(sql: Sql) -> int:
            require_lease(sql, lease)
            rows = sql.all(
                f"SELECT id, reason FROM recipients WHERE {aged} LIMIT ?{sql.to_take}", (now_micros(), limit)
            )
            for recipient_id, reason in rows:
                happen(sql, recipient_id, Happening.EXPIRE, f"gave up after the maximum age; {reason or 'never tried'}")
            return len(rows)

        return self._db.write(work)

    def _any(self, rows: str) -> bool:
        """Whether there are such rows at this moment, without the write gate."""
        with self._db.read() as sql:
            return sql.value(f"SELECT 1 FROM {rows} LIMIT 1", (now_micros(),)) is not None


def take_turns(queues: Sequence[Sequence[Due]], limit: int) -> list[Due]:
    """The first `limit` of all queues, one of each in turn, so that one slow queue never starves another."""
    taken: list[Due] = []
    for turn in range(max(map(len, queues), default=0)):
        for queue in queues:
            if turn < len(queue):
                taken.append(queue[turn])
                if len(taken) == limit:
                    return taken
    return taken


def happen(sql: Sql, recipient_id: int, happening: Happening, reason: str = "") -> Status | None:
    """Let something happen to a recipient, as the lifecycle's table says; the status it has then.

    None when there is no such recipient. Inside a transaction only. Where the table keeps the status nothing is
    written, so that a late or repeated report leaves the reason in force alone.
    """
    current = sql.value(f"SELECT status FROM recipients WHERE id = ?{sql.to_change}", (recipient_id,))
    if current is None:
        return None
    become = after(Status(current), happening)
    if become is not Status(current):
        now = now_micros()
        sql.run(
            "UPDATE recipients SET status = ?, reason = ?, changed_at = ?, ended_at = ?, dispatched_until = NULL,"
            " claimed_until = NULL WHERE id = ?",
            (become.value, reason, now, now if become in FINAL else None, recipient_id),
        )
    return become


_DUE = (
    "FROM recipients WHERE status = 'QUEUED' AND credential_id = ? AND next_attempt_at <= ?"
    " AND (dispatched_until IS NULL OR dispatched_until <= ?)"
)
_SELECT_DUE = f"SELECT id, dispatched_until {_DUE} ORDER BY next_attempt_at, id"


def _credentials(sql: Sql) -> list[int]:
    return [row[0] for row in sql.all("SELECT id FROM credentials ORDER BY id")]


def _is_current(sql: Sql, claim: Claim) -> bool:
    current = sql.value(f"SELECT attempt_id FROM recipients WHERE id = ?{sql.to_change}", (claim.recipient_id,))
    return bool(current == claim.attempt_id)


def _claim(sql: Sql, recipient_id: int) -> Claim:
    row = sql.one(
        "SELECT r.attempt_id, r.message_id, m.ulid, r.address, m.size, r.attempts, m.accepted_at, c.name,"
        " m.client_address, m.helo, m.protocol FROM recipients r JOIN messages m ON m.id = r.message_id"
        " JOIN credentials c ON c.id = r.credential_id WHERE r.id = ?",
        (recipient_id,),
    )
    assert row is not None  # noqa: S101  it was updated in this transaction
    return Claim(
        recipient_id=recipient_id,
        attempt_id=row[0],
        message_id=row[1],
        ulid=row[2],
        address=row[3],
        size=row[4],
        attempts=row[5],
        accepted_at=from_micros(row[6]),
        origin=Origin(credential=row[7], client_address=row[8], helo=row[9], protocol=row[10]),
    )
