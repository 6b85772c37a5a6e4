"""Rows that a measurement finds in the database: made by SQL, many at once, the same for both databases."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from gateway.envelope import LOCAL_CREDENTIAL
from gateway.store.sql import Sql
from gateway.store.sqlite import SqliteDatabase
from gateway.store.stores import Stores

SUPPRESSED = "gone{:08}@elsewhere.test"
_BATCH = 50_000
_SECOND = 1_000_000
_DAY = 86_400 * _SECOND
MAIL = b"From: a@example.test\r\nTo: b@example.test\r\nSubject: order\r\nMessage-ID: <1@example.test>\r\n\r\n"


@dataclass(frozen=True, slots=True)
class _Dialect:
    """Numbers from one to another as `series`, and texts made of a number `i`."""

    series: str
    ulid: str
    hexadecimal: str
    digits: str


_SQLITE = _Dialect(
    "WITH RECURSIVE series(i) AS (SELECT ? UNION ALL SELECT i + 1 FROM series WHERE i < ?)",
    "printf('%026d', i)",
    "printf('%032x', i)",
    "printf('%08d', i)",
)
_POSTGRESQL = _Dialect(
    "WITH series AS (SELECT i FROM generate_series(?::bigint, ?::bigint) AS i)",
    "lpad(i::text, 26, '0')",
    "lpad(to_hex(i), 32, '0')",
    "lpad(i::text, 8, '0')",
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
    """Mail of the last weeks that was delivered, with its attempts and events; its content is not kept any more."""
    first = _next_id(stores)
    then = time.time_ns() // 1000 - 20 * _DAY
    dialect = _dialect(stores)
    advance(f"{rows:,} finished messages")
    _fill_messages(stores, rows, first, then, 2048)
    advance(f"{rows:,} finished recipients")
    _in_batches(
        stores,
        rows,
        first,
        "INSERT INTO recipients (message_id, credential_id, address, address_key, status, reason, attempts, attempt_id,"
        f" next_attempt_at, expires_at, changed_at, ended_at, counted_at) {dialect.series} SELECT i, ({_LOCAL}),"
        f" {_to(dialect)}, {_to(dialect)}, 'DELIVERED', '', 1, {dialect.hexadecimal}, {then}, {then + 4 * _DAY},"
        f" {then}, {then} + i, {then} + i FROM series",
    )
    advance(f"{rows:,} attempts")
    # A recipient's id is not its message's where others were there before; the join finds it by index.
    chosen = (
        f"{dialect.series} SELECT {dialect.hexadecimal}, r.id, {{}} FROM series JOIN recipients r ON r.message_id = i"
    )
    _in_batches(
        stores,
        rows,
        first,
        "INSERT INTO attempts (attempt_id, recipient_id, started_at, finished_at, outcome, detail, ses_message_id) "
        + chosen.format(f"{then}, {then}, 'accepted', '', 'ses-' || {dialect.hexadecimal}"),
    )
    advance(f"{rows:,} events")
    _in_batches(
        stores,
        rows,
        first,
        "INSERT INTO events (dedupe_key, recipient_id, attempt_id, ses_message_id, kind, address, address_key,"
        f" occurred_at, stored_at, blamed_key) {dialect.series} SELECT 'delivery-' || {dialect.hexadecimal}, r.id,"
        f" {dialect.hexadecimal}, 'ses-' || {dialect.hexadecimal}, 'Delivery', r.address, r.address_key, {then} + i,"
        f" {then} + i, r.address_key FROM series JOIN recipients r ON r.message_id = i",
    )
    advance("statistics")
    _analyse(stores)


_LOCAL = f"SELECT id FROM credentials WHERE name = '{LOCAL_CREDENTIAL}'"


def _to(dialect: _Dialect) -> str:
    return f"'to' || {dialect.digits} || '@example.test'"


def _fill_messages(stores: Stores, rows: int, first: int, accepted_at: int, size: int) -> None:
    dialect = _dialect(stores)
    _in_batches(
        stores,
        rows,
        first,
        "INSERT INTO messages (id, ulid, credential_id, reverse_path, client_address, helo, protocol, subject,"
        f" header_from, header_message_id, size, accepted_at) {dialect.series} SELECT i, {dialect.ulid}, ({_LOCAL}),"
        " 'a@example.test', '127.0.0.1', 'example.test', 'ESMTP', 'order', 'a@example.test', '<1@example.test>',"
        f" {size}, {accepted_at} FROM series",
    )
    if dialect is _POSTGRESQL:
        _do(stores, "SELECT setval(pg_get_serial_sequence('messages', 'id'), ?)", first + rows - 1)


def _in_batches(stores: Stores, rows: int, first: int, statement: str, *more: object) -> None:
    for begin in range(first, first + rows, _BATCH):
        _do(stores, statement, begin, min(begin + _BATCH, first + rows) - 1, *more)


def _do(stores: Stores, statement: str, *values: object) -> None:
    def work(sql: Sql) -> int:
        return sql.run(statement, values)

    stores.db.submit(work).result()


def _analyse(stores: Stores) -> None:
    """What autovacuum and `PRAGMA optimize` keep up to date in an installation that has grown."""
    _do(stores, "ANALYZE")


def _next_id(stores: Stores) -> int:
    with stores.db.read() as sql:
        return int(sql.value("SELECT coalesce(max(id), 0) + 1 FROM messages"))


def _dialect(stores: Stores) -> _Dialect:
    return _SQLITE if isinstance(stores.db, SqliteDatabase) else _POSTGRESQL
