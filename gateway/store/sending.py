"""The sending side of the recipients: marks, claims, attempts and their outcomes.

Every step is a compare-and-set. A hint that comes late, twice or from a stranger does nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from gateway.envelope import Origin
from gateway.lifecycle import AFTER_SES, FINAL, Happening, Status, after
from gateway.reputation import is_counted
from gateway.store.attempt_ids import new_attempt_id
from gateway.store.control import CIRCUIT, STOPPED, Lease, require_lease
from gateway.store.credential_rows import read_tags
from gateway.store.db import Database
from gateway.store.sql import Row, Sql
from gateway.store.suppression_rows import Suppression, find
from gateway.store.times import from_micros, now_micros, span


@dataclass(frozen=True, slots=True)
class Due:
    """A recipient that may be sent to now. `overdue`: it was marked before, and nobody claimed it in time."""

    recipient_id: int
    overdue: bool
    credential_id: int


@dataclass(frozen=True, slots=True)
class Outlook:
    """Whether recipients are due, how many are marked and not claimed, and whether sending is stopped.

    `oldest_mark`: seconds since the first of the marked was marked. `probing`: the circuit was open, its time is over,
    and one mail shall show whether SES takes mail again.
    """

    due: bool
    marked: int
    oldest_mark: float
    stopped: bool
    probing: bool


@dataclass(frozen=True, slots=True)
class Claim:
    """A recipient that is ours to send to, until the claim lapses. The attempt id is the claim's proof.

    `configuration_set` and `tags` are those of its credential, as they are now.
    """

    recipient_id: int
    attempt_id: str
    message_id: int
    ulid: str
    address: str
    size: int
    attempts: int
    accepted_at: datetime
    origin: Origin
    configuration_set: str | None = None
    tags: tuple[tuple[str, str], ...] = ()


_MICROS = 1_000_000

# What is written down as the outcome of an attempt.
ACCEPTED = "accepted"
NOT_ACCEPTED = "not accepted"
REFUSED = "refused"
AMBIGUOUS = "ambiguous"
UNKNOWN = "not known"


class Sending:
    """What the dispatcher and the workers do with due recipients."""

    def __init__(self, db: Database, *, dispatch_timeout: timedelta, claim_lease: timedelta) -> None:
        self._db = db
        self._dispatch_timeout = span(dispatch_timeout)
        self._claim_lease = span(claim_lease)

    # The dispatcher

    @property
    def dispatch_timeout(self) -> float:
        """Seconds after which a mark lapses."""
        return self._dispatch_timeout / _MICROS

    def outlook(self) -> Outlook:
        """What there is to do for a dispatcher: a few looks at indexes, and no write."""
        now = now_micros()
        with self._db.read() as sql:
            circuit = sql.one("SELECT until FROM control WHERE key = ?", (CIRCUIT,))
            marked, lapses = sql.all(_MARKED, (now,))[0]
            return Outlook(
                due=any(
                    sql.value(f"SELECT 1 {_DUE} LIMIT 1", (credential_id, now, now))
                    for credential_id in _credentials(sql)
                ),
                marked=marked,
                oldest_mark=(now + self._dispatch_timeout - lapses) / _MICROS if marked else 0.0,
                stopped=sql.value(STOPPED, (now,)) is not None,
                probing=circuit is not None and circuit[0] is not None and circuit[0] <= now,
            )

    def mark_due(self, lease: Lease, limit: int, behind: int = 0) -> list[Due]:
        """Mark up to `limit` due recipients for this dispatcher, each credential in its turn.

        `behind` is the credential that had the last turn before: at low rates there is one turn at a time, and the
        first credential would have all of them. Nothing while sending is paused or the circuit is open. LeaseLostError
        when the lease is another's.
        """

        def work(sql: Sql) -> list[Due]:
            require_lease(sql, lease)
            now = now_micros()
            if sql.value(STOPPED, (now,)) is not None:
                return []
            queues = [
                [
                    Due(row[0], row[1] is not None, credential)
                    for row in sql.all(f"{_SELECT_DUE} LIMIT ?{sql.to_take}", (credential, now, now, limit))
                ]
                for credential in next_in_turn(_credentials(sql), behind)
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
        attempt_id = new_attempt_id()

        def work(sql: Sql) -> Claim | None:
            now = now_micros()
            claimed = sql.run(
                "UPDATE recipients SET status = ?, reason = '', attempt_id = ?, claimed_until = ?,"
                f" dispatched_until = NULL, changed_at = ? WHERE id = ? AND {CLAIMABLE} AND NOT EXISTS ({STOPPED})",
                (
                    after(Status.QUEUED, Happening.CLAIM).value,
                    attempt_id,
                    now + self._dispatch_timeout,
                    now,
                    recipient_id,
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
            if sql.value(STOPPED, (now,)) is not None or _is_held(sql, claim.recipient_id):
                happen(sql, claim.recipient_id, Happening.RELEASE, "sending was stopped")
                return False
            suppression = find(sql, key, claim.origin.credential)
            if suppression is not None:
                happen(sql, claim.recipient_id, Happening.SUPPRESS, f"suppressed {suppression.spoken}")
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

    def accepted(self, claim: Claim, ses_message_id: str) -> bool:
        """SES answered 200: it has the mail, whoever holds the claim by now. Whether that has closed the circuit."""
        return self._db.write(lambda sql: record_acceptance(sql, claim, ses_message_id) and close_circuit(sql))

    def refused(self, claim: Claim, reason: str, *, error: str = "") -> None:
        """SES will never take this mail, or it cannot be sent at all."""
        self._finish(claim, REFUSED, reason, Happening.REFUSE, error)

    def ambiguous(self, claim: Claim, reason: str, *, error: str = "") -> None:
        """SES may have taken it: the recipient waits for evidence."""
        self._finish(claim, AMBIGUOUS, reason, Happening.LOSE_SIGHT, error)

    def parked(self, claim: Claim, reason: str, *, error: str = "") -> None:
        """SES did not take it, for a reason that is not known here: it waits for a person."""
        self._finish(claim, UNKNOWN, reason, Happening.HOLD, error)

    def captured(self, claim: Claim, reason: str) -> None:
        """The staging guard keeps it: nothing was sent, and nothing will be unless an operator says so."""
        self._finish(claim, NOT_ACCEPTED, reason, Happening.CAPTURE, "")

    def released(self, claim: Claim, reason: str, *, wait: timedelta, counts: bool = True, error: str = "") -> None:
        """SES surely did not take it: queue it again for `wait` from now. What does not `count` is no attempt."""

        def again(sql: Sql, begun: bool) -> None:
            sql.run(
                "UPDATE recipients SET next_attempt_at = ?, attempts = attempts - ? WHERE id = ?",
                (now_micros() + span(wait), int(begun and not counts), claim.recipient_id),
            )

        self._finish(claim, NOT_ACCEPTED, reason, Happening.RELEASE, error, again)

    def _finish(
        self,
        claim: Claim,
        outcome: str,
        reason: str,
        happening: Happening,
        error: str,
        then: Callable[[Sql, bool], None] = lambda _sql, _begun: None,
    ) -> None:
        """Write an outcome down; `then` when it moved the recipient. It counts only while this attempt is the last.

        Done again after its commit was answered by nothing, it changes nothing more.
        """

        def work(sql: Sql) -> None:
            begun = _end_attempt(sql, claim, outcome, reason, error=error)
            before = sql.one(
                f"SELECT attempt_id, status FROM recipients WHERE id = ?{sql.to_change}", (claim.recipient_id,)
            )
            if before is None or before[0] != claim.attempt_id:
                return
            if happen(sql, claim.recipient_id, happening, reason) is not Status(before[1]):
                then(sql, begun)

        self._db.write(work)


def record_acceptance(sql: Sql, claim: Claim, ses_message_id: str) -> bool:
    """Inside a transaction. False for a recipient that was erased: it has taken its attempts along for good."""
    if not _end_attempt(sql, claim, ACCEPTED, ses_message_id, ses_message_id=ses_message_id):
        return False
    happen(sql, claim.recipient_id, Happening.SEND)
    return True


def close_circuit(sql: Sql) -> bool:
    """SES has taken a mail: where the circuit's time is over, that was its probe, and it goes. Whether it has."""
    return sql.run("DELETE FROM control WHERE key = ? AND until <= ?", (CIRCUIT, now_micros())) > 0


