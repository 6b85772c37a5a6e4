"""SES for tests: a double of the seam `Ses`, and a bare HTTP server that answers what it is told."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = Callable[[BaseHTTPRequestHandler], None]


class SesDouble:
    """In the place of `SesClient`: accepts everything, or raises what `fail` returns for an address."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, str]] = []
        self.chosen: list[tuple[str | None, tuple[tuple[str, str], ...]]] = []
        self.fail: Callable[[str], Exception | None] = lambda _address: None
        self._lock = threading.Lock()

    def send(
        self,
        raw: bytes,
        address: str,
        attempt_id: str,
        *,
        configuration_set: str | None = None,
        tags: Sequence[tuple[str, str]] = (),
    ) -> str:
        assert attempt_id.encode() in raw
        error = self.fail(address)
        with self._lock:
            self.sent.append((address, attempt_id))
            self.chosen.append((configuration_set, tuple(tags)))
            number = len(self.sent)
        if error is not None:
            raise error
        return f"ses-{number}"

    @property
    def addresses(self) -> list[str]:
        return [address for address, _ in self.sent]


def answer(status: int, body: Any) -> Answer:
    """A JSON answer as SESv2 gives it; errors name their code in `__type`."""

    def respond(request: BaseHTTPRequestHandler) -> None:
        encoded = body if isinstance(body, bytes) else json.dumps(body).encode()
        request.send_response(status)
        if isinstance(body, dict) and "__type" in body:
            request.send_header("x-amzn-ErrorType", body["__type"])
        request.send_header("Content-Type", "application/json")
        request.send_header("Content-Length", str(len(encoded)))
        request.end_headers()
        request.wfile.write(encoded)

    return respond


ACCEPTED = answer(200, {"MessageId": "ses-1"})


def hang_up(request: BaseHTTPRequestHandler) -> None:
    """Close the connection without a word, after the request was read."""
    request.close_connection = True


class HttpSes:
    """What it was asked is in `requests`; `answer` says what it answers."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self.answer: Answer = ACCEPTED
        self._closing = threading.Event()
        self._connections: list[socket.socket] = []
        ses = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                ses._connections.append(self.connection)

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                ses.requests.append((self.path, json.loads(body)))
                ses.answer(self)

            def log_message(self, *_: object) -> None:
                """Quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = False
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def never_answer(self, request: BaseHTTPRequestHandler) -> None:
        """Keep the client waiting until the test is over."""
        request.close_connection = True
        self._closing.wait(60)

    @contextmanager
    def running(self) -> Iterator[HttpSes]:
        self._thread.start()
        try:
            yield self
        finally:
            self._closing.set()
            self._server.shutdown()
            for connection in self._connections:
                with suppress(OSError):  # a client that keeps it alive would keep its thread
                    connection.shutdown(socket.SHUT_RDWR)
            self._thread.join()
            self._server.server_close()
