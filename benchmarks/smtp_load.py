"""Sessions that send one message a connection, and note what was promised to them, and how long that took."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count

import uvloop

_TIMEOUT = 120.0


@dataclass(slots=True)
class Ledger:
    """The addresses whose mail was answered 250, the seconds from the last octet to each 250, and what went wrong."""

    promised: list[str] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)


class _RefusedError(Exception):
    """A reply that is not the one that goes on."""


def send_for(seconds: float, port: int, content: bytes, sessions: int) -> Ledger:
    """So many sessions side by side, each with its next message as soon as the last one is answered."""
    ledger = Ledger()
    until = time.monotonic() + seconds
    uvloop.run(_send(ledger, port, content, sessions, lambda: time.monotonic() < until))
    return ledger


async def _send(ledger: Ledger, port: int, content: bytes, sessions: int, go_on: Callable[[], bool]) -> None:
    numbers = count(1)
    async with asyncio.TaskGroup() as group:
        for _ in range(sessions):
            group.create_task(_session(ledger, port, content, numbers, go_on))


async def _session(
    ledger: Ledger, port: int, content: bytes, numbers: Iterator[int], go_on: Callable[[], bool]
) -> None:
    while go_on():
        address = f"to{next(numbers):08}@example.test"
        try:
            async with asyncio.timeout(_TIMEOUT):
                ledger.waits.append(await _transaction(port, address, content))
        except (_RefusedError, OSError, EOFError) as error:
            ledger.refusals.append(f"{type(error).__name__}: {error}")
        else:
            ledger.promised.append(address)


async def _transaction(port: int, address: str, content: bytes) -> float:
    """The seconds that the last reply took; the mail is promised once this returns, and not before."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        await _expect(reader, b"2")
        for line in (b"EHLO client.example.test", b"MAIL FROM:<a@example.test>", b"RCPT TO:<%b>" % address.encode()):
            writer.write(line + b"\r\n")
            await _expect(reader, b"2")
        writer.write(b"DATA\r\n")
        await _expect(reader, b"3")
        writer.write(content + b".\r\n")
        await writer.drain()
        began = time.perf_counter()
        await _expect(reader, b"2")
        waited = time.perf_counter() - began
        writer.write(b"QUIT\r\n")
        return waited
    finally:
        writer.close()


async def _expect(reader: asyncio.StreamReader, kind: bytes) -> None:
    """A whole reply, of several lines too."""
    while (line := await reader.readline())[3:4] == b"-":
        pass
    if line[:1] != kind:
        raise _RefusedError(line.decode(errors="replace").strip() or "the connection was closed")
