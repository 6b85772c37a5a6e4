"""What SQLite deletes stays in the file and in its log until something overwrites it."""

from __future__ import annotations

import sqlite3
from contextlib import closing

from gateway.addresses import parse_mailbox
from gateway.store.erasure import Erasure
from tests.support.mail import accept, begun, change

SQLITE_ONLY = True

ANN = parse_mailbox("ann@example.com")
CONTENT = b"From: shop@example.org\r\n\r\n" + b"ann@example.com was here. " * 4000


def sent(stores):
    # Debian's SQLite overwrites by itself; most others do not.
    stores.db.write(lambda sql: sql.all("PRAGMA secure_delete = OFF"))
    (recipient,) = accept(stores, "ann@example.com", content=CONTENT)
    stores.sending.accepted(begun(stores, recipient), "ses-1")
    accept(stores, "bob@example.com")


def erase(stores):
    erasure = Erasure(stores.db)
    erasure.erase(erasure.find(ANN), cancel=False, forget_suppression=True, actor="jane")
    return erasure


def octets(stores):
    path = stores.db.path
    files = (path, path.with_name(path.name + "-wal"))
    return b"".join(file.read_bytes() for file in files if file.exists()).lower()


def test_the_files_forget_too(stores):
    sent(stores)
    size = stores.db.size()
    assert b"ann@example.com" in octets(stores)
    assert erase(stores).scour()
    assert b"ann@example.com" not in octets(stores)
    assert stores.db.size() < size - len(CONTENT)


def test_a_reader_that_keeps_the_log_in_use_is_told(stores):
    sent(stores)
    with closing(sqlite3.connect(stores.db.path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM audit").fetchall()
        erasure = erase(stores)
        assert not erasure.scour()
    change(stores, "UPDATE control SET changed_at = changed_at")
    assert erasure.scour()
    assert b"ann@example.com" not in octets(stores)
