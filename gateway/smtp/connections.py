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

    @property
    def owes_answer(self) -> bool:
        """Whether the client has sent its whole mail and waits for the reply: cut off now, it would send it again."""

    def drain(self) -> None:
        """End when no transaction is open, now or as soon as the one under way is done."""

    def end(self) -> None:
        """End soon, and say so where the client would understand it."""

    def abort(self) -> None:
        """End now."""


class _Places:
    """Places for connections, so many in all and so many for one client."""

    def __init__(self, in_all: int, per_client: int) -> None:
        self._free = in_all
        self._per_client = per_client
        self._taken: Counter[str] = Counter()

    def take(self, client: str) -> bool:
        if not self._free or self._taken[client] >= self._per_client:
            return False
        self._free -= 1
        self._taken[client] += 1
        return True

    def give_back(self, client: str) -> None:
        self._free += 1
        self._taken[client] -= 1
        if not self._taken[client]:
            del self._taken[client]


class Connections:
    """Counts connections, in total and by client. For use on the event loop only.

    Strangers have a few places of their own: however many come, they take none of a client that may send.
    """

    def __init__(self, limits: Limits) -> None:
        self._trusted = _Places(limits.connections, limits.connections_per_client)
        self._strangers = _Places(limits.strangers, limits.strangers_per_client)
        self._open: dict[Connection, tuple[_Places, str]] = {}
        self._refused = 0
        self._log_again_at = 0.0

    def __len__(self) -> int:
        return len(self._open)

    def __iter__(self) -> Iterator[Connection]:
        return iter(tuple(self._open))

    def enter(self, connection: Connection, client: str, *, is_trusted: bool) -> bool:
        """Count the connection in; False when there is no place for it."""
        places = self._trusted if is_trusted else self._strangers
        if not places.take(client):
            self._refuse(client)
            return False
        self._open[connection] = places, client
        return True

    def leave(self, connection: Connection) -> None:
        if connection in self._open:
            places, client = self._open.pop(connection)
            places.give_back(client)

    def in_transaction(self) -> int:
        return sum(connection.in_transaction for connection in self._open)

    def _refuse(self, client: str) -> None:
        self._refused += 1
        now = time.monotonic()
        if now >= self._log_again_at:
            log.warning("smtp.connections_refused", refused=self._refused, open=len(self._open), last_client=client)
            self._refused = 0
            self._log_again_at = now + _LOG_EVERY
