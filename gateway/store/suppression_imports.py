"""Lists that are read in whole or not at all, however long they are and whenever something is killed.

A redo log. First the list is staged, in small transactions that change nothing; then one small transaction marks it as
ready, which is its commit; then whoever is there carries it out, batch by batch: the command that read it, or the
housekeeping of the dispatcher. Each batch changes the suppressions and takes its rows out of the log in one
transaction, so it is done once. Programs that accept mail wait behind each of them, so all are short.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from gateway.store.audit import amend, begin
from gateway.store.db import Database
from gateway.store.errors import StoreError
from gateway.store.sql import Sql, marks
from gateway.store.suppression_rows import BEGUN, ENDED
from gateway.store.times import now_micros, span, to_micros
from gateway.suppression_files import Entry
from gateway.suppression_policy import Reason

# Measured: see "Speed" in docs/suppression.md.
STAGE_BATCH = 1000
CARRY_BATCH = 500
LEFT_AFTER = timedelta(seconds=10)  # without a step: whoever read it in is gone
KEPT_FOR = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an import has come: of its `rows`, so many are `carried` out, and what that has done."""

    rows: int
    carried: int
    added: int
    changed: int

    @property
    def known(self) -> int:
        """Those that changed nothing: a reason as strong held as long already."""
        return self.carried - self.added - self.changed

    @property
    def is_done(self) -> bool:
        return self.carried >= self.rows


