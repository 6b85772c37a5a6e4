"""Removing one person: every row that is about an address, and the address from every text that mentions it.

What is about that person alone is deleted: the recipients with their attempts and events, and messages that had no
other recipient. Where others are concerned too, the address is taken out and the rest stays. It is done in small
transactions, each of which leaves nothing behind that could not be found again: after a crash it does what is left.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TypeVar

from gateway.addresses import Mailbox
from gateway.lifecycle import BEFORE_SES, Status
from gateway.store.audit import record
from gateway.store.db import Database
from gateway.store.ended import start_over
from gateway.store.errors import StoreError
from gateway.store.mentions import ERASED, Mentions
from gateway.store.sql import Sql, marks
from gateway.store.sqlite import SqliteDatabase
from gateway.store.suppression_rows import forget, minimise
from gateway.store.times import now_micros
from gateway.store.traces import Progress, Text, Traces, batches, find_traces, linked_notifications, needed_contents

T = TypeVar("T")


class StillWaitingError(StoreError):
    """Mail to the address, or a report about it, is still under way; the text says what to do."""


class Erasure:
    """Finds and removes what is stored about one address."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def find(self, mailbox: Mailbox, progress: Progress = lambda _done, _total: None) -> Traces:
        return find_traces(self._db, mailbox, progress)

    def erase(self, traces: Traces, *, cancel: bool, forget_suppression: bool, actor: str) -> None:
        """Remove what was found. StillWaitingError when mail or a report is under way: that is not removed then.

        With `cancel`, mail that waits is not sent and a mail whose outcome is unknown is given up; one that is being
        handed to SES at this moment is never taken away under it. The suppression stays in its smallest form, which an
        opt-out needs, unless it is to be forgotten.
        """
        refuse_waiting(traces.waiting, traces.reports_to_process, cancel=cancel)
        key, mentions = traces.mailbox.key, Mentions(traces.mailbox.key)
        self._each(traces.recipients, lambda sql, ids: _delete_recipients(sql, key, ids, cancel=cancel))
        self._each(traces.other_messages, lambda sql, ids: _delete_contents(sql, key, ids))
        self._each(traces.events, _empty_events)
        self._each(traces.notifications, _empty_notifications)
        self._write(lambda sql: _erase_audit(sql, key))
        self._each(traces.texts, lambda sql, texts: _erase_texts(sql, texts, mentions))
        self._each(traces.staged, lambda sql, rows: _erase_staged(sql, key, rows, forget=forget_suppression))
        self._write(lambda sql: _finish(sql, key, traces, forget_suppression=forget_suppression, actor=actor))

    def scour(self) -> bool:
        """Have SQLite's files forget it too; False when readers kept the old log in use, and it goes later.

        What was deleted is overwritten in the file. Its log begins anew, and the pages that are free leave the file.
        """
        database = self._db
        if not isinstance(database, SqliteDatabase):
            return True
        emptied = any(_empty_log(database) for _ in range(_LOG_TRIES))
        for _ in range(_FREE_ROUNDS):
            with database.read() as sql:
                if not sql.value("PRAGMA freelist_count"):
                    break
            database.free_pages()
        return emptied

    def _each(self, what: Sequence[T], run: Callable[[Sql, Sequence[T]], None]) -> None:
        for some in batches(what):
            self._write(partial(_with, run, some))

    def _write(self, run: Callable[[Sql], None]) -> None:
        overwrite = isinstance(self._db, SqliteDatabase)

        def work(sql: Sql) -> None:
            if overwrite:
                sql.all("PRAGMA secure_delete = ON")
            run(sql)

        self._db.write(work)


_FREE_ROUNDS = 10_000
_LOG_TRIES = 5


