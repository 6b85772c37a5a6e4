"""Reading the content of a mail (RFC 5321 section 4.1.1.4) in blocks and in bounded memory."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Self
from weakref import WeakValueDictionary

BLOCK = 64 * 1024
_END = b"\r\n.\r\n"


class OversizeError(Exception):
    """The client goes on although twice the limit was received: only closing the connection stops it."""


class OctetsInFlight:
    """The memory for content that is being received or stored, one amount for all sessions."""

    def __init__(self, limit: int) -> None:
        self._free = limit

    def take(self, octets: int) -> bool:
        """False when there is not so much left; nothing is taken then."""
        if octets > self._free:
            return False
        self._free -= octets
        return True

    def give_back(self, octets: int) -> None:
        self._free += octets


class Share:
    """What one session has of the octets in flight; given back at the end of the `with`."""

    def __init__(self, octets: OctetsInFlight) -> None:
        self._octets = octets
        self._taken = 0
        self.is_denied = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._give_back()

    def grow_to(self, received: int) -> bool:
        """Whether content of so many octets may be kept. Once it may not, it need not be kept at all."""
        if not self.is_denied and not self._octets.take(received - self._taken):
            self.is_denied = True
            self._give_back()
        elif not self.is_denied:
            self._taken = received
        return not self.is_denied

    def _give_back(self) -> None:
        self._octets.give_back(self._taken)
        self._taken = 0


class LargePlaces:
    """The places for large content in memory: so many in all, and fewer for one client, however slowly it sends."""

    def __init__(self, places: int, places_per_client: int) -> None:
        self._places = asyncio.Semaphore(places)
        self._places_per_client = places_per_client
        self._by_client: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    def of(self, client: str) -> tuple[asyncio.Semaphore, asyncio.Semaphore]:
        """What to acquire, in this order: whoever waits for a place of its own is in nobody's way."""
        own = self._by_client.get(client)
        if own is None:
            own = self._by_client[client] = asyncio.Semaphore(self._places_per_client)
        return own, self._places


class LargePlace:
    """One of the few places for large content in memory; given back at the end of the `with`, if it was taken."""

    def __init__(self, places: LargePlaces, client: str, patience: float) -> None:
        self._places = places
        self._client = client
        self._patience = patience
        self._acquired: list[asyncio.Semaphore] = []
        self.is_taken = False
        self.waited = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for semaphore in self._acquired:
            semaphore.release()

    async def take(self) -> None:
        """Wait for a place, once. The client is not read from meanwhile. TimeoutError when none became free."""
        if self.is_taken:
            return
        started = time.monotonic()
        async with asyncio.timeout(self._patience):
            for semaphore in self._places.of(self._client):
                await semaphore.acquire()
                self._acquired.append(semaphore)
        self.is_taken = True
        self.waited = time.monotonic() - started


class BlockReader(asyncio.StreamReader):
    """A stream reader that takes back what was read too far, for commands sent in the same segment as the content."""

    # StreamReader's own; no public way leads to them.
    _buffer: bytearray
    _transport: asyncio.BaseTransport | None

    def continue_on(self, transport: asyncio.BaseTransport) -> None:
        """Hold up another transport from now on when much waits to be read."""
        self._transport = transport

    def starts_with(self, texts: tuple[bytes, ...]) -> bool:
        """Whether what waits begins with one of `texts`."""
        return self._buffer.startswith(texts)

    def has_input(self) -> bool:
        """Whether bytes wait that nobody has read yet."""
        return bool(self._buffer)

    def unread(self, data: bytes) -> None:
        self._buffer[:0] = data


async def read_content(reader: BlockReader, limit: int, progress: Callable[[int], Awaitable[bool]]) -> bytes | None:
    """The content up to the lone dot, without dot-stuffing; None when it is larger than `limit`.

    Only <CRLF>.<CRLF> ends it: any other reading of line ends is what SMTP smuggling lives from. `progress` is awaited
    with the octets received so far after each block, and says whether to keep them: after False the rest is read and
    forgotten, and the result is None. OversizeError beyond twice the limit; ConnectionResetError when
    the client went away.
    """
    kept = bytearray(b"\r\n")  # the end of the DATA command: content may begin with the lone dot
    most_kept = limit + limit // 3 + 2 * len(_END)  # the shortest line that is stuffed grows from 3 octets to 4
    received = 0
    oversize = False
    while block := await reader.read(BLOCK):
        received += len(block)
        searched = len(kept)
        kept += block
        end = kept.find(_END, max(0, searched - len(_END) + 1))
        if end >= 0:
            reader.unread(bytes(memoryview(kept)[end + len(_END) :]))
            stuffed = b"" if oversize else bytes(memoryview(kept)[2 + kept.startswith(b"\r\n.") : end + 2])
            del kept  # before there is a third copy
            content = _unstuffed(stuffed)
            return None if oversize or len(content) > limit else content
        if received > 2 * limit + BLOCK:
            raise OversizeError
        if not await progress(received) or oversize or len(kept) > most_kept:
            oversize = True
            del kept[: -len(_END) + 1]
    raise ConnectionResetError("the client went away in the middle of the content")


def _unstuffed(content: bytes) -> bytes:
    """Without the dots that were put before those at the beginnings of lines; the first line begins without its own."""
    return content.replace(b"\r\n.", b"\r\n")
