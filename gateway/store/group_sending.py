"""Sending many mails with few statements: what `Sending` does with one, for a group in one transaction.

Only what is plain goes this way: a small mail that nothing stands against. The rest is named to the caller, who takes
each through `Sending` by itself. Each mail is still compared and set for itself; that of another in the group is its
own affair.

Few statements, and few rows that come back: around each of them Python's sqlite3 lets go of the interpreter and has to
wait for it again, behind all the threads that call SES, while the write gate is shut to everybody else.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import timedelta
from itertools import chain
from typing import TypeVar

from gateway.addresses import address_key
from gateway.lifecycle import Happening, Status, after
from gateway.reputation import is_counted
from gateway.store.attempt_ids import new_attempt_ids
from gateway.store.control import CIRCUIT, STOPPED
from gateway.store.db import Database
from gateway.store.sending import ACCEPTED, CLAIMABLE, CLAIMED, Claim, claim_of, close_circuit, record_acceptance
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
    address_key: str
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
            rows = sql.all(_LOOK.format(marks(ids)), ids)
            now = now_micros()
            keys = {row[3]: row[0] for row in rows if _is_marked(row[1], row[2], now)}
            marked = [row[3:] for row in rows if row[3] in keys]
            claims = [claim_of(row, id_) for row, id_ in zip(marked, new_attempt_ids(len(marked)), strict=True)]
            contents = _contents(sql, {claim.message_id for claim in claims if claim.size <= SMALL})
        return Seen(
            [
                Candidate(claim, keys[claim.recipient_id], contents[claim.message_id])
                for claim in claims
                if claim.message_id in contents
            ],
            [claim.recipient_id for claim in claims if claim.message_id not in contents],
        )

    def begin(self, candidates: Sequence[Candidate]) -> Future[Begun]:
        """Claim these, ask the suppressions a last time, and write the attempts down: in one transaction.

        After its commit nobody else will send what was begun, for as long as the claim's lease is.
        """
        once = list({one.claim.recipient_id: one for one in candidates}.values())

        def work(sql: Sql) -> Begun:
            # First of all: what is asked while others are waited for is old when they are done.
            _lock(sql, "recipients", "id", padded([one.claim.recipient_id for one in once]))
            now = now_micros()
            most, suppressed = _what_stands_against(sql, once, now)
            wanted = once[:most]
            free = [one for one in wanted if one.claim.recipient_id not in suppressed]
            begun = _claim_all(sql, free, now, now + self._claim_lease)
            return Begun(
                frozenset(claim.attempt_id for claim in begun),
                sorted(suppressed & {one.claim.recipient_id for one in wanted}),
            )

        return self._db.submit(work)

    def accepted(self, acceptances: Sequence[Acceptance]) -> Future[bool]:
        """Write down that SES has these, whoever holds their claims by now. Whether that has closed the circuit."""
        once = list({one.claim.attempt_id: one for one in acceptances}.values())

        def work(sql: Sql) -> bool:
            plain, probed = _in_their_attempts(sql, once)
            _record_plain(sql, [one for one in once if one.claim.attempt_id in plain])
            others = [one for one in once if one.claim.attempt_id not in plain]
            recorded = [record_acceptance(sql, one.claim, one.ses_message_id) for one in others]
            return bool(plain or any(recorded)) and probed and close_circuit(sql)

        return self._db.submit(work)


_CLAIMED = after(Status.QUEUED, Happening.CLAIM)
_SENT = after(_CLAIMED, Happening.SEND)
_CIRCUIT = f"SELECT 1 FROM control WHERE key = '{CIRCUIT}'"
_ATTEMPT = "(?, ?, ?, '')"
_LOOK = f"SELECT r.address_key, r.status, r.dispatched_until, {CLAIMED} r.id IN ({{}}) ORDER BY r.id"


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


def _what_stands_against(sql: Sql, candidates: Sequence[Candidate], now: int) -> tuple[int, set[int]]:
    """How many may go, and the recipients that an entry of the suppressions is about.

    None may while sending is stopped, and one where the circuit's time is over: it shows whether SES takes mail again.
    Whether an entry is in force is for `find` to judge, when the recipient goes by itself.
    """
    if not candidates:
        return 0, set()
    about: dict[str, list[int]] = {}
    for one in candidates:
        domain, scope = domain_key_of(one.address_key), one.claim.origin.credential
        for key in (one.address_key, domain, entry_key(one.address_key, scope), entry_key(domain, scope)):
            about.setdefault(key, []).append(one.claim.recipient_id)
    keys = padded(list(about))
    among = f"FROM suppressions WHERE address_key IN ({marks(keys)})"
    asked = f"SELECT EXISTS ({STOPPED}), EXISTS ({_CIRCUIT}), (SELECT count(*) {among})"
    stopped, probing, entries = sql.all(asked, (now, *keys))[0]
    rows = sql.all(f"SELECT address_key {among}", keys) if entries and not stopped else []
    most = 0 if stopped else 1 if probing else len(candidates)
    return most, {recipient_id for row in rows for recipient_id in about[row[0]]}


def _claim_all(sql: Sql, candidates: Sequence[Candidate], now: int, until: int) -> list[Claim]:
    """Compare and set each, and write the attempts of those down that are ours by it.

    The address is compared, too: SQLite gives the last id of all again when its recipient was erased meanwhile.
    """
    if not candidates:
        return []
    claims = [one.claim for one in candidates]
    wanted = padded([(one.claim.recipient_id, one.claim.attempt_id, one.address_key) for one in candidates])
    claimed = sql.run(
        f"UPDATE recipients SET status = '{_CLAIMED}', reason = '', attempts = attempts + 1, attempt_id = v.column2,"
        " claimed_until = ?, dispatched_until = NULL, changed_at = ?"
        f" FROM (VALUES {_rows(wanted)}) AS v WHERE recipients.id = v.column1 AND address_key = v.column3"
        f" AND {CLAIMABLE}",
        (until, now, *chain.from_iterable(wanted), now, now),
    )
    ours = claims if claimed == len(claims) else _ours(sql, claims)
    if ours:
        sql.run(
            "INSERT INTO attempts (attempt_id, recipient_id, started_at, detail)"
            f" VALUES {', '.join([_ATTEMPT] * len(ours))}",
            [value for claim in ours for value in (claim.attempt_id, claim.recipient_id, now)],
        )
    return ours


def _ours(sql: Sql, claims: Sequence[Claim]) -> list[Claim]:
    """Those that were claimed in this transaction: one that was claimed before has its attempt already."""
    ids = padded([claim.recipient_id for claim in claims])
    rows = sql.all(
        f"SELECT attempt_id FROM recipients r WHERE id IN ({marks(ids)}) AND status = '{Status.SENDING}'"
        " AND NOT EXISTS (SELECT 1 FROM attempts a WHERE a.attempt_id = r.attempt_id)",
        ids,
    )
    found = {row[0] for row in rows}
    return [claim for claim in claims if claim.attempt_id in found]


def _rows(rows: Sequence[Sequence[object]]) -> str:
    """As many as there are, behind VALUES."""
    return ", ".join([f"({marks(rows[0])})"] * len(rows))


def _lock(sql: Sql, table: str, column: str, values: Sequence[object]) -> None:
    """On PostgreSQL: two groups with the same rows take them in the same order, so that neither waits for the other."""
    if values and sql.to_change:
        sql.all(f"SELECT 1 FROM {table} WHERE {column} IN ({marks(values)}) ORDER BY id{sql.to_change}", values)


def _in_their_attempts(sql: Sql, acceptances: Sequence[Acceptance]) -> tuple[set[str], bool]:
    """The attempts that nothing was recorded of, and whose recipient is still in them.

    And whether there is a circuit whose time is over.
    """
    if not acceptances:
        return set(), False
    attempts = padded(sorted(one.claim.attempt_id for one in acceptances))
    ids = padded(sorted(one.claim.recipient_id for one in acceptances))
    _lock(sql, "attempts", "attempt_id", attempts)
    _lock(sql, "recipients", "id", ids)
    among = (
        f"FROM attempts a JOIN recipients r ON r.id = a.recipient_id WHERE a.attempt_id IN ({marks(attempts)})"
        f" AND a.outcome IS NULL AND r.attempt_id = a.attempt_id AND r.status = '{Status.SENDING}'"
    )
    plain, probed = sql.all(
        f"SELECT (SELECT count(*) {among}), EXISTS (SELECT 1 FROM control WHERE key = ? AND until <= ?)",
        (*attempts, CIRCUIT, now_micros()),
    )[0]
    if plain == len(acceptances):
        return set(attempts), bool(probed)
    return {row[0] for row in sql.all(f"SELECT a.attempt_id {among}", attempts)}, bool(probed)


def _record_plain(sql: Sql, acceptances: Sequence[Acceptance]) -> None:
    """What `record_acceptance` does, for mails in the attempt that is at hand."""
    if not acceptances:
        return
    now = now_micros()
    called = padded([(one.claim.attempt_id, one.ses_message_id) for one in acceptances])
    sql.run(
        f"UPDATE attempts SET finished_at = ?, outcome = '{ACCEPTED}', detail = v.column2, ses_message_id = v.column2"
        f" FROM (VALUES {_rows(called)}) AS v WHERE attempts.attempt_id = v.column1",
        (now, *chain.from_iterable(called)),
    )
    counted: list[int] = []
    others: list[int] = []
    for one in acceptances:
        (counted if is_counted(address_key(one.claim.address)) else others).append(one.claim.recipient_id)
    for recipient_ids, counted_at in ((padded(counted), now), (padded(others), None)):
        if recipient_ids:
            sql.run(
                f"UPDATE recipients SET status = '{_SENT}', reason = '', changed_at = ?, ended_at = NULL,"
                " claimed_until = NULL, dispatched_until = NULL, counted_at = COALESCE(counted_at, ?)"
                f" WHERE id IN ({marks(recipient_ids)})",
                (now, counted_at, *recipient_ids),
            )
    sql.tally("attempts", ACCEPTED, len(acceptances))
    sql.tally("outcomes", _SENT.value, len(acceptances))
