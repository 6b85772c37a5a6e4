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
        return response

    def _stall(self) -> None:
        """Ends early when the fault is switched off."""
        started = time.monotonic()
        while time.monotonic() - started < self.faults.faults.timeout_after_accept_ms / 1000:
            if self.stopping.wait(_GLANCE):
                return


def _hang_up() -> None:
    """Close the client's connection: the server finds it gone when it comes to write the answer."""
    connection = request.environ.get("gunicorn.socket")
    if isinstance(connection, socket.socket):
        connection.shutdown(socket.SHUT_RDWR)
