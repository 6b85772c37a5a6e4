"""Requests over kept connections, as many at once as there are connections."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence

import uvloop

from benchmarks.frame import UnsoundError

_HEAD = (
    b"POST /sns HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: text/plain; charset=UTF-8\r\n"
    b"User-Agent: Amazon Simple Notification Service Agent\r\nx-amz-sns-message-type: Notification\r\n"
)


def post_all(port: int, bodies: Sequence[bytes], connections: int) -> float:
    """The seconds until all are answered; UnsoundError unless each answer is 200."""
    waiting = iter([_HEAD + b"Content-Length: %d\r\n\r\n%b" % (len(body), body) for body in bodies])
    began = time.perf_counter()
    try:
        uvloop.run(_post(port, waiting, connections))
    except ExceptionGroup as errors:
        raise UnsoundError(f"the webhook did not answer all requests: {errors.exceptions[0]}") from errors
    return time.perf_counter() - began


async def _post(port: int, waiting: Iterator[bytes], connections: int) -> None:
    async with asyncio.TaskGroup() as group:
        for _ in range(connections):
            group.create_task(_talk(port, waiting))


async def _talk(port: int, waiting: Iterator[bytes]) -> None:
    """A connection that the server closes between two requests is opened anew."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for request in waiting:
        if reader.at_eof():
            writer.close()
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request)
        await _read_answer(reader)
    writer.close()


async def _read_answer(reader: asyncio.StreamReader) -> None:
    head = await reader.readuntil(b"\r\n\r\n")
    _, _, rest = head.lower().partition(b"content-length:")
    body = await reader.readexactly(int(rest.partition(b"\r\n")[0] or 0))
    if b" 200 " not in head.partition(b"\r\n")[0] + b" ":
        raise UnsoundError(f"the webhook answered {head.decode()}{body.decode()}")
