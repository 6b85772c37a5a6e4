"""Rows that a measurement finds in the database: made by SQL, many at once, the same for both databases.

Addresses and SNS's ids are as scattered as in life, so what comes later goes into the middle of their indexes; ids of
attempts, ours and those of SES, begin with the time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from gateway.envelope import LOCAL_CREDENTIAL
from gateway.sandbox import names
from gateway.store.sql import Sql
from gateway.store.sqlite import SqliteDatabase
from gateway.store.stores import Stores

SUPPRESSED = "gone{:08}@elsewhere.test"
_BATCH = 50_000
_LATE = 100_000
_SECOND = 1_000_000
_DAY = 86_400 * _SECOND
MAIL = b"From: a@example.test\r\nTo: b@example.test\r\nSubject: order\r\nMessage-ID: <1@example.test>\r\n\r\n"


@dataclass(frozen=True, slots=True)
class _Dialect:
    """Numbers from one to another as `series`, and texts made of a number `i`.

    `scattered` has its order from nowhere; `timed` begins with a time that is over. `indexes` names those that can be
    made again, with the statement that does it.
    """

    series: str
    ulid: str
    scattered: str
    timed: str
    digits: str
    indexes: str


_SQLITE = _Dialect(
    "WITH RECURSIVE series(i) AS (SELECT ? UNION ALL SELECT i + 1 FROM series WHERE i < ?)",
    "printf('%026d', i)",
    "printf('%08x%024x', (i * 2654435761) & 4294967295, i)",
    "printf('%012x%020x', 1700000000000 + i / 1000, i)",
    "printf('%08d', i)",
    "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL AND tbl_name = ?",
)
_POSTGRESQL = _Dialect(
    "WITH series AS (SELECT i FROM generate_series(?::bigint, ?::bigint) AS i)",
    "lpad(i::text, 26, '0')",
    "md5(i::text)",
    "lpad(to_hex(1700000000000 + i / 1000), 12, '0') || lpad(to_hex(i), 20, '0')",
    "lpad(i::text, 8, '0')",
    "SELECT i.indexname, i.indexdef FROM pg_indexes i WHERE i.schemaname = current_schema() AND i.tablename = %s"
    " AND NOT EXISTS (SELECT 1 FROM pg_constraint c WHERE c.conname = i.indexname)",
)


def mail_of(size: int) -> bytes:
    """A small mail whose body fills it up to so many octets."""
    line = b"x" * 70 + b"\r\n"
    body = line * (size // len(line) + 1)
    return MAIL + body[: size - 2] + b"\r\n"


def fill_suppressions(stores: Stores, rows: int, *, after: int = 0) -> None:
    """Addresses that nobody writes to, up to that number, so that each look-up is done among many."""
    dialect = _dialect(stores)
    before, behind = SUPPRESSED.split("{:08}")
    key = f"'{before}' || {dialect.digits} || '{behind}'"
    _in_batches(
        stores,
        rows - after,
        after + 1,
        "INSERT INTO suppressions (address_key, address, reason, source, detail, since, scope, note, actor, created_at)"
        f" {dialect.series} SELECT {key}, {key}, 'bounce', 'SES', '550', 1, '', '', 'SES', 1 FROM series",
    )
    _analyse(stores)


def fill_queue(stores: Stores, rows: int, content: bytes) -> None:
    """Mail that was accepted and is due, each to an address of its own."""
    first = _next_id(stores)
    now = time.time_ns() // 1000
    _fill_messages(stores, rows, first, now, len(content))
    dialect = _dialect(stores)
    _in_batches(
        stores,
        rows,
        first,
        f"INSERT INTO contents (message_id, data) {dialect.series} SELECT i, ? FROM series",
        content,
    )
    _in_batches(
        stores,
        rows,
        first,
        "INSERT INTO recipients (message_id, credential_id, address, address_key, status, reason, attempts,"
        f" next_attempt_at, expires_at, changed_at) {dialect.series} SELECT i, ({_LOCAL}), {_to(dialect)},"
        f" {_to(dialect)}, 'QUEUED', '', 0, {now}, {now + 4 * _DAY}, {now} FROM series",
    )
    _analyse(stores)


def fill_finished(stores: Stores, rows: int, advance: Callable[[str], None]) -> None:
    """Mail of the last weeks that was delivered, with its attempts, notifications and events.

    What is not kept as long is gone: its content, and the text of the notifications.
    """
    first, number, report = _next_id(stores), _next_id(stores, "recipients"), _next_id(stores, "notifications")
    then = time.time_ns() // 1000 - 20 * _DAY
    advance(f"{rows:,} finished messages")
    _fill_messages(stores, rows, first, then, 2048)
    for table, statement in _finished(_dialect(stores), then, number - first, report - first).items():
        advance(f"{rows:,} {table}")
        _in_batches(stores, rows, first, statement)
    _count_from(stores, "recipients", number + rows - 1)
    _count_from(stores, "notifications", report + rows - 1)
    _analyse(stores)


def _finished(dialect: _Dialect, then: int, recipient: int, report: int) -> dict[str, str]:
    """For each table the statement that fills it, for messages `i`; their recipients are `i + recipient`, and so on."""
    timed, to = dialect.timed, _to(dialect)
    return {
        "recipients": "INSERT INTO recipients (id, message_id, credential_id, address, address_key, status, reason,"
        " attempts, attempt_id, next_attempt_at, expires_at, changed_at, ended_at, counted_at)"
        f" {dialect.series} SELECT i + {recipient}, i, ({_LOCAL}), {to}, {to}, 'DELIVERED', '', 1, {timed},"
        f" {then} + i, {then + 4 * _DAY} + i, {then} + i, {then} + i, {then} + i FROM series",
        "attempts": "INSERT INTO attempts (attempt_id, recipient_id, started_at, finished_at, outcome, detail,"
        f" ses_message_id) {dialect.series} SELECT {timed}, i + {recipient}, {then} + i, {then} + i, 'accepted', '',"
        f" '0100' || {timed} FROM series",
        "notifications": "INSERT INTO notifications (id, sns_message_id, topic_arn, message, sent_at, received_at,"
        f" processed_at, error) {dialect.series} SELECT i + {report}, {dialect.scattered}, '{names.TOPIC_ARN}', NULL,"
        f" {then} + i, {then} + i, {then} + i, '' FROM series",
        "events": "INSERT INTO events (dedupe_key, notification_id, recipient_id, attempt_id, ses_message_id, kind,"
        f" address, address_key, occurred_at, stored_at, blamed_key) {dialect.series} SELECT '0100' || {timed} ||"
        f" ' Delivery', i + {report}, i + {recipient}, {timed}, '0100' || {timed}, 'Delivery', {to}, {to},"
        f" {then} + i, {then} + i, {to} FROM series",
    }


def fill_backlog(stores: Stores, finished: int, queued: int, content: bytes, advance: Callable[[str], None]) -> None:
    """So much of both, with indexes as they come to be.

    Made in one go an index has pages without any room, and the first thing that comes into one splits it. In life it
    is the other way round: the pages that are written to now have grown by being written to. So the last of the rows
    are written beside the finished indexes, as many as fill the newest part of an index by address.
    """
    late = min(_LATE, finished // 10)
    late_queued = late * queued // finished
    with indexed_afterwards(stores, advance):
        fill_finished(stores, finished - late, advance)
        advance(f"{queued:,} queued messages")
        fill_queue(stores, queued - late_queued, content)
    advance("the last of them, into finished indexes")
    fill_finished(stores, late, lambda _: None)
    fill_queue(stores, late_queued, content)


@contextmanager
def indexed_afterwards(stores: Stores, advance: Callable[[str], None]) -> Iterator[None]:
    """Without their indexes the tables are filled many times faster; at the end each index is made in one go."""
    dialect, tables = _dialect(stores), ("messages", "recipients", "attempts", "notifications", "events")
    with stores.db.exclusive() as database:
        indexes = [row for table in tables for row in database.execute_sql(dialect.indexes, (table,)).fetchall()]
        for name, _ in indexes:
            database.execute_sql(f"DROP INDEX {name}")
    yield
    for name, statement in indexes:
        advance(f"index {name}")
        with stores.db.exclusive() as database:
            database.execute_sql(statement)
        _move_log(stores)
    # A connection of SQLite that saw the tables without indexes does not look anew before it says that an ON CONFLICT
    # names none.
    stores.db.peewee.close_idle()
    _analyse(stores)


_LOCAL = f"SELECT id FROM credentials WHERE name = '{LOCAL_CREDENTIAL}'"


def _to(dialect: _Dialect) -> str:
    return f"{dialect.scattered} || '@example.test'"


def _fill_messages(stores: Stores, rows: int, first: int, accepted_at: int, size: int) -> None:
    dialect = _dialect(stores)
    _in_batches(
        stores,
        rows,
        first,
        "INSERT INTO messages (id, ulid, credential_id, reverse_path, client_address, helo, protocol, subject,"
        f" header_from, header_message_id, size, accepted_at) {dialect.series} SELECT i, {dialect.ulid}, ({_LOCAL}),"
        " 'a@example.test', '127.0.0.1', 'example.test', 'ESMTP', 'order', 'a@example.test', '<1@example.test>',"
        f" {size}, {accepted_at} + i FROM series",
    )
    _count_from(stores, "messages", first + rows - 1)


def _count_from(stores: Stores, table: str, last: int) -> None:
    """The next row gets the id behind this one. SQLite looks for itself."""
    if _dialect(stores) is _POSTGRESQL:
        _do(stores, f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), ?)", last)


def _in_batches(stores: Stores, rows: int, first: int, statement: str, *more: object) -> None:
    for begin in range(first, first + rows, _BATCH):
        _do(stores, statement, begin, min(begin + _BATCH, first + rows) - 1, *more)


def _do(stores: Stores, statement: str, *values: object) -> None:
    def work(sql: Sql) -> int:
        return sql.run(statement, values)

    stores.db.submit(work).result()


def _analyse(stores: Stores) -> None:
    """What autovacuum does by and by in an installation that grows. SQLite plans without statistics here."""
    if _dialect(stores) is _POSTGRESQL:
        with stores.db.exclusive() as database:
            database.execute_sql("VACUUM ANALYZE")


def _move_log(stores: Stores) -> None:
    """Each index is written into SQLite's log as a whole, which grows by all of them where nobody commits meanwhile."""
    if _dialect(stores) is _SQLITE:
        with stores.db.exclusive() as database:
            database.execute_sql("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()


def _next_id(stores: Stores, table: str = "messages") -> int:
    with stores.db.read() as sql:
        return int(sql.value(f"SELECT coalesce(max(id), 0) + 1 FROM {table}"))


def _dialect(stores: Stores) -> _Dialect:
    return _SQLITE if isinstance(stores.db, SqliteDatabase) else _POSTGRESQL
