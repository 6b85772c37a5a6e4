"""What an operator does to many recipients at once: send them again, or give them up.

The ids are found first, in one read. Then they are done a batch at a time, each in a transaction of its own, and every
row is looked at anew inside it: a worker that claims one meanwhile wins or loses, never both. Nothing has to be undone
when it ends half-way, and doing it again does only what is left.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from gateway.addresses import address_key
from gateway.lifecycle import AFTER_SES, ENDED_BEFORE_SES, Happening, Status
from gateway.store.audit import amend, begin
from gateway.store.by_address import to_address
from gateway.store.db import Database
from gateway.store.errors import StoreError
from gateway.store.sending import AMBIGUOUS, happen
from gateway.store.sql import Sql, marks
from gateway.store.statuses import in_status
from gateway.store.suppression_rows import find
from gateway.store.times import now_micros, span, to_micros

BATCH = 500
_TOLD = 10  # ids in the audit; the rest is a number

# What is taken when no status is named. The others are sent again only by somebody who says so: they were given up on
# purpose, or SES may have them.
_RETRIED = (Status.QUEUED, Status.HELD, Status.FAILED, Status.EXPIRED)
_RETRIED_IF_NAMED = (Status.AMBIGUOUS, Status.CANCELLED, Status.SUPPRESSED)
_CANCELLED = (Status.QUEUED, Status.SENDING, Status.AMBIGUOUS, Status.HELD)


class Action(StrEnum):
    RETRY = "retry"
    CANCEL = "cancel"


class Skip(StrEnum):
    """Why a recipient was left as it is; the texts go on after a number of recipients."""

    SENDING = "being handed to SES at this moment"
    AT_SES = "at SES already"
    ENDED = "ended already"
    NOT_NAMED = "sent again only if you name their status with --status"
    DUE = "tried at once without this, as soon as their turn comes"
    NO_CONTENT = "without content, which is not kept any more"
    GONE = "deleted meanwhile"


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which recipients are meant: those that meet all that is given. Nothing given: all."""

    messages: tuple[str, ...] = ()
    statuses: tuple[Status, ...] = ()
    address: str | None = None
    credential: str | None = None
    since: datetime | None = None
    before: datetime | None = None
    reason_contains: str | None = None

    def __str__(self) -> str:
        """As the audit has it."""
        parts = (
            ("message", _few(self.messages)),
            ("status", ", ".join(self.statuses)),
            ("address", self.address),
            ("credential", self.credential),
            ("accepted since", self.since and f"{self.since:%Y-%m-%dT%H:%M:%SZ}"),
            ("accepted before", self.before and f"{self.before:%Y-%m-%dT%H:%M:%SZ}"),
            ("reason contains", self.reason_contains),
        )
        return "; ".join(f"{name} {value}" for name, value in parts if value) or "all"


def _few(names: Sequence[str]) -> str:
    others = f" and {len(names) - _TOLD} more" if len(names) > _TOLD else ""
    return ", ".join(names[:_TOLD]) + others


