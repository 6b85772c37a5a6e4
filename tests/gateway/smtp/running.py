"""A front on free ports of the loopback, in a thread of its own, over stores that a test can hold up or break."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

import uvloop

from gateway.addresses import Mailbox
from gateway.content import ContentFacts
from gateway.credentials import Caps
from gateway.envelope import Envelope
from gateway.setting_values import HostPort, parse_listeners
from gateway.settings import Settings
from gateway.smtp.limits import Limits
from gateway.smtp.server import Front
from gateway.suppression_policy import Reason
from tests.gateway.smtp.certificates import client_context, shared_pair

HOST = "127.0.0.1"
MESSAGE = b"From: shop@example.org\r\nTo: bob@example.net\r\nSubject: Hello\r\n\r\nbody\r\n"


@dataclass(frozen=True)
class Suppressed:
    reason: Reason
    since: datetime = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
    is_domain: bool = False


class SuppressionDouble:
    """Suppresses the keys that a test puts in; `error` is raised by every look-up."""

    def __init__(self) -> None:
        self.by_key: dict[str, Suppressed] = {}
        self.error: Exception | None = None
        self.asked: list[str] = []

    def find_all(self, wanted: Sequence[tuple[Mailbox, str | None]]) -> list[Suppressed | None]:
        keys = [mailbox.key for mailbox, _ in wanted]
        self.asked += keys
        if self.error is not None:
            raise self.error
        return [self.by_key.get(key) for key in keys]


class MessageDouble:
    """Keeps envelopes in memory. With `hold` the commits wait for the test to finish them."""

    def __init__(self) -> None:
        self.stored: list[tuple[Envelope, ContentFacts]] = []
        self.hold = False
        self.error: Exception | None = None
        self.caps: list[Caps | None] = []
        self.held: list[tuple[Future[str], Envelope, ContentFacts]] = []

    @property
    def envelopes(self) -> list[Envelope]:
        return [envelope for envelope, _ in self.stored]

    def submit(self, envelope: Envelope, facts: ContentFacts, caps: Caps | None = None) -> Future[str]:
        self.caps.append(caps)
        future: Future[str] = Future()
        if self.hold:
            self.held.append((future, envelope, facts))
        elif self.error is not None:
            future.set_exception(self.error)
        else:
            self.commit(future, envelope, facts)
        return future

    def commit(self, future: Future[str], envelope: Envelope, facts: ContentFacts) -> None:
        if future.running() or future.set_running_or_notify_cancel():
            self.stored.append((envelope, facts))
            future.set_result(f"01JD6Z3Q9Y8N5V2K7M4T1R{len(self.stored):04d}")

    def commit_held(self) -> None:
        while self.held:
            self.commit(*self.held.pop(0))


@dataclass
class RunningFront:
    """A front at work; `ports` are those of its listeners, in order."""

    messages: MessageDouble
    suppressions: SuppressionDouble
    ports: list[int] = field(default_factory=list)
    front: Front | None = None
    loop: asyncio.AbstractEventLoop | None = None
    failures: list[dict[str, Any]] = field(default_factory=list)

    @property
    def port(self) -> int:
        return self.ports[0]

    @property
    def connections(self) -> int:
        assert self.front is not None
        return len(self.front._connections)

    def drain(self) -> Future[None]:
        """Begin the draining; the future ends with it."""
        assert self.loop is not None
        assert self.front is not None
        return asyncio.run_coroutine_threadsafe(self.front.drain(), self.loop)

    def connect(self, listener: int = 0) -> Client:
        """A client that was greeted; of a `modern` listener, under TLS."""
        assert self.front is not None
        client = Client(self.ports[listener])
        if self.front._settings.listeners[listener].implicit_tls:
            client.wrap()
        assert client.reply().startswith("220 ")
        if self.front._settings.listeners[listener].requires_tls and not isinstance(client.socket, ssl.SSLSocket):
            client.start_tls()
        return client


class Client:
    """A socket, and replies read from it; nothing is checked or repaired as an SMTP library would."""

    def __init__(self, port: int, source: str = HOST) -> None:
        self.socket = socket.create_connection((HOST, port), timeout=20, source_address=(source, 0))
        self._file = self.socket.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start_tls(self, context: ssl.SSLContext | None = None) -> None:
        """STARTTLS, and everything under TLS from then on."""
        assert self.say(b"STARTTLS").startswith("220 ")
        self.wrap(context)

    def wrap(self, context: ssl.SSLContext | None = None) -> None:
        self._file.close()
        self.socket = (context or client_context()).wrap_socket(self.socket, server_hostname=HOST)
        self._file = self.socket.makefile("rb")

    def close(self) -> None:
        self._file.close()
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def reply(self) -> str:
        """The next reply, all its lines; empty when the server closed the connection."""
        lines = []
        with suppress(ConnectionError):
            while line := self._file.readline():
                lines.append(line.decode("ascii").removesuffix("\r\n"))
                if line[3:4] != b"-":
                    break
        return "\n".join(lines)

    def say(self, command: bytes) -> str:
        self.send(command + b"\r\n")
        return self.reply()

    def replies(self) -> list[str]:
        """All replies until the server closes the connection."""
        return list(iter(self.reply, ""))

    def begin(self, *recipients: bytes) -> str:
        """EHLO to DATA; the reply to DATA."""
        assert self.say(b"EHLO client.example.org").startswith("250-")
        assert self.say(b"MAIL FROM:<shop@example.org>").startswith("250 ")
        for recipient in recipients or (b"bob@example.net",):
            assert self.say(b"RCPT TO:<" + recipient + b">").startswith("250 ")
        return self.say(b"DATA")

    def mail(self, content: bytes, *recipients: bytes) -> str:
        """A whole transaction with content that is sent as it is; the reply to the lone dot."""
        assert self.begin(*recipients).startswith("354 ")
        return self.say(content + b".")


@contextmanager
def running_front(
    directory: Path,
    *,
    messages: Any = None,
    suppressions: Any = None,
    identities: Any = None,
    credentials: Any = None,
    limits: Limits | None = None,
    profiles: tuple[str, ...] = ("lan",),
    loop_factory: Any = uvloop.new_event_loop,
    **settings: Any,
) -> Iterator[RunningFront]:
    listeners = tuple(replace(parse_listeners(f"{HOST}:1 {words}")[0], address=HostPort(HOST, 0)) for words in profiles)
    if any(listener.requires_tls or listener.implicit_tls for listener in listeners):
        settings = {**shared_pair(), **settings}
    values = {"data_dir": directory, "min_free_bytes": 0, "gate_timeout": timedelta(seconds=5), **settings}
    running = RunningFront(messages or MessageDouble(), suppressions or SuppressionDouble())
    started = threading.Event()
    stop = asyncio.Event()

    async def main() -> None:
        running.loop = asyncio.get_running_loop()
        running.loop.set_exception_handler(lambda _, context: running.failures.append(context))
        front = Front(
            Settings(listeners=listeners, **values),
            running.messages,
            running.suppressions,
            identities=identities,
            credentials=credentials,
            limits=limits,
            hostname="gw.example.org",
        )
        front._admission._read_every = 0.05
        running.front = front
        running.ports = [address.port for address in await front.start()]
        started.set()
        await stop.wait()
        await front._end()

    def serve() -> None:
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(main())

    thread = threading.Thread(target=serve, name="front under test")
    thread.start()
    try:
        assert started.wait(20), "the front did not start"
        yield running
    finally:
        if running.loop is not None:
            running.loop.call_soon_threadsafe(stop.set)
        thread.join(20)
    assert not thread.is_alive()
    assert not running.failures, running.failures
