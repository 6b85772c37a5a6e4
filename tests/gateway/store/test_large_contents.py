"""Large content goes into the database in pieces, and comes out as it was."""

from __future__ import annotations

import random

from gateway.store.sql import Sql
from tests.support.busy_writer import standing_writer
from tests.support.mail import FACTS, claimed, envelope

LARGE = 3_000_001  # no multiple of a piece


def octets(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def kept(stores, ulid):
    with stores.db.read() as sql:
        return bytes(
            sql.value("SELECT data FROM contents c JOIN messages m ON m.id = c.message_id WHERE m.ulid = ?", (ulid,))
        )


def test_large_content_is_kept_octet_by_octet(stores):
    contents = [octets(size) for size in (LARGE, 512 * 1024, 512 * 1024 + 1, 10)]
    futures = [stores.messages.submit(envelope(content=content), FACTS) for content in contents]
    assert [kept(stores, future.result(timeout=30)) for future in futures] == contents


def test_a_worker_reads_it_whole(stores):
    stores.messages.submit(envelope(content=octets(LARGE)), FACTS).result(timeout=30)
    with stores.db.read() as sql:
        id_ = sql.value("SELECT id FROM recipients")
    assert stores.sending.content(claimed(stores, id_)) == octets(LARGE)


def test_only_postgresql_is_given_a_statement_with_large_content_in_it(stores, monkeypatch):
    bound: list[int] = []
    execute, many = Sql._execute, Sql.many

    def sizes(values):
        return [len(value) for value in values if isinstance(value, bytes)]

    def record(self, statement, parameters):
        bound.extend(sizes(parameters))
        return execute(self, statement, parameters)

    def record_many(self, statement, rows):
        rows = list(rows)
        bound.extend(size for row in rows for size in sizes(row))
        many(self, statement, rows)

    monkeypatch.setattr(Sql, "_execute", record)
    monkeypatch.setattr(Sql, "many", record_many)
    stores.messages.submit(envelope(content=octets(LARGE)), FACTS).result(timeout=30)
    stores.messages.submit(envelope(content=octets(2000)), FACTS).result(timeout=30)
    assert max(bound) == (2000 if _is_sqlite(stores) else LARGE)


def test_no_statement_has_more_than_one_large_content_in_it(stores, monkeypatch):
    bound: list[int] = []
    execute = Sql._execute

    def record(self, statement, parameters):
        bound.append(sum(len(value) for value in parameters if isinstance(value, bytes)))
        return execute(self, statement, parameters)

    monkeypatch.setattr(Sql, "_execute", record)
    with standing_writer(stores):
        futures = [stores.messages.submit(envelope(content=octets(LARGE)), FACTS) for _ in range(3)]
    for future in futures:
        future.result(timeout=30)
    assert max(bound) == (0 if _is_sqlite(stores) else LARGE)


def _is_sqlite(stores):
    with stores.db.read() as sql:
        return sql.fills