@dataclass(frozen=True, slots=True)
class Order:
    """Something to be done to a selection, who asked for it, and why."""

    action: Action
    selection: Selection
    actor: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was done (or would be). `in_doubt` counts those of it that SES may have already."""

    done: int = 0
    in_doubt: int = 0
    skipped: Mapping[Skip, int] = field(default_factory=dict)

    def __add__(self, other: Outcome) -> Outcome:
        skipped = Counter(self.skipped)
        skipped.update(other.skipped)
        return Outcome(self.done + other.done, self.in_doubt + other.in_doubt, dict(skipped))

    @property
    def matched(self) -> int:
        return self.done + sum(self.skipped.values())


@dataclass(frozen=True, slots=True)
class Prospects:
    """Under which credentials recipients are queued, and how many of their addresses are suppressed."""

    credentials: tuple[str, ...]
    suppressed: int


@dataclass(frozen=True, slots=True)
class _Row:
    """A recipient as it stands. `in_doubt`: no answer of SES says that a call did not go through."""

    id: int
    status: Status
    reason: str
    waits: bool
    in_doubt: bool
    has_content: bool


class Operations:
    """Finds recipients, tells what would become of them, and does it."""

    def __init__(self, db: Database, max_age: timedelta) -> None:
        self._db = db
        self._max_age = span(max_age)

    def find(self, order: Order) -> list[int]:
        """The recipients that an order is about, in the order they were accepted.

        StoreError when it names a message or a credential that does not exist: nothing is done by a slip of the pen.
        """
        conditions, values = _conditions(order)
        with self._db.read() as sql:
            _require_known(sql, order.selection)
            return sorted(
                row[0]
                for statuses in _in_statuses(order)
                for row in sql.all(
                    f"SELECT r.id FROM recipients r WHERE {' AND '.join([statuses, *conditions])}", values
                )
            )

    def preview(self, order: Order, ids: Sequence[int]) -> Iterator[Outcome]:
        """What `run` would do now, a batch at a time; nothing is changed."""
        for batch in _batches(ids):
            with self._db.read() as sql:
                yield _outcome(order, batch, _look(sql, batch))

    def prospects(self, ids: Sequence[int]) -> Prospects:
        """What becomes of those recipients that are QUEUED now."""
        credentials: set[str] = set()
        suppressed = 0
        for batch in _batches(ids):
            with self._db.read() as sql:
                rows = sql.all(
                    "SELECT r.address_key, c.name FROM recipients r JOIN credentials c ON c.id = r.credential_id"
                    f" WHERE r.id IN ({marks(batch)}) AND r.status = 'QUEUED'",
                    batch,
                )
                suppressed += sum(find(sql, key, credential) is not None for key, credential in rows)
            credentials.update(credential for _, credential in rows)
        return Prospects(tuple(sorted(credentials)), suppressed)

    def run(self, order: Order, ids: Sequence[int]) -> Iterator[Outcome]:
        """Do it, and tell after the commit of each batch what it did.

        The audit's row is written with the first batch and counts on with each, so that it is true whenever this ends.
        StoreUnavailableError when the database is away; what was told is done, and the rest is as it was.
        """
        total, audit_id = Outcome(), None
        for batch in _batches(ids):
            audit_id, outcome = self._run_batch(order, batch, audit_id, total)
            total += outcome
            yield outcome

    def _run_batch(
        self, order: Order, batch: Sequence[int], audit_id: int | None, so_far: Outcome
    ) -> tuple[int, Outcome]:
        def work(sql: Sql) -> tuple[int, Outcome]:
            outcome = self._do(sql, order, batch)
            entry = audit_id or begin(sql, order.actor, f"messages.{order.action}", "messages")
            amend(sql, entry, _told(order, so_far + outcome))
            return entry, outcome

        return self._db.write(work)

    def _do(self, sql: Sql, order: Order, batch: Sequence[int]) -> Outcome:
        rows = _look(sql, batch, sql.to_take)
        missed = sorted(set(batch) - {row.id for row in rows})
        if missed and sql.to_take:
            # These another transaction has in hand: wait for it, and see what it made of them.
            rows += _look(sql, missed, sql.to_change)
        for row in rows:
            if _skip(order, row) is None:
                self._apply(sql, order, row)
        return _outcome(order, batch, rows)

    def _apply(self, sql: Sql, order: Order, row: _Row) -> None:
        if order.action is Action.CANCEL:
            happen(sql, row.id, Happening.CANCEL, _cancelled(order, row))
            return
        now = now_micros()
        if row.status is Status.QUEUED:
            sql.run("UPDATE recipients SET next_attempt_at = ?, changed_at = ? WHERE id = ?", (now, now, row.id))
            return
        happen(sql, row.id, Happening.RETRY, _signed("to be sent again", order))
        # Without the old attempt id, a late answer to that attempt says nothing about the next one.
        # It has the whole maximum age before it: a person wants it sent.
        sql.run(
            "UPDATE recipients SET next_attempt_at = ?, attempts = 0, attempt_id = NULL, expires_at = ? WHERE id = ?",
            (now, now + self._max_age, row.id),
        )


def _batches(ids: Sequence[int]) -> Iterator[Sequence[int]]:
    for start in range(0, len(ids), BATCH):
        yield ids[start : start + BATCH]


# What a row becomes


def _outcome(order: Order, batch: Sequence[int], rows: Sequence[_Row]) -> Outcome:
    skips = [_skip(order, row) for row in rows]
    skipped = Counter(skip for skip in skips if skip is not None)
    if len(rows) < len(batch):
        skipped[Skip.GONE] += len(batch) - len(rows)
    done = [row for row, skip in zip(rows, skips, strict=True) if skip is None]
    return Outcome(len(done), sum(row.in_doubt for row in done), dict(skipped))


def _skip(order: Order, row: _Row) -> Skip | None:
    """Why a row is left as it is; None when it is not."""
    if row.status is Status.SENDING:
        return Skip.SENDING
    if row.status in AFTER_SES:
        return Skip.AT_SES
    if order.action is Action.CANCEL:
        return Skip.ENDED if row.status in ENDED_BEFORE_SES else None
    if row.status in _RETRIED_IF_NAMED and row.status not in order.selection.statuses:
        return Skip.NOT_NAMED
    if row.status is Status.QUEUED and not row.waits:
        return Skip.DUE
    return None if row.has_content else Skip.NO_CONTENT


def _cancelled(order: Order, row: _Row) -> str:
    text = _signed("cancelled", order)
    return f"{text}; it may have been sent: {row.reason}" if row.in_doubt else text


def _signed(done: str, order: Order) -> str:
    return f"{done} by {order.actor}: {order.reason}" if order.reason else f"{done} by {order.actor}"


def _told(order: Order, outcome: Outcome) -> str:
    parts = [f"{outcome.done} of {outcome.matched}", str(order.selection)]
    return "; ".join([*parts, f"why: {order.reason}"] if order.reason else parts)


# SQL


def _look(sql: Sql, ids: Sequence[int], lock: str = "") -> list[_Row]:
    """The rows as they are; with `lock` nobody changes them before the commit, nor deletes the content they need."""
    now = now_micros()
    rows = sql.all(
        "SELECT r.id, r.message_id, r.status, r.reason, r.next_attempt_at, EXISTS (SELECT 1 FROM attempts a"
        f" WHERE a.recipient_id = r.id AND (a.outcome IS NULL OR a.outcome = '{AMBIGUOUS}'))"
        f" FROM recipients r WHERE r.id IN ({marks(ids)}) ORDER BY r.id{lock}",
        ids,
    )
    kept = _kept(sql, sorted({row[1] for row in rows}), lock)
    return [
        _Row(
            id=row[0],
            status=Status(row[2]),
            reason=row[3],
            waits=row[4] > now,
            in_doubt=bool(row[5]),
            has_content=row[1] in kept,
        )
        for row in rows
    ]


def _kept(sql: Sql, message_ids: Sequence[int], lock: str) -> set[int]:
    """Which messages' content is kept. Waits for retention where it has one in hand: by then it is gone, or stays."""
    if not message_ids:
        return set()
    statement = f"SELECT message_id FROM contents WHERE message_id IN ({marks(message_ids)}) ORDER BY message_id"
    return {row[0] for row in sql.all(statement + (sql.to_change if lock else ""), message_ids)}


