"""Amazon's host for certificates on loopback, and a guard that sees every host that anybody tries to reach."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import trustme

from gateway.sns_certificates import fetch_certificate

HOST = "sns.us-east-1.amazonaws.com"
AUTHORITY = trustme.CA()


@dataclass(frozen=True)
class Page:
    content: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


class _Server(ThreadingHTTPServer):
    pages: Mapping[str, Page]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is no failure of a test."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        page = self.server.pages.get(self.path, Page(status=404))
        self.send_response(page.status)
        for name, value in page.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(page.content)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def certificate_host(pages: Mapping[str, Page]) -> Iterator[int]:
    """An HTTPS server with Amazon's name; its port."""
    server = _Server(("127.0.0.1", 0), _Handler)
    server.pages = pages
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    AUTHORITY.issue_cert(HOST).configure_cert(context)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def fetch(url: str) -> bytes:
    """As the gateway fetches, but that it trusts the authority of these tests."""
    context = ssl.create_default_context()
    AUTHORITY.configure_trust(context)
    return fetch_certificate(url, context)


class Guard:
    """Stands in the way of every look-up of a name and every connection of this process, and keeps what was tried.

    Amazon's host is found at `port` on loopback; nothing else is found, and nothing else is connected to.
    """

    def __init__(self, port: int) -> None:
        self.port = port
        self.hosts: list[str] = []
        self.elsewhere: list[object] = []

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        look_up, connect, guard = socket.getaddrinfo, socket.socket.connect, self

        def guarded_look_up(host: Any, port: Any, *arguments: Any, **named: Any) -> Any:
            guard.hosts.append(str(host))
            if host != HOST:
                raise socket.gaierror(socket.EAI_NONAME, "nobody by this name")
            return look_up("127.0.0.1", guard.port, *arguments, **named)

        def guarded_connect(self: socket.socket, address: Any) -> None:
            if address != ("127.0.0.1", guard.port):
                guard.elsewhere.append(address)
                raise ConnectionRefusedError
            connect(self, address)

        monkeypatch.setattr(socket, "getaddrinfo", guarded_look_up)
        monkeypatch.setattr(socket.socket, "connect", guarded_connect)
