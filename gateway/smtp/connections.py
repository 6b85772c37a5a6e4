"""The open connections: how many, of whom, and how they are brought to an end."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from typing import Protocol

from gateway.logs import get_logger
from gateway.smtp.limits import Limits

log = get_logger(__name__)

_LOG_EVERY = 10.0  # seconds; a flood must not fill the disk with its log


class Connection(Protocol):
    """An open SMTP session."""

    @property
    def in_transaction(self) -> bool:
        """Whether a mail transaction is under way: the only thing that a shutdown waits for."""

    def drain(self) -> None:
        """End when no transaction is open, now or as soon as the one under way is done."""

    def abort(self) -> None:
        """End now."""


class Connections:
    """Counts connections, in total and by client. For use on the event loop only."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._open: dict[Connection, str] = {}
        self._by_client: Counter[str] = Counter()
        self._refused = 0
        self._log_again_at = 0.0

    def __len__(self) -> int:
        return len(self._open)

    def __iter__(self) -> Iterator[Connection]:
        return iter(tuple(self._open))

    def enter(self, connection: Connection, client: str) -> bool:
        """Count the connection in; False when there is no place for it."""
        if (
            len(self._open) >= self._limits.connections
            or self._by_client[client] >= self._limits.connections_per_client
        ):
            self._refuse(client)
            return False
        self._open[connection] = client
        self._by_client[client] += 1
        return True

    def leave(self, connection: Connection) -> None:
        client = self._open.pop(connection, None)
        if client is None:
            return
        self._by_client[client] -= 1
        if not self._by_client[client]:
            del self._by_client[client]

    def in_transaction(self) -> int:
        return sum(connection.in_transaction for connection in self._open)

    def _refuse(self, client: str) -> None:
        self._refused += 1
        now = time.monotonic()
        if now >= self._log_again_at:
            log.warning("smtp.connections_refused", refused=self._refused, open=len(self._open), last_client=client)
            self._refused = 0
            self._log_again_at = now + _LOG_EVERY