def _require_known(sql: Sql, selection: Selection) -> None:
    if selection.credential is not None and not sql.value(
        "SELECT 1 FROM credentials WHERE name = ?", (selection.credential,)
    ):
        raise StoreError(f"There is no credential {selection.credential}.")
    if selection.messages:
        found = {
            row[0]
            for row in sql.all(
                f"SELECT ulid FROM messages WHERE ulid IN ({marks(selection.messages)})", selection.messages
            )
        }
        missing = sorted(set(selection.messages) - found)
        if missing:
            others = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
            raise StoreError(f"There is no message {missing[0]}{others}; nothing was done.")


def _conditions(order: Order) -> tuple[list[str], list[object]]:
    selection = order.selection
    conditions: list[str] = []
    values: list[object] = []

    def must(condition: str, *bound: object) -> None:
        conditions.append(condition)
        values.extend(bound)

    if order.action is Action.RETRY and not selection.messages and not selection.statuses:
        must("(r.status <> 'QUEUED' OR r.next_attempt_at > ?)", now_micros())
    if selection.messages:
        must(
            f"r.message_id IN (SELECT id FROM messages WHERE ulid IN ({marks(selection.messages)}))",
            *selection.messages,
        )
    if selection.address is not None:
        must(to_address("recipients", "r."), address_key(selection.address))
    if selection.credential is not None:
        must("r.credential_id = (SELECT id FROM credentials WHERE name = ?)", selection.credential)
    for moment, comparison in ((selection.since, ">="), (selection.before, "<")):
        if moment is not None:
            message = "SELECT 1 FROM messages m WHERE m.id = r.message_id"
            must(f"EXISTS ({message} AND m.accepted_at {comparison} ?)", to_micros(moment))
    if selection.reason_contains is not None:
        must(_CONTAINS, _pattern(selection.reason_contains))
    return conditions, values


def _in_statuses(order: Order) -> list[str]:
    """Conditions that together choose the statuses meant: one for each index that has to be gone through.

    Messages and addresses have indexes of their own, of which few rows are left to be looked at.
    """
    statuses = order.selection.statuses or _usual(order)
    if order.selection.messages or order.selection.address is not None:
        named = ", ".join(f"'{status}'" for status in statuses)
        return [f"r.status IN ({named})" if named else "1 = 1"]
    return [in_status(status) for status in statuses]


def _usual(order: Order) -> tuple[Status, ...]:
    """The statuses that are meant when none is named: of a message that is named, all of its recipients."""
    if order.selection.messages:
        return ()
    return _RETRIED if order.action is Action.RETRY else _CANCELLED


_CONTAINS = "lower(r.reason) LIKE ? ESCAPE '!'"


def _pattern(text: str) -> str:
    escaped = "".join(f"!{character}" if character in "%_!" else character for character in text.lower())
    return f"%{escaped}%"
