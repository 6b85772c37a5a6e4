"""The SQLite file in which the simulated AWS keeps everything."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS records (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS messages (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, accepted_at TEXT NOT NULL, source TEXT NOT NULL,
    recipients TEXT NOT NULL, subject TEXT NOT NULL, tags TEXT NOT NULL, configuration_set TEXT, size INTEGER NOT NULL,
    sha256 TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS contents (seq INTEGER PRIMARY KEY, raw BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS usage (minute INTEGER PRIMARY KEY, recipients INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS configuration_sets (name TEXT PRIMARY KEY, options TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS event_destinations (
    configuration_set TEXT NOT NULL, name TEXT NOT NULL, definition TEXT NOT NULL, PRIMARY KEY (configuration_set, name)
);
CREATE TABLE IF NOT EXISTS identities (name TEXT PRIMARY KEY, options TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS suppressed (address TEXT PRIMARY KEY, reason TEXT NOT NULL, updated_at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS suppressed_by (address TEXT PRIMARY KEY, message_id TEXT NOT NULL, feedback_id TEXT);
CREATE TABLE IF NOT EXISTS topics (arn TEXT PRIMARY KEY, attributes TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS subscriptions (
    arn TEXT PRIMARY KEY, topic_arn TEXT NOT NULL, protocol TEXT NOT NULL, endpoint TEXT NOT NULL, token TEXT NOT NULL,
    confirmed INTEGER NOT NULL, authenticated_unsubscribe INTEGER NOT NULL, holds INTEGER NOT NULL,
    attributes TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS subscriptions_by_topic ON subscriptions (topic_arn);
CREATE TABLE IF NOT EXISTS notifications (
    id INTEGER PRIMARY KEY AUTOINCREMENT, sns_message_id TEXT NOT NULL, type TEXT NOT NULL, topic_arn TEXT NOT NULL,
    subscription_arn TEXT NOT NULL, endpoint TEXT NOT NULL, signature_version TEXT NOT NULL, subject TEXT, message TEXT,
    attributes TEXT, token TEXT, published_at TEXT NOT NULL, status TEXT NOT NULL, attempts INTEGER NOT NULL DEFAULT 0,
    due_at REAL NOT NULL, last_status INTEGER, last_error TEXT
);
CREATE INDEX IF NOT EXISTS notifications_due ON notifications (due_at, id) WHERE status = 'PENDING';
CREATE INDEX IF NOT EXISTS notifications_by_subscription ON notifications (subscription_arn)
    WHERE status IN ('PENDING', 'HELD');
CREATE TABLE IF NOT EXISTS unsubscribed (topic_arn TEXT PRIMARY KEY, number INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS tags (arn TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (arn, key));
CREATE TABLE IF NOT EXISTS queues (
    name TEXT PRIMARY KEY, attributes TEXT NOT NULL, created_at REAL NOT NULL, changed_at REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS queue_messages (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, queue TEXT NOT NULL, id TEXT NOT NULL, body TEXT NOT NULL,
    attributes TEXT NOT NULL, system_attributes TEXT NOT NULL, sent_at REAL NOT NULL, visible_at REAL NOT NULL,
    received INTEGER NOT NULL DEFAULT 0, first_received_at REAL, receipt TEXT, source_arn TEXT
);
CREATE INDEX IF NOT EXISTS queue_messages_visible ON queue_messages (queue, visible_at, seq);
CREATE INDEX IF NOT EXISTS queue_messages_sent ON queue_messages (queue, sent_at);
CREATE INDEX IF NOT EXISTS queue_messages_received ON queue_messages (queue, received) WHERE received > 0;
"""


class Database:
    """One connection behind one lock: SQLite has one writer anyway, and a call here takes microseconds.

    `synchronous=NORMAL`: a commit survives `kill -9` of the process, which is what a simulation must outlive.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.RLock()
        self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._connection.row_factory = sqlite3.Row
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=NORMAL")
        self._connection.execute("PRAGMA busy_timeout=5000")
        self._connection.executescript(_SCHEMA)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Everything inside is committed together. Inside another transaction it joins that one."""
        with self._lock:
            if self._connection.in_transaction:
                yield
                return
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def execute(self, sql: str, *values: Any) -> int:
        """Run a statement that changes rows, and say how many it changed."""
        with self._lock:
            return self._connection.execute(sql, values).rowcount

    def insert(self, sql: str, *values: Any) -> int:
        """Insert a row, and give its number."""
        with self._lock:
            cursor = self._connection.execute(sql, values)
            return cursor.lastrowid or 0

    def one(self, sql: str, *values: Any) -> sqlite3.Row | None:
        with self._lock:
            row: sqlite3.Row | None = self._connection.execute(sql, values).fetchone()
            return row

    def all(self, sql: str, *values: Any) -> list[sqlite3.Row]:
        with self._lock:
            return self._connection.execute(sql, values).fetchall()

    def close(self) -> None:
        with self._lock:
            self._connection.close()
