"""How much mail SES took under each credential's name, without counting the same day again every few seconds.

A day may have ten million rows. What lies some minutes back hardly changes, so it is counted once in steps, and the
steps are remembered by this process for as long as somebody asks for them.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta

from gateway.store.sql import Sql
from gateway.store.times import span

STEP = span(timedelta(minutes=10))
# Answers that are recorded late, or under a clock that is behind, have all arrived.
_SETTLED = span(timedelta(minutes=10))
# A count may be taken back: what SES had not even tried, and what was erased. So old that is known after a while.
_COUNTED_AGAIN = span(timedelta(hours=2))


class SentCounts:
    """Safe from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[tuple[int, int], tuple[int, int]] = {}  # credential and step: the count, and when it was made

    def count(self, sql: Sql, credential_id: int, begin: int, now: int) -> int:
        """Recipients that SES took from `begin`, at most a day ago, to `now`, both included."""
        first, behind = -(-begin // STEP), (now - _SETTLED) // STEP
        if first >= behind:
            return count_sent(sql, credential_id, begin, now)
        self._forget(credential_id, first, now)
        edges = count_sent(sql, credential_id, begin, first * STEP - 1)
        edges += count_sent(sql, credential_id, behind * STEP, now)
        return edges + sum(self._steps(sql, credential_id, range(first, behind), now))

    def _steps(self, sql: Sql, credential_id: int, steps: range, now: int) -> Iterator[int]:
        for step in steps:
            known = self._known.get((credential_id, step))
            if known is None or not 0 <= now - known[1] <= _COUNTED_AGAIN:
                sends = count_sent(sql, credential_id, step * STEP, (step + 1) * STEP - 1)
                with self._lock:
                    known = self._known[credential_id, step] = (sends, now)
            yield known[0]

    def _forget(self, credential_id: int, first: int, now: int) -> None:
        """Let go of the steps that are too old to be asked for again."""
        oldest = min(first, (now - span(timedelta(hours=24))) // STEP)
        with self._lock:
            for gone in [key for key in self._known if key[0] == credential_id and key[1] < oldest]:
                del self._known[gone]


def count_sent(sql: Sql, credential_id: int, begin: int, end: int) -> int:
    """The rows themselves."""
    return int(
        sql.value(
            "SELECT count(*) FROM recipients WHERE credential_id = ? AND counted_at BETWEEN ? AND ?",
            (credential_id, begin, end),
        )
    )