def _end_attempt(
    sql: Sql, claim: Claim, outcome: str, detail: str, *, ses_message_id: str | None = None, error: str = ""
) -> bool:
    """Whether there is such an attempt: none was begun where the mail could not even be prepared."""
    row = sql.one(f"SELECT outcome FROM attempts WHERE attempt_id = ?{sql.to_change}", (claim.attempt_id,))
    if row is None:
        return False
    sql.run(
        "UPDATE attempts SET finished_at = ?, outcome = ?, detail = ?, ses_message_id = ? WHERE attempt_id = ?",
        (now_micros(), outcome, detail, ses_message_id, claim.attempt_id),
    )
    if row[0] != outcome:
        sql.tally("attempts", outcome)
        if error:
            sql.tally("ses_errors", error)
    return True


def next_in_turn(credentials: Sequence[int], behind: int) -> list[int]:
    """All of them, beginning with the one after `behind`."""
    return [one for one in credentials if one > behind] + [one for one in credentials if one <= behind]


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
    row = sql.one(f"SELECT status, address_key FROM recipients WHERE id = ?{sql.to_change}", (recipient_id,))
    if row is None:
        return None
    current = Status(row[0])
    become = after(current, happening)
    if become is not current:
        now = now_micros()
        sql.run(
            "UPDATE recipients SET status = ?, reason = ?, changed_at = ?, ended_at = ?, dispatched_until = NULL,"
            " claimed_until = NULL, counted_at = COALESCE(counted_at, ?) WHERE id = ?",
            (
                become.value,
                reason,
                now,
                now if become in FINAL else None,
                now if become in AFTER_SES and is_counted(row[1]) else None,
                recipient_id,
            ),
        )
        if become is not Status.QUEUED:
            sql.tally("outcomes", become.value)
    return become