class SuppressionImports:
    """`begin`, `stage` as often as needed, `make_ready`, and `carry_out_one` until it is done."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def begin(self, source: str, actor: str) -> int:
        """The id of a new import. `source` is what the list is called."""
        return self._db.write(
            lambda sql: int(
                sql.value(
                    "INSERT INTO suppression_imports (source, actor, started_at, carried, added, changed)"
                    " VALUES (?, ?, ?, 0, 0, 0) RETURNING id",
                    (source, actor, now_micros()),
                )
            )
        )

    def stage(self, import_id: int, begins: int, entries: Sequence[tuple[str, Entry]]) -> None:
        """Keep rows, by their keys, of which the first is the `begins`th of the list. No key may come twice."""
        rows = [_staged(import_id, begins + place, key, entry) for place, (key, entry) in enumerate(entries)]
        self._db.write(lambda sql: sql.many(_STAGE, rows))

    def make_ready(self, import_id: int, rows: int) -> None:
        """The commit: from here on the list is carried out, whoever is killed. StoreError when it was cleared away."""

        def work(sql: Sql) -> None:
            source, actor = sql.one("SELECT source, actor FROM suppression_imports WHERE id = ?", (import_id,)) or _NONE
            audit_id = begin(sql, actor, "suppressions.import", source, f"{_rows(rows)}, not carried out yet")
            now = now_micros()
            ready = sql.run(
                "UPDATE suppression_imports SET row_count = ?, ready_at = ?, carried_at = ?, audit_id = ?"
                " WHERE id = ? AND row_count IS NULL",
                (rows, now, now, audit_id, import_id),
            )
            if not ready:
                raise StoreError("The list took longer than a day to be stored and was cleared away; import it again.")

        self._db.write(work)

    def carry_out_one(self, import_id: int, limit: int = CARRY_BATCH) -> Progress:
        """The next batch of a list that is ready, if there is one; how far it is then."""
        return self._db.write(lambda sql: _carry_out(sql, import_id, limit))

    def carry_out(self, limit: int = CARRY_BATCH, left_after: timedelta = LEFT_AFTER) -> int:
        """A batch of the oldest list that is ready and was left alone; its rows. Without one, nothing is written."""
        before = now_micros() - span(left_after)
        with self._db.read() as sql:
            import_id = sql.value(_LEFT, (before,))
        if import_id is None:
            return 0

        def work(sql: Sql) -> int:
            already = _progress(sql, import_id)
            return 0 if already is None else _carry_out(sql, import_id, limit).carried - already.carried

        return self._db.write(work)

    def discard(self, import_id: int) -> None:
        """Clear what was staged and is not to become ready."""
        while self._db.write(lambda sql: _clear(sql, import_id, STAGE_BATCH)):
            pass

    def clear(self, limit: int = STAGE_BATCH) -> int:
        """Forget a list that never got ready, or is done, after a day; the rows forgotten, up to `limit`."""
        with self._db.read() as sql:
            old = sql.value(_OLD, (now_micros() - span(KEPT_FOR),) * 2)
        return 0 if old is None else self._db.write(lambda sql: _clear(sql, old, limit))


_NONE = ("", "")
_STAGE = (
    "INSERT INTO suppression_import_rows (suppression_import_id, ordinal, address_key, address, scope, reason, source,"
    " detail, note, since, expires_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_LEFT = (
    "SELECT id FROM suppression_imports WHERE ready_at IS NOT NULL AND carried < row_count AND carried_at <= ?"
    " ORDER BY ready_at, id LIMIT 1"
)
_OLD = (
    "SELECT id FROM suppression_imports WHERE (ready_at IS NULL AND started_at <= ?)"
    " OR (carried >= row_count AND carried_at <= ?) ORDER BY id LIMIT 1"
)

# A batch: `r` are its rows, `s` the suppressions with their keys. The rules are those of `suppressions.suppress`.

_BATCH = "r.suppression_import_id = ? AND r.ordinal BETWEEN ? AND ?"
_RANK = "CASE {}.reason " + " ".join(f"WHEN '{reason.value}' THEN {reason.rank}" for reason in Reason) + " END"
_NEW, _OLD_RANK = _RANK.format("r"), _RANK.format("s")
_INSERT = (
    "INSERT INTO suppressions (address_key, address, reason, source, detail, since, scope, note, actor, created_at,"
    " expires_at) SELECT r.address_key, r.address, r.reason, r.source, r.detail, r.since, r.scope, r.note, ?, ?,"
    f" r.expires_at FROM suppression_import_rows r WHERE {_BATCH} AND (r.expires_at IS NULL OR r.expires_at > ?)"
    " ORDER BY r.ordinal ON CONFLICT (address_key) DO NOTHING RETURNING reason"
)
_OUTLASTED = "s.expires_at IS NOT NULL AND (r.expires_at IS NULL OR r.expires_at > s.expires_at)"
# Those that are replaced, and those that only end later; read in the order of the keys, as every import locks them.
_CHANGING = (
    f"SELECT r.ordinal, s.reason, r.reason, s.expires_at IS NOT NULL AND s.expires_at <= ?, {_NEW} > {_OLD_RANK}"
    f" FROM suppression_import_rows r JOIN suppressions s ON s.address_key = r.address_key WHERE {_BATCH}"
    " AND (r.expires_at IS NULL OR r.expires_at > ?)"
    f" AND ({_NEW} > {_OLD_RANK} OR s.expires_at <= ? OR ({_OUTLASTED})) ORDER BY r.ordinal"
)
_PLAIN = "address, reason, since, source, detail, scope, note, actor, created_at, expires_at, event_id"
# The bounds are for PostgreSQL, which would else read the whole list for them.
_CHOSEN = f"{_BATCH} AND r.ordinal IN ({{}})"
# In the history the key is the subject's alone.
_REMEMBER = (
    f"INSERT INTO suppression_history (address_key, {_PLAIN}, ended_at, ended_by, ended_why)"
    " SELECT CASE WHEN s.scope = '' THEN s.address_key"
    " ELSE substr(s.address_key, 1, length(s.address_key) - length(s.scope) - 1) END,"
    f" {', '.join('s.' + name for name in _PLAIN.split(', '))},"
    " CASE WHEN s.expires_at <= ? THEN s.expires_at ELSE ? END, '',"
    " CASE WHEN s.expires_at <= ? THEN 'expired' ELSE 'replaced by ' || r.reason END"
    f" FROM suppression_import_rows r JOIN suppressions s ON s.address_key = r.address_key WHERE {_CHOSEN}"
)
# Of an entry in force that gives way, the later of both ends is that of its successor.
_REPLACE = (
    "UPDATE suppressions SET address = r.address, reason = r.reason, source = r.source, detail = r.detail,"
    " since = r.since, note = r.note, actor = ?, created_at = ?, event_id = NULL,"
    " expires_at = CASE WHEN suppressions.expires_at <= ? THEN r.expires_at"
    " WHEN r.expires_at IS NULL OR suppressions.expires_at IS NULL THEN NULL"
    " WHEN r.expires_at > suppressions.expires_at THEN r.expires_at ELSE suppressions.expires_at END"
    f" FROM suppression_import_rows r WHERE r.address_key = suppressions.address_key AND {_CHOSEN}"
)
_PROLONG = (
    "UPDATE suppressions SET expires_at = r.expires_at FROM suppression_import_rows r"
    f" WHERE r.address_key = suppressions.address_key AND {_CHOSEN}"
)
_AT_ONCE = 200  # values of one statement, of which each number is parsed anew


def _staged(import_id: int, ordinal: int, key: str, entry: Entry) -> tuple[object, ...]:
    return (
        import_id,
        ordinal,
        key,
        entry.address,
        entry.scope,
        entry.reason.value,
        entry.source,
        entry.detail,
        entry.note,
        to_micros(entry.since),
        None if entry.expires is None else to_micros(entry.expires),
    )


def _progress(sql: Sql, import_id: int) -> Progress | None:
    """Of a list that is ready; whoever asks has it in hand until the commit."""
    row = sql.one(
        "SELECT row_count, carried, added, changed FROM suppression_imports WHERE id = ? AND ready_at IS NOT NULL"
        f"{sql.to_change}",
        (import_id,),
    )
    return None if row is None else Progress(*row)


@dataclass(frozen=True, slots=True)
class _Batch:
    """The rows between two ordinals, and who and when it is that carries them out."""

    import_id: int
    first: int
    last: int
    actor: str
    now: int

    @property
    def where(self) -> tuple[int, int, int]:
        return self.import_id, self.first, self.last


def _carry_out(sql: Sql, import_id: int, limit: int) -> Progress:
    """StoreError when there is no such list any more."""
    so_far = _progress(sql, import_id)
    if so_far is None:
        raise StoreError("The list is not stored any more.")
    if so_far.is_done:
        return so_far
    actor, audit_id = sql.one("SELECT actor, audit_id FROM suppression_imports WHERE id = ?", (import_id,)) or _NONE
    last = min(so_far.carried + limit, so_far.rows)
    batch = _Batch(import_id, so_far.carried + 1, last, actor, now_micros())
    added, changed = _add(sql, batch), _change(sql, batch)
    progress = Progress(so_far.rows, last, so_far.added + added, so_far.changed + changed)
    _advance(sql, batch, progress)
    if progress.is_done:
        amend(sql, audit_id, spoken(progress))
    return progress


def _add(sql: Sql, batch: _Batch) -> int:
    added = sql.all(_INSERT, (batch.actor, batch.now, *batch.where, batch.now))
    _tally(sql, BEGUN, (row[0] for row in added))
    return len(added)


def _change(sql: Sql, batch: _Batch) -> int:
    """What `_add` has put there is changed by nothing: it is the same."""
    rows = sql.all(f"{_CHANGING}{sql.to_change}", (batch.now, *batch.where, batch.now, batch.now))
    replaced = [row for row in rows if row[3] or row[4]]
    prolonged = [row[0] for row in rows if not row[3] and not row[4]]
    _replace(sql, batch, [row[0] for row in replaced])
    _each(sql, batch, _PROLONG, prolonged)
    _tally(sql, ENDED, (row[1] for row in replaced))
    _tally(sql, BEGUN, (row[2] for row in replaced))
    return len(rows)


def _replace(sql: Sql, batch: _Batch, ordinals: Sequence[int]) -> None:
    _each(sql, batch, _REMEMBER, ordinals, batch.now, batch.now, batch.now)
    _each(sql, batch, _REPLACE, ordinals, batch.actor, batch.now, batch.now)


def _each(sql: Sql, batch: _Batch, statement: str, ordinals: Sequence[int], *values: object) -> None:
    for place in range(0, len(ordinals), _AT_ONCE):
        some = ordinals[place : place + _AT_ONCE]
        sql.run(statement.format(marks(some)), (*values, batch.import_id, some[0], some[-1], *some))


def _tally(sql: Sql, name: str, reasons: Iterable[str]) -> None:
    for reason, count in Counter(reasons).items():
        sql.tally(name, reason, count)


def _advance(sql: Sql, batch: _Batch, progress: Progress) -> None:
    sql.run(f"DELETE FROM suppression_import_rows AS r WHERE {_BATCH}", batch.where)
    sql.run(
        "UPDATE suppression_imports SET carried = ?, added = ?, changed = ?, carried_at = ? WHERE id = ?",
        (progress.carried, progress.added, progress.changed, batch.now, batch.import_id),
    )


def _clear(sql: Sql, import_id: int, limit: int) -> int:
    """A list that is not ready can never become it from here on. The number of rows gone; the list itself goes last."""
    state = sql.one(
        f"SELECT ready_at, row_count, carried FROM suppression_imports WHERE id = ?{sql.to_change}", (import_id,)
    )
    if state is None or (state[0] is not None and state[2] < state[1]):
        return 0
    if state[0] is None:
        sql.run("UPDATE suppression_imports SET row_count = 0 WHERE id = ?", (import_id,))
    gone = sql.run(
        "DELETE FROM suppression_import_rows WHERE suppression_import_id = ? AND ordinal IN"
        " (SELECT ordinal FROM suppression_import_rows WHERE suppression_import_id = ? ORDER BY ordinal LIMIT ?)",
        (import_id, import_id, limit),
    )
    if gone:
        return gone
    sql.run("DELETE FROM suppression_imports WHERE id = ?", (import_id,))
    return 0


def spoken(progress: Progress) -> str:
    """As the audit and the command tell it."""
    return (
        f"{_rows(progress.rows)}: {progress.added} new, {progress.changed} changed, {progress.known} were there already"
    )


def _rows(count: int) -> str:
    return "1 entry" if count == 1 else f"{count} entries"
