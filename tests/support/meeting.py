"""Two transactions that meet on PostgreSQL: one that is held open, and whether another waits for it."""

from __future__ import annotations

import threading
from collections.abc import Callable

from gateway.store.sql import Sql
from gateway.store.stores import Stores
from tests.support.mail import rows


class Held:
    """A write transaction of one program that stays open until it is let go."""

    def __init__(self, stores: Stores, run: Callable[[Sql], object]) -> None:
        self._entered, self._go = threading.Event(), threading.Event()
        self._future = stores.db.submit(lambda sql: self._hold(run, sql))
        assert self._entered.wait(30)

    def _hold(self, run: Callable[[Sql], object], sql: Sql) -> None:
        run(sql)
        self._entered.set()
        while not self._go.wait(0.1):
            sql.value("SELECT 1")  # the server ends a transaction that is idle

    def let_go(self) -> None:
        self._go.set()
        self._future.result(timeout=30)


def waits_for_a_lock(stores: Stores) -> bool:
    waiting = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    return bool(rows(stores, waiting))
