"""What every call to the simulated AWS goes through: latency and faults before it, faults after an accepted send."""

from __future__ import annotations

import socket
import threading
import time
from dataclasses import dataclass
from typing import Final

from flask import Response, request

from gateway.sandbox.faults import FaultDesk

_GLANCE: Final = 0.05
# A 200 whose body never comes, as when the peer dies between the two. botocore takes it for a success without a member.
_HEAD_ONLY: Final = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 90\r\n\r\n"


@dataclass(frozen=True)
class Calls:
    faults: FaultDesk
    stopping: threading.Event

    def before(self, operation: str) -> None:
        """Wait as long as asked to, and raise the AwsError asked for."""
        latency = self.faults.faults.latency_ms
        if latency:
            self.stopping.wait(latency / 1000)
        self.faults.before(operation)

    def accepted(self, response: Response) -> Response:
        """The answer to an accepted send, unless it is to be late or to get lost on the way."""
        self._stall()
        if self.faults.resets_after_accept():
            _hang_up()
        elif self.faults.truncates_after_accept():
            _hang_up(_HEAD_ONLY)
        return response

    def _stall(self) -> None:
        """Ends early when the fault is switched off."""
        started = time.monotonic()
        while time.monotonic() - started < self.faults.faults.timeout_after_accept_ms / 1000:
            if self.stopping.wait(_GLANCE):
                return


def hung_up() -> bool:
    """Whether the client of this request has closed its connection, as one that was killed has."""
    connection = request.environ.get("gunicorn.socket")
    if not isinstance(connection, socket.socket):
        return False
    try:
        return connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def _hang_up(last_words: bytes = b"") -> None:
    """Close the client's connection: the server finds it gone when it comes to write the answer."""
    connection = request.environ.get("gunicorn.socket")
    if isinstance(connection, socket.socket):
        connection.sendall(last_words)
        connection.shutdown(socket.SHUT_RDWR)
