"""The open connections: how many, of whom, and how they are brought to an end."""

from __future__ import annotations

import heapq
import time
from collections import Counter
from collections.abc import Iterator
from typing import Protocol

from gateway.logs import get_logger
from gateway.smtp.limits import Limits

log = get_logger(__name__)

_LOG_EVERY = 10.0  # seconds; a flood must not fill the disk with its log
_FOUND_AT_ONCE = 16


class Connection(Protocol):
    """An open SMTP session."""

    @property
    def in_transaction(self) -> bool:
        """Whether a mail transaction is under way: the only thing that a shutdown waits for."""

    @property
    def owes_answer(self) -> bool:
        """Whether the client has sent its whole mail and waits for the reply: cut off now, it would send it again."""

    @property
    def idle_since(self) -> float | None:
        """Since when the client says nothing, on the loop's clock; None while closing the session would cost a mail."""

    def make_room(self) -> None:
        """End now, and say so: another client needs the place."""

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
        self.silent: list[tuple[float, Connection]] = []

    def has_room_for(self, client: str) -> bool:
        """Whether the client may have one more, if there is one at all."""
        return self._taken[client] < self._per_client

    @property
    def are_taken(self) -> bool:
        return self._free <= 0

    def taken_by(self, client: str) -> int:
        return self._taken[client]

    def take(self, client: str) -> None:
        self._free -= 1
        self._taken[client] += 1

    def give_back(self, client: str) -> None:
        self._free += 1
        self._taken[client] -= 1
        if not self._taken[client]:
            del self._taken[client]


class Connections:
    """Counts connections, in total and by client. For use on the event loop only.

    Strangers have places of their own: however many come, they take none of a client that may send. When all are
    taken, a newcomer gets that of whoever has the most of them and has been silent on one for the longest time.
    """

    def __init__(self, limits: Limits) -> None:
        self._trusted = _Places(limits.connections, limits.connections_per_client)
        self._strangers = _Places(limits.strangers, limits.strangers_per_client)
        self._open: dict[Connection, tuple[_Places, str]] = {}
        self._refused = 0
        self._ended = 0
        self._log_again_at = 0.0

    def __len__(self) -> int:
        return len(self._open)

    def __iter__(self) -> Iterator[Connection]:
        return iter(tuple(self._open))

    def enter(self, connection: Connection, client: str, *, is_trusted: bool, is_counted: bool = True) -> bool:
        """Count the connection in, or under what is known of it now. False when there is no place for it.

        `is_counted` is False for a client that may be many: this machine, or a proxy that has not told whom it is for.
        """
        places = self._trusted if is_trusted else self._strangers
        held = self._open.get(connection)
        if held == (places, client):
            return True
        has_place = held is not None and held[0] is places
        if (is_counted and not places.has_room_for(client)) or not (has_place or self._has_place(places)):
            self._refuse(client)
            return False
        self.leave(connection)
        places.take(client)
        self._open[connection] = places, client
        return True

    def leave(self, connection: Connection) -> None:
        if connection in self._open:
            places, client = self._open.pop(connection)
            places.give_back(client)

    def in_transaction(self) -> int:
        return sum(connection.in_transaction for connection in self._open)

    def _has_place(self, places: _Places) -> bool:
        return not places.are_taken or self._make_room(places)

    def _make_room(self, places: _Places) -> bool:
        connection = self._next_silent(places)
        if connection is None:
            return False
        client = self._open[connection][1]
        self.leave(connection)
        connection.make_room()
        self._ended += 1
        self._log(client)
        return True

    def _next_silent(self, places: _Places) -> Connection | None:
        """One of those who were found silent before and have been since, or of those who are found now."""
        for _ in range(2):
            while places.silent:
                since, connection = places.silent.pop()
                if self._open.get(connection, (None,))[0] is places and connection.idle_since == since:
                    return connection
            places.silent = self._silent(places)
        return None

    def _silent(self, places: _Places) -> list[tuple[float, Connection]]:
        """Who is to end, the first one last. Some at once: to look through all for each newcomer would feed a flood."""
        found = [
            (-places.taken_by(client), since, number, connection)
            for number, (connection, (taken, client)) in enumerate(self._open.items())
            if taken is places and (since := connection.idle_since) is not None
        ]
        return [(since, connection) for _, since, _, connection in reversed(heapq.nsmallest(_FOUND_AT_ONCE, found))]

    def _refuse(self, client: str) -> None:
        self._refused += 1
        self._log(client)

    def _log(self, client: str) -> None:
        now = time.monotonic()
        if now >= self._log_again_at:
            log.warning(
                "smtp.connections_refused",
                refused=self._refused,
                ended_while_idle=self._ended,
                open=len(self._open),
                last_client=client,
            )
            self._refused = self._ended = 0
            self._log_again_at = now + _LOG_EVERY