def _empty_log(database: SqliteDatabase) -> bool:
    """Waits for readers only a moment, because nobody can write meanwhile."""
    with database.exclusive() as connection:
        connection.execute_sql("PRAGMA busy_timeout = 200")
        try:
            busy, _, _ = connection.execute_sql("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        finally:
            connection.execute_sql("PRAGMA busy_timeout = 5000")
    return not busy


def _with(run: Callable[[Sql, Sequence[T]], None], some: Sequence[T], sql: Sql) -> None:
    run(sql, some)


def refuse_waiting(waiting: Mapping[Status, int], reports_to_process: int, *, cancel: bool) -> None:
    """StillWaitingError unless the address can be removed now."""
    if waiting.get(Status.SENDING):
        raise StillWaitingError("A mail to the address is being handed to SES at this moment; try again in a minute.")
    if any(waiting.values()) and not cancel:
        spoken = ", ".join(f"{count} {status}" for status, count in sorted(waiting.items()) if count)
        raise StillWaitingError(
            f"Mail to the address is not at its end ({spoken}); wait for it, or add --cancel to give it up."
        )
    if reports_to_process:
        raise StillWaitingError(
            "A report of SES that mentions the address is still to be processed by a worker; try again in a minute."
        )


def _delete_recipients(sql: Sql, key: str, ids: Sequence[int], *, cancel: bool) -> None:
    """With everything that could be found by them alone: attempts, events, reports, messages to nobody else."""
    rows = sql.all(f"SELECT status, message_id FROM recipients WHERE id IN ({marks(ids)}){sql.to_change}", ids)
    refuse_waiting(Counter(Status(row[0]) for row in rows if row[0] in BEFORE_SES), 0, cancel=cancel)
    messages = sorted({row[1] for row in rows})
    for some in batches(sorted(linked_notifications(sql, ids))):
        _empty_notifications(sql, some)
    sql.run(f"DELETE FROM recipients WHERE id IN ({marks(ids)})", ids)
    if messages:
        sql.run(
            f"DELETE FROM messages WHERE id IN ({marks(messages)})"
            " AND NOT EXISTS (SELECT 1 FROM recipients r WHERE r.message_id = messages.id)",
            messages,
        )
    _delete_contents(sql, key, messages)


def _delete_contents(sql: Sql, key: str, ids: Sequence[int]) -> None:
    needed = set(needed_contents(sql, key, ids))
    for message_id in set(ids) - needed:
        sql.run("DELETE FROM contents WHERE message_id = ?", (message_id,))


def _empty_events(sql: Sql, ids: Sequence[int]) -> None:
    """Of the events that report the address, those that are left are about a mail to somebody else, or to nobody."""
    sql.run(f"DELETE FROM events WHERE id IN ({marks(ids)}) AND recipient_id IS NULL", ids)
    # The key to tell repetitions by has the address in it.
    sql.run(
        "UPDATE events SET address = NULL, address_key = NULL, dedupe_key = 'erased ' || id"
        f" WHERE id IN ({marks(ids)})",
        ids,
    )


def _empty_notifications(sql: Sql, ids: Sequence[int]) -> None:
    """As retention does: the id stays, so that a repetition by SNS is known as one."""
    sql.run(
        "UPDATE notifications SET message = NULL, next_attempt_at = NULL, processed_at = coalesce(processed_at, ?)"
        f" WHERE id IN ({marks(ids)})",
        (now_micros(), *ids),
    )


def _erase_audit(sql: Sql, key: str) -> None:
    """What was noted about somebody names them in words that no search finds."""
    sql.run("UPDATE audit SET subject = ?, detail = ? WHERE subject = ?", (ERASED, ERASED, key))


def _erase_texts(sql: Sql, texts: Sequence[Text], mentions: Mentions) -> None:
    for text in texts:
        where = f"FROM {text.table} WHERE {text.key} = ?"
        value = sql.value(f"SELECT {text.column} {where}{sql.to_change}", (text.id,))
        if mentions.stand_in(value):
            erased = ERASED if text.whole else mentions.erased(value)
            sql.run(f"UPDATE {text.table} SET {text.column} = ? WHERE {text.key} = ?", (erased, text.id))


def _erase_staged(sql: Sql, key: str, rows: Sequence[tuple[int, int]], *, forget: bool) -> None:
    """What an import is about to make of them is what would be left of them."""
    where = "WHERE suppression_import_id = ? AND ordinal = ?"
    for row in rows:
        if forget:
            sql.run(f"DELETE FROM suppression_import_rows {where}", row)
        else:
            sql.run(
                f"UPDATE suppression_import_rows SET address = ?, detail = '', note = '' {where}",
                (key, *row),
            )


def _finish(sql: Sql, key: str, traces: Traces, *, forget_suppression: bool, actor: str) -> None:
    keys = sorted({key, *(entry.key for entry in traces.suppressions)})
    entries = forget(sql, keys) if forget_suppression else minimise(sql, key, keys)
    sql.run("DELETE FROM suppression_history WHERE address_key = ?", (key,))
    kept = entries > 0 and not forget_suppression
    start_over(sql)
    detail = f"{len(traces.recipients)} recipients, suppression {'kept' if kept else 'not kept'}"
    record(sql, actor, "erase", ERASED, detail)
