"""A tap on the wire between the workers and the simulated SES: it counts each call, and loses answers on request.

What the sandbox's own faults cannot do: accept a mail and then answer 500 or nothing, for chosen calls, and know which
mails these were.
"""

from __future__ import annotations

import base64
import json
import random
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from types import TracebackType
from typing import Self

import urllib3

from tasks.ses import ATTEMPT_TAG

_SEND = "/v2/email/outbound-emails"


class Fault(StrEnum):
    """What becomes of an answer. SES has the mail by then, or has surely refused it."""

    TIMEOUT = "time-out"
    RESET = "reset"
    ERROR_500 = "500"


@dataclass(frozen=True)
class Refusal:
    """An error answer instead of passing the call on: SES surely does not have the mail."""

    code: str
    message: str
    status: int


@dataclass(frozen=True)
class Call:
    """A call to SendEmail as it was seen on the wire."""

    address: str
    attempt_id: str
    at: float = field(default_factory=time.monotonic)
    raw: bytes = field(default=b"", repr=False)


class Tap:
    """An HTTP proxy in front of the sandbox, for one service. `with` starts and ends it."""

    def __init__(self, upstream: str, *, keep_content: bool = False) -> None:
        self._upstream = upstream
        self._keep_content = keep_content
        self._http = urllib3.PoolManager(maxsize=64, retries=False)
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self.calls: list[Call] = []
        self.struck: list[tuple[Call, Fault]] = []
        self.fault: Callable[[Call], Fault | Refusal | None] = lambda _: None
        tap = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                tap._pass_on(self, b"")

            def do_POST(self) -> None:
                tap._serve(self)

            def log_message(self, *_: object) -> None:
                """Quiet."""

        class Server(ThreadingHTTPServer):
            request_queue_size = 128
            daemon_threads = True

            def handle_error(self, *_: object) -> None:
                """A worker that was killed leaves broken connections behind."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="tap")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._closing.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self._http.clear()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def lost_answers(self) -> Counter[str]:
        """How many answers each address has lost: so often its outcome was made unknowable."""
        with self._lock:
            return Counter(call.address for call, _ in self.struck)

    def most_calls_of_an_attempt(self) -> int:
        """1 unless somebody below us tries again on its own."""
        with self._lock:
            return max(Counter(call.attempt_id for call in self.calls).values(), default=0)

    def lose(self, share: float, chance: random.Random) -> None:
        """Lose that share of the answers from now on, evenly, each in one of the three ways."""
        kinds, every = list(Fault), round(1 / share)
        calls = count(chance.randrange(every))
        self.fault = lambda _: chance.choice(kinds) if next(calls) % every == 0 else None

    def stop_faults(self) -> None:
        self.fault = lambda _: None

    def _serve(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("Content-Length", "0")))
        if not request.path.startswith(_SEND):
            self._pass_on(request, body)
            return
        call = self._noted(body)
        fault = self.fault(call)
        if isinstance(fault, Refusal):
            encoded = json.dumps({"message": fault.message}).encode()
            self._answer(request, fault.status, encoded, {"x-amzn-ErrorType": fault.code})
        elif fault is None:
            self._pass_on(request, body)
        else:
            with self._lock:
                self.struck.append((call, fault))
            self._ask(request, body)
            self._spoil(request, fault)

    def _noted(self, body: bytes) -> Call:
        given = json.loads(body)
        tags = {tag["Name"]: tag["Value"] for tag in given.get("EmailTags", [])}
        raw = base64.b64decode(given["Content"]["Raw"]["Data"]) if self._keep_content else b""
        call = Call(given["Destination"]["ToAddresses"][0], tags.get(ATTEMPT_TAG, ""), raw=raw)
        with self._lock:
            self.calls.append(call)
        return call

    def _spoil(self, request: BaseHTTPRequestHandler, fault: Fault) -> None:
        request.close_connection = True
        if fault is Fault.ERROR_500:
            self._answer(request, 500, b'{"message": "The answer was lost."}', {"x-amzn-ErrorType": "InternalFailure"})
        elif fault is Fault.RESET:
            # SO_LINGER of 0 makes close() send RST.
            request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            request.connection.close()
        else:
            self._closing.wait(90)  # longer than anybody's read time-out

    def _pass_on(self, request: BaseHTTPRequestHandler, body: bytes) -> None:
        answer = self._ask(request, body)
        named = {name: value for name, value in answer.headers.items() if name.lower().startswith(("x-", "content-ty"))}
        self._answer(request, answer.status, answer.data, named)

    def _ask(self, request: BaseHTTPRequestHandler, body: bytes) -> urllib3.BaseHTTPResponse:
        kept = {name: value for name, value in request.headers.items() if name.lower() not in _HOP_BY_HOP}
        return self._http.request(request.command, self._upstream + request.path, body=body, headers=kept)

    @staticmethod
    def _answer(request: BaseHTTPRequestHandler, status: int, body: bytes, headers: dict[str, str]) -> None:
        request.send_response(status)
        for name, value in headers.items():
            request.send_header(name, value)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)


_HOP_BY_HOP = frozenset({"connection", "transfer-encoding", "expect", "host", "accept-encoding"})
