"""What only SQLite has."""

from __future__ import annotations

from tests.support.mail import accept, change, rows

SQLITE_ONLY = True


def test_space_of_deleted_rows_is_given_back(stores):
    accept(stores, content=b"From: a@b.example\r\n\r\n" + b"x" * 3_000_000)
    change(stores, "DELETE FROM contents")
    free = rows(stores, "PRAGMA freelist_count")[0][0]
    stores.retention.give_back_space()
    assert free > 300
    assert rows(stores, "PRAGMA freelist_count")[0][0] == 0
