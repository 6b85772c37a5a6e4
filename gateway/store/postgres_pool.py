"""peewee's pool of connections to PostgreSQL, with fewer round trips: each is two changes of the running process."""

from __future__ import annotations

import select
import time
import weakref
from typing import Any

from peewee import __exception_wrapper__ as exception_wrapper  # type: ignore[attr-defined]  # missing in its stubs
from playhouse.pool import PooledPostgresqlDatabase

_ASKED_AFTER = 5.0  # seconds
_BEGIN = "BEGIN; SELECT pg_current_xact_id()::text"


class PostgresPool(PooledPostgresqlDatabase):  # type: ignore[misc]  # its stubs do not say what it is
    """peewee asks the server `SELECT 1` before each use of a connection; here only what could have been lost is asked.

    `transaction_id` is that of the transaction that `begin_known` began last; one thread of a process writes.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._given_back: weakref.WeakKeyDictionary[Any, float] = weakref.WeakKeyDictionary()
        self.transaction_id = ""
        super().__init__(*arguments, **options)

    def begin_known(self) -> None:
        """Begin a transaction whose outcome can be looked up, should the answer to its commit be lost."""
        with exception_wrapper:
            cursor = self.cursor()
            cursor.execute(_BEGIN, prepare=False)  # two statements are not to be prepared
            cursor.nextset()
            self.transaction_id = cursor.fetchone()[0]

    def _can_reuse(self, conn: Any) -> bool:
        self._given_back[conn] = time.monotonic()
        return bool(super()._can_reuse(conn))

    def _is_closed(self, conn: Any) -> bool:
        """Of a connection that was in use a moment ago a server that went away has told: there is something to read.

        After a longer pause a firewall may have forgotten it, and that shows only when it is used.
        """
        is_fresh = time.monotonic() - self._given_back.get(conn, 0.0) < _ASKED_AFTER
        if is_fresh and not conn.closed and not _is_readable(conn.fileno()):
            return False
        return bool(super()._is_closed(conn))


def _is_readable(descriptor: int) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))
