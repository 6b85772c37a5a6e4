"""Sending many mails with few statements: what `Sending` does with one, for a group in one transaction.

Only what is plain goes this way: a small mail that nothing stands against. The rest is named to the caller, who takes
each through `Sending` by itself. Each mail is still compared and set for itself; that of another in the group is its
own affair.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

from gateway.lifecycle import Happening, Status, after
from gateway.reputation import is_counted
from gateway.store.attempt_ids import new_attempt_id
from gateway.store.control import STOPPED
from gateway.store.db import Database
from gateway.store.sending import ACCEPTED, CLAIMED, Claim, claim_of, close_circuit, record_acceptance
from gateway.store.sql import Sql, marks
from gateway.store.times import now_micros, span
from gateway.subjects import domain_key_of, entry_key

T = TypeVar("T")

# Beyond it a mail is read when it is its turn: a whole group is in memory at once.
SMALL = 64 * 1024


@dataclass(frozen=True, slots=True)
class Candidate:
    """A marked recipient, what its claim will be, and the octets of its mail. Nothing is claimed by it."""

    claim: Claim
    content: bytes


@dataclass(frozen=True, slots=True)
class Seen:
    """What of a group may go on together, and whose mail is taken by itself: large, or its content is gone."""

    candidates: list[Candidate]
    alone: list[int]


@dataclass(frozen=True, slots=True)
class Begun:
    """The attempts that were written down, and the recipients that a suppression of some kind is about.

    Who is in neither is not to be had: its mark has lapsed, it is another's, or sending was stopped.
    """

    attempt_ids: frozenset[str]
    alone: list[int]


@dataclass(frozen=True, slots=True)
class Acceptance:
    """SES has the mail, and calls it so."""

    claim: Claim
    ses_message_id: str


class GroupSending:
    """Looks, begins and records for groups. The futures are those of `Database.submit`: one commit may end several."""

    def __init__(self, db: Database, *, claim_lease: timedelta) -> None:
        self._db = db
        self._claim_lease = span(claim_lease)

    def look(self, recipient_ids: Iterable[int]) -> Seen:
        """Read what it takes to send to these, outside of any transaction. Those that are not marked are left out."""
        ids = padded(sorted(set(recipient_ids)))
        with self._db.read() as sql:
            rows = sql.all(f"SELECT r.status, r.dispatched_until, {CLAIMED} r.id IN ({marks(ids)}) ORDER BY r.id", ids)
            now = now_micros()
            claims = [claim_of(row[2:], new_attempt_id()) for row in rows if _is_marked(row[0], row[1], now)]
            contents = _contents(sql, {claim.message_id for claim in claims if claim.size <= SMALL})
        return Seen(
            [Candidate(claim, contents[claim.message_id]) for claim in claims if claim.message_id in contents],
            [claim.recipient_id for claim in claims if claim.message_id not in contents],
        )

    def begin(self, claims: Sequence[Claim]) -> Future[Begun]:
        """Claim these, ask the suppressions a last time, and write the attempts down: in one transaction.

        After its commit nobody else will send what was begun, for as long as the claim's lease is.
        """

        def work(sql: Sql) -> Begun:
            now, claimed = now_micros(), after(Status.QUEUED, Happening.CLAIM)
            free = _still_free(sql, claims, now)
            suppressed = _named_in_suppressions(sql, free)
            begun = [claim for claim, _ in free if claim.recipient_id not in suppressed]
            sql.many(
                f"UPDATE recipients SET status = '{claimed}', reason = '', attempt_id = ?, attempts = attempts + 1,"
                " claimed_until = ?, dispatched_until = NULL, changed_at = ? WHERE id = ?",
                [(claim.attempt_id, now + self._claim_lease, now, claim.recipient_id) for claim in begun],
            )
            sql.many(
                "INSERT INTO attempts (attempt_id, recipient_id, started_at, detail) VALUES (?, ?, ?, '')",
                [(claim.attempt_id, claim.recipient_id, now) for claim in begun],
            )
            return Begun(frozenset(claim.attempt_id for claim in begun), sorted(suppressed))

        return self._db.submit(work)

    def accepted(self, acceptances: Sequence[Acceptance]) -> Future[bool]:
        """Write down that SES has these, whoever holds their claims by now. Whether that has closed the circuit."""

        def work(sql: Sql) -> bool:
            plain = _in_their_attempts(sql, acceptances)
            _record_plain(sql, [one for one in acceptances if one.claim.attempt_id in plain], plain)
            others = [one for one in acceptances if one.claim.attempt_id not in plain]
            recorded = [record_acceptance(sql, one.claim, one.ses_message_id) for one in others]
            return bool(plain or any(recorded)) and close_circuit(sql)

        return self._db.submit(work)


def padded(values: Sequence[T]) -> list[T]:
    """As many as the next power of two, the last one repeated: few lengths, and so few statements to be prepared."""
    if not values:
        return []
    length = 1 << (len(values) - 1).bit_length()
    return [*values, *[values[-1]] * (length - len(values))]


def _contents(sql: Sql, message_ids: set[int]) -> dict[int, bytes]:
    if not message_ids:
        return {}
    ids = padded(sorted(message_ids))
    rows = sql.all(f"SELECT message_id, data FROM contents WHERE message_id IN ({marks(ids)})", ids)
    return {row[0]: bytes(row[1]) for row in rows}


def _is_marked(status: str, dispatched_until: int | None, now: int) -> bool:
    return status == Status.QUEUED and dispatched_until is not None and dispatched_until > now


def _still_free(sql: Sql, claims: Sequence[Claim], now: int) -> list[tuple[Claim, str]]:
    """Those that may be claimed, with the key of the address; they are ours until the commit. None while stopped.

    Two groups with the same recipients take them in the same order, so that on PostgreSQL neither waits for the other.
    """
    if not claims or sql.value(STOPPED, (now,)) is not None:
        return []
    held = {row[0] for row in sql.all("SELECT id FROM credentials WHERE held_at IS NOT NULL")}
    ids = padded(sorted({claim.recipient_id for claim in claims}))
    rows = sql.all(
        "SELECT id, address_key, status, dispatched_until, next_attempt_at, credential_id FROM recipients"
        f" WHERE id IN ({marks(ids)}) ORDER BY id{sql.to_change}",
        ids,
    )
    free = {row[0]: row[1] for row in rows if _is_marked(row[2], row[3], now) and row[4] <= now and row[5] not in held}
    # Once, however often the group has it.
    return [(claim, free.pop(claim.recipient_id)) for claim in claims if claim.recipient_id in free]


def _named_in_suppressions(sql: Sql, claims: Sequence[tuple[Claim, str]]) -> set[int]:
    """The recipients that an entry is about, whether it is in force or not: that is for `find` to judge."""
    about: dict[str, list[int]] = {}
    for claim, address_key in claims:
        domain = domain_key_of(address_key)
        scope = claim.origin.credential
        for key in (address_key, domain, entry_key(address_key, scope), entry_key(domain, scope)):
            about.setdefault(key, []).append(claim.recipient_id)
    asked = padded(list(about))
    if not asked:
        return set()
    rows = sql.all(f"SELECT address_key FROM suppressions WHERE address_key IN ({marks(asked)})", asked)
    return {recipient_id for row in rows for recipient_id in about[row[0]]}


def _in_their_attempts(sql: Sql, acceptances: Sequence[Acceptance]) -> dict[str, str]:
    """Of the attempts that nothing was recorded of, and whose recipient is still in them: the address's key."""
    asked = padded(sorted(one.claim.attempt_id for one in acceptances))
    if not asked:
        return {}
    attempts = sql.all(
        f"SELECT attempt_id FROM attempts WHERE attempt_id IN ({marks(asked)}) AND outcome IS NULL"
        f" ORDER BY id{sql.to_change}",
        asked,
    )
    open_ids = {row[0] for row in attempts}
    ids = padded(sorted({one.claim.recipient_id for one in acceptances}))
    recipients = sql.all(
        "SELECT id, attempt_id, status, address_key FROM recipients"
        f" WHERE id IN ({marks(ids)}) ORDER BY id{sql.to_change}",
        ids,
    )
    return {row[1]: row[3] for row in recipients if row[2] == Status.SENDING and row[1] in open_ids}


def _record_plain(sql: Sql, acceptances: Sequence[Acceptance], keys: dict[str, str]) -> None:
    """What `record_acceptance` does, for mails in their first and only attempt at hand."""
    now, sent = now_micros(), after(Status.SENDING, Happening.SEND)
    sql.many(
        "UPDATE attempts SET finished_at = ?, outcome = ?, detail = ?, ses_message_id = ? WHERE attempt_id = ?",
        [(now, ACCEPTED, one.ses_message_id, one.ses_message_id, one.claim.attempt_id) for one in acceptances],
    )
    sql.many(
        f"UPDATE recipients SET status = '{sent}', reason = '', changed_at = ?, ended_at = NULL, claimed_until = NULL,"
        " dispatched_until = NULL, counted_at = COALESCE(counted_at, ?) WHERE id = ?",
        [(now, now if is_counted(keys[one.claim.attempt_id]) else None, one.claim.recipient_id) for one in acceptances],
    )
    if acceptances:
        sql.tally("attempts", ACCEPTED, len(acceptances))
        sql.tally("outcomes", sent.value, len(acceptances))