_DUE = (
    "FROM recipients WHERE status = 'QUEUED' AND credential_id = ? AND next_attempt_at <= ?"
    " AND (dispatched_until IS NULL OR dispatched_until <= ?)"
)
_MARKED = "SELECT count(*), min(dispatched_until) FROM recipients WHERE status = 'QUEUED' AND dispatched_until > ?"
_SELECT_DUE = f"SELECT id, dispatched_until {_DUE} ORDER BY next_attempt_at, id"


# A credential that is held, of the recipient at hand.
_HELD = "SELECT 1 FROM credentials c WHERE c.id = recipients.credential_id AND c.held_at IS NOT NULL"
# A recipient that may be claimed now (now is bound twice), unless sending is stopped altogether.
CLAIMABLE = f"status = '{Status.QUEUED}' AND dispatched_until > ? AND next_attempt_at <= ? AND NOT EXISTS ({_HELD})"


def _credentials(sql: Sql) -> list[int]:
    """Whose mail may go out."""
    return [row[0] for row in sql.all("SELECT id FROM credentials WHERE held_at IS NULL ORDER BY id")]


def _is_held(sql: Sql, recipient_id: int) -> bool:
    return sql.value(f"SELECT 1 FROM recipients WHERE id = ? AND EXISTS ({_HELD})", (recipient_id,)) is not None


def _claim(sql: Sql, recipient_id: int) -> Claim:
    row = sql.one(f"SELECT {CLAIMED} r.id = ?", (recipient_id,))
    assert row is not None  # noqa: S101  it was updated in this transaction
    return claim_of(row)


# What a claim is made of, up to the condition.
CLAIMED = (
    "r.id, r.attempt_id, r.message_id, m.ulid, r.address, m.size, r.attempts, m.accepted_at, c.name,"
    " m.client_address, m.helo, m.protocol, c.configuration_set, c.tags"
    " FROM recipients r JOIN messages m ON m.id = r.message_id JOIN credentials c ON c.id = r.credential_id WHERE"
)


def claim_of(row: Row, attempt_id: str | None = None) -> Claim:
    """A row of CLAIMED as a claim; with the attempt id that it will have where it is none yet."""
    return Claim(
        recipient_id=row[0],
        attempt_id=attempt_id or row[1],
        message_id=row[2],
        ulid=row[3],
        address=row[4],
        size=row[5],
        attempts=row[6],
        accepted_at=from_micros(row[7]),
        origin=Origin(credential=row[8], client_address=row[9], helo=row[10], protocol=row[11]),
        configuration_set=row[12],
        tags=read_tags(row[13]),
    )
