"""An SES that accepts everything after a set delay and costs as little as it can: the far side of drain and end to end.

A program: `python -m benchmarks.ses_stub --port N --delay MILLISECONDS --rate RECIPIENTS_A_SECOND`. It speaks what the
workers call of SESv2, and `/_stub` tells what came. It knows nothing of signatures: it is a load, and not a simulation.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import uvloop

from benchmarks.programs import running
from tests.support.environment import own_environment
from tests.support.ports import free_port

_SEND = b"POST /v2/email/outbound-emails"
_READY = "benchmarks.ses_stub listens"
_DOMAIN = "example.test"


@dataclass(slots=True)
class Calls:
    """What came: when the first call was whole, when the last one was answered, and to whom each was."""

    first: float = 0.0
    last: float = 0.0
    answered: int = 0
    addresses: list[str] = field(default_factory=list)

    def take(self, body: bytes) -> int:
        """Its number."""
        if not self.addresses:
            self.first = time.perf_counter()
        self.addresses.append(json.loads(body)["Destination"]["ToAddresses"][0])
        return len(self.addresses)

    def answer(self) -> None:
        self.answered += 1
        self.last = time.perf_counter()

    def summary(self) -> dict[str, float]:
        return {"calls": len(self.addresses), "answered": self.answered, "seconds": self.last - self.first}


class Stub:
    """What all connections share."""

    def __init__(self, delay: float, rate: float) -> None:
        self.delay = delay
        self.calls = Calls()
        self._account = json.dumps(
            {
                "SendQuota": {"Max24HourSend": -1.0, "MaxSendRate": rate, "SentLast24Hours": 0.0},
                "SendingEnabled": True,
                "ProductionAccessEnabled": True,
                "EnforcementStatus": "HEALTHY",
            }
        ).encode()

    def answer(self, line: bytes) -> bytes:
        """What is not a mail."""
        method, _, rest = line.partition(b" ")
        path = rest.partition(b" ")[0].partition(b"?")[0]
        if path == b"/_stub" and method == b"DELETE":
            self.calls = Calls()
        if path == b"/_stub":
            return _response(json.dumps(self.calls.summary()).encode())
        if path == b"/_stub/addresses":
            return _response("\n".join(self.calls.addresses).encode())
        if path == b"/v2/email/account":
            return _response(self._account)
        if path == b"/v2/email/list-identities":
            return _response(_IDENTITIES)
        return _response(b"{}", b"404 Not Found")


_IDENTITIES = json.dumps(
    {
        "EmailIdentities": [
            {
                "IdentityName": _DOMAIN,
                "IdentityType": "DOMAIN",
                "SendingEnabled": True,
                "VerificationStatus": "SUCCESS",
            }
        ]
    }
).encode()


def _response(body: bytes, status: bytes = b"200 OK") -> bytes:
    head = b"HTTP/1.1 %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % (status, len(body))
    return head + body


class _Connection(asyncio.Protocol):
    """Requests one after the other, as boto3 sends them."""

    def __init__(self, stub: Stub) -> None:
        self._stub = stub
        self._buffer = bytearray()
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while self._take_request():
            pass

    def _take_request(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return False
        head = bytes(self._buffer[:end])
        whole = end + 4 + _length(head)
        if len(self._buffer) < whole:
            return False
        body = bytes(self._buffer[end + 4 : whole])
        del self._buffer[:whole]
        if head.startswith(_SEND):
            self._accept(body)
        else:
            self._transport.write(self._stub.answer(head.partition(b"\r\n")[0]))
        return True

    def _accept(self, body: bytes) -> None:
        calls = self._stub.calls
        number = calls.take(body)
        answer = _response(b'{"MessageId": "stub-%012d"}' % number)
        if self._stub.delay:
            asyncio.get_running_loop().call_later(self._stub.delay, self._reply, calls, answer)
        else:
            self._reply(calls, answer)

    def _reply(self, calls: Calls, answer: bytes) -> None:
        calls.answer()
        self._transport.write(answer)


def _length(head: bytes) -> int:
    _, found, rest = head.lower().partition(b"\r\ncontent-length:")
    return int(rest.partition(b"\r\n")[0]) if found else 0


@click.command()
@click.option("--port", type=int, required=True)
@click.option("--delay", type=float, default=0.0, help="Milliseconds until a call is answered.")
@click.option("--rate", type=float, required=True, help="What GetAccount says: recipients a second.")
def main(port: int, delay: float, rate: float) -> None:
    """Serve until SIGTERM."""
    uvloop.run(_serve(port, Stub(delay / 1000, rate)))


async def _serve(port: int, stub: Stub) -> None:
    server = await asyncio.get_running_loop().create_server(lambda: _Connection(stub), "127.0.0.1", port, backlog=1024)
    click.echo(_READY)
    async with server:
        await server.serve_forever()


class RunningStub:
    """The program, seen from who started it."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"

    def summary(self) -> dict[str, float]:
        """Cheap to ask for while something is timed."""
        found: dict[str, float] = json.loads(self._call("GET", "/_stub"))
        return found

    def addresses(self) -> list[str]:
        return self._call("GET", "/_stub/addresses").decode().split()

    def forget(self) -> None:
        self._call("DELETE", "/_stub")

    def _call(self, method: str, path: str) -> bytes:
        request = urllib.request.Request(self.url + path, method=method)  # noqa: S310  our own URL
        with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310
            return bytes(response.read())


@contextmanager
def running_stub(directory: Path, *, delay: float = 0.0, rate: float) -> Iterator[RunningStub]:
    """A stub on a free port; the delay is in milliseconds."""
    port = free_port()
    options = ("--port", str(port), "--delay", str(delay), "--rate", str(rate))
    argv = (sys.executable, "-m", "benchmarks.ses_stub", *options)
    environ = own_environment() | {"PYTHONUNBUFFERED": "1"}
    with running(argv, environ, directory / f"stub-{port}.log", lambda log: _READY in log):
        yield RunningStub(port)


if __name__ == "__main__":
    main()
