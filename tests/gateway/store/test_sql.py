"""Statements as the stores speak them, on both databases."""

from __future__ import annotations

import pytest

from gateway.store.sql import Sql
from tests.support.mail import rows

_INSERT = "INSERT INTO tallies (name, label, count) VALUES (?, (SELECT key FROM control WHERE key = ?), ?)"


@pytest.mark.parametrize("number", [0, 1, 2, 3, 5, 31, 32, 33, 100])
def test_rows_are_inserted_whole_in_their_order_and_once_each(stores, number):
    def work(sql):
        sql.run("INSERT INTO control (key, value, holder, epoch, beat, changed_at) VALUES ('k', '{}', '', 0, 0, 0)")
        sql.insert(_INSERT, [(f"row {place:03}", "k", place) for place in range(number)])

    stores.db.write(work)
    found = rows(stores, "SELECT name, label, count FROM tallies WHERE label = ? ORDER BY name", "k")
    assert found == [(f"row {place:03}", "k", place) for place in range(number)]


def test_many_rows_are_few_statements_of_few_lengths(stores, monkeypatch):
    statements = []
    execute = Sql._execute

    def counted(self, statement, parameters):
        statements.append(statement)
        return execute(self, statement, parameters)

    monkeypatch.setattr(Sql, "_execute", counted)
    for number in range(1, 100):
        stores.db.write(lambda sql, n=number: sql.insert(_INSERT, [(f"{n} {place}", "stamp", 1) for place in range(n)]))
    inserts = [statement for statement in statements if statement.startswith("INSERT INTO tallies")]
    assert len(set(inserts)) == 6
    assert len(inserts) < 600


def test_inserting_rows_is_a_change(stores):
    changed = stores.db.write(lambda sql: (sql.insert(_INSERT, [("a", "stamp", 1)]), sql.has_changed)[1])
    assert changed
