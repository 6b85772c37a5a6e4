"""Stores large content one way or the other, while 2 KB mails are stored beside it: WAY SIZE NUMBER DIRECTORY."""

from __future__ import annotations

import json
import os
import secrets
import sqlite3
import statistics
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

from benchmarks.filling import mail_of
from gateway.addresses import parse_mailbox
from gateway.content import ContentFacts
from gateway.envelope import LOCAL_CREDENTIAL, Envelope, Origin
from gateway.settings import Settings
from gateway.store.stores import Stores, open_stores

ROW, FILE = "row", "file"
_SESSIONS, _SMALL_SESSIONS = 20, 4


def main(way: str, size: int, number: int, directory: Path) -> None:
    stores = open_stores(Settings(data_dir=directory))
    spool = directory / "spool"
    spool.mkdir(exist_ok=True)
    content = mail_of(size)
    store = _in_row(stores, content) if way == ROW else _in_file(stores, content, spool)
    done = threading.Event()
    with ThreadPoolExecutor(_SESSIONS) as sessions, ThreadPoolExecutor(_SMALL_SESSIONS) as small:
        beside = [small.submit(_latencies, stores, done) for _ in range(_SMALL_SESSIONS)]
        began = time.perf_counter()
        for each in [sessions.submit(store) for _ in range(number)]:
            each.result()
        _checkpoint(directory)
        took = time.perf_counter() - began
        done.set()
        latencies = [one for each in beside for one in each.result()]
    stores.close()
    for file in spool.iterdir():
        file.unlink()
    p99 = 1000 * statistics.quantiles(latencies, n=100)[98]
    sys.stdout.write(json.dumps({"rate": number / took, "p99": p99}))


def _in_row(stores: Stores, content: bytes) -> Callable[[], object]:
    return lambda: _accept(stores, content)


def _in_file(stores: Stores, content: bytes, spool: Path) -> Callable[[], object]:
    """As Postfix does: the row, which names the file, is written when the file is on the disk."""

    def store() -> None:
        file = spool / secrets.token_hex(16)
        with file.open("xb", buffering=0) as output:
            output.write(content)
            os.fsync(output.fileno())
        descriptor = os.open(spool, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        _accept(stores, str(file).encode())

    return store


def _latencies(stores: Stores, done: threading.Event) -> list[float]:
    """At least two: a percentile of fewer is none."""
    content = mail_of(2048)
    found: list[float] = []
    while not done.is_set() or len(found) <= 1:
        began = time.perf_counter()
        _accept(stores, content)
        found.append(time.perf_counter() - began)
    return found


def _accept(stores: Stores, content: bytes) -> str:
    envelope = Envelope(
        reverse_path=parse_mailbox("a@example.test"),
        forward_paths=(parse_mailbox(f"{secrets.token_hex(8)}@example.test"),),
        content=content,
        origin=Origin(LOCAL_CREDENTIAL, "127.0.0.1", "client.example.test", "ESMTP"),
    )
    facts = ContentFacts("order", "a@example.test", "<1@example.test>", len(content))
    return stores.messages.submit(envelope, facts).result()


def _checkpoint(directory: Path) -> None:
    """What is still to be written into the database file for what was stored."""
    with closing(sqlite3.connect(directory / "sesgate.db", timeout=30)) as connection:
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
