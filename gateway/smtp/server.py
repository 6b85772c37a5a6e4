"""The SMTP front as a program: its listeners, and how it starts and ends."""

from __future__ import annotations

import asyncio
import re
import resource
import signal
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from gateway.garbage import spare_what_is_loaded
from gateway.guard import guard_warning
from gateway.logs import get_logger
from gateway.setting_values import HostPort, Listener
from gateway.settings import Settings
from gateway.smtp.admission import Admission, CredentialSource, OnlyLocal
from gateway.smtp.auth import Authenticator
from gateway.smtp.backoff import BackOff
from gateway.smtp.commits import Commits, MessageStore
from gateway.smtp.connection import FrontState
from gateway.smtp.connections import Connections
from gateway.smtp.data import LargePlaces, OctetsInFlight
from gateway.smtp.disk import FreeSpace
from gateway.smtp.handler import Handler, HandlerOptions
from gateway.smtp.limits import Limits, within_descriptors
from gateway.smtp.lookups import LookUps, SuppressionStore
from gateway.smtp.policy import relay_warning
from gateway.smtp.protocol import GatewaySMTP
from gateway.smtp.reception import Reception
from gateway.smtp.senders import IdentitySource, SenderCheck
from gateway.smtp.tls import Certificates, open_certificates
from gateway.store.backup import sqlite_file
from gateway.store.identities import KnownIdentities
from gateway.store.stores import Stores

log = get_logger(__name__)

_INSPECTION_THREADS = 2
_POLL = 0.05
_TELL_EVERY = 5.0
_LOOK_FOR_CERTIFICATES = 3.0


class ListenError(Exception):
    """A listener could not be opened; the text is one sentence that names it and the cause."""


class Front:
    """The listeners of one process over its stores. To be used on a running event loop: `start`, then `drain`."""

    def __init__(
        self,
        settings: Settings,
        messages: MessageStore,
        suppressions: SuppressionStore,
        *,
        identities: IdentitySource | None = None,
        credentials: CredentialSource | None = None,
        limits: Limits | None = None,
        hostname: str | None = None,
    ) -> None:
        """Without `identities` no sender is checked; without `credentials` there is only `local`, with its networks."""
        self._settings = settings
        self._messages = messages
        self._suppressions = suppressions
        self._identities = identities
        self._limits = within_descriptors(limits or Limits(), _descriptors())
        self._admission = Admission(credentials or OnlyLocal(settings.trusted_networks))
        self._hostname = _host_name(hostname or socket.gethostname())
        self._connections = Connections(self._limits)
        self._lookups: LookUps | None = None
        self._identity_looks = ThreadPoolExecutor(1, "smtp-identities")
        self._inspections = ThreadPoolExecutor(_INSPECTION_THREADS, "smtp-inspect")
        # Of its own: every MAIL waits for it, and must not wait for somebody's large content.
        self._disk_looks = ThreadPoolExecutor(1, "smtp-disk")
        self._servers: list[Reception] = []
        self._certificates: Certificates | None = None
        self._refreshing: asyncio.Task[None] | None = None
        self._reloading: set[asyncio.Task[None]] = set()

    async def start(self) -> tuple[HostPort, ...]:
        """Listen, and give the addresses in the order of the sockets.

        ListenError when one cannot be had; CertificateError when the certificate is of no use, or missing.
        """
        self._certificates = open_certificates(self._settings)
        patience = self._settings.gate_timeout.total_seconds()
        await self._admission.start(patience)
        loop = asyncio.get_running_loop()
        lookups = self._lookups = LookUps(self._suppressions, patience, loop)
        commits = Commits(self._messages, patience, loop)
        state, free_space = self._state(), self._free_space()
        try:
            for listener in self._settings.listeners:
                options = self._handler_options(listener)
                sender_check = self._sender_check()
                handler = Handler(options, commits, lookups, free_space, self._inspections, sender_check)
                self._servers.append(await self._listen(listener, state, handler))
        except ListenError:
            await self._end()
            raise
        if self._certificates is not None:
            self._refreshing = asyncio.create_task(self._refresh_certificates(self._certificates))
        addresses = tuple(_address(sock) for server in self._servers for sock in server.sockets)
        log.info("smtp.listening", addresses=[str(address) for address in addresses])
        _warn_of(self._settings)
        return addresses

    def _state(self) -> FrontState:
        return FrontState(
            hostname=self._hostname,
            max_message_bytes=self._settings.max_message_bytes,
            admission=self._admission,
            authenticator=Authenticator(self._admission, BackOff(), self._limits.failed_auths),
            limits=self._limits,
            connections=self._connections,
            large_places=LargePlaces(self._limits.large_contents, self._limits.large_contents_per_client),
            # Whatever the settings are, there is room for the largest message.
            in_flight=OctetsInFlight(max(self._limits.octets_in_flight, 2 * self._settings.max_message_bytes)),
            certificates=self._certificates,
        )

    def _free_space(self) -> FreeSpace:
        return FreeSpace(_where_mail_is_kept(self._settings), self._settings.min_free_bytes, self._disk_looks)

    @property
    def has_certificate(self) -> bool:
        return self._certificates is not None

    def look_at_certificates(self) -> None:
        """Begin to reload them; for a signal handler, which cannot wait."""
        task = asyncio.get_running_loop().create_task(self.reload_certificates())
        self._reloading.add(task)
        task.add_done_callback(self._reloading.discard)

    async def reload_certificates(self) -> None:
        """Take up the certificate's files now, changed or not."""
        if self._certificates is not None:
            await asyncio.to_thread(self._certificates.reload, datetime.now(UTC))

    @staticmethod
    async def _refresh_certificates(certificates: Certificates) -> None:
        while True:
            await asyncio.to_thread(certificates.refresh, datetime.now(UTC))
            await asyncio.sleep(_LOOK_FOR_CERTIFICATES)

    async def drain(self) -> None:
        """Take no more, let open transactions finish within the time that the settings give, and end."""
        for server in self._servers:
            server.close()
        for connection in self._connections:
            connection.drain()
        log.info("smtp.draining", connections=len(self._connections), transactions=self._connections.in_transaction())
        patience = self._settings.drain_timeout.total_seconds()
        # The last of it is for the answers to what has been read whole: the store may take so long.
        for_answers = min(self._settings.gate_timeout.total_seconds(), patience / 2)
        try:
            if not await self._is_empty_within(patience - for_answers):
                log.warning("smtp.drain_timeout", transactions=self._connections.in_transaction())
                self._end_all_but_answers()
                await self._is_empty_within(for_answers)
        finally:
            await self._end()
        log.info("smtp.stopped")

    def _end_all_but_answers(self) -> None:
        for connection in self._connections:
            if not connection.owes_answer:
                connection.end()

    async def _is_empty_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._until_empty()
        except TimeoutError:
            return False
        return True

    async def _until_empty(self) -> None:
        loop = asyncio.get_running_loop()
        tell_at = loop.time() + _TELL_EVERY
        while len(self._connections):
            await asyncio.sleep(_POLL)
            if loop.time() >= tell_at:
                tell_at += _TELL_EVERY
                log.info("smtp.waiting_for_clients", transactions=self._connections.in_transaction())

    async def _end(self) -> None:
        if self._refreshing is not None:
            self._refreshing.cancel()
        for server in self._servers:
            server.close()
        for server in self._servers:
            await server.wait_closed()
        for connection in self._connections:
            connection.abort()
        await self._admission.end()
        await asyncio.sleep(0)  # connection_lost is called on the next turn of the loop
        if self._lookups is not None:
            self._lookups.close()
        self._identity_looks.shutdown(wait=False, cancel_futures=True)
        self._inspections.shutdown(wait=False, cancel_futures=True)
        self._disk_looks.shutdown(wait=False, cancel_futures=True)

    async def _listen(self, listener: Listener, state: FrontState, handler: Handler) -> Reception:
        factory = partial(GatewaySMTP, handler, state, asyncio.get_running_loop(), listener)
        reception = Reception(listener, factory, self._settings.proxy_networks, self._certificates)
        try:
            await reception.open()
        except OSError as error:
            reception.close()
            reason = error.strerror or str(error)
            raise ListenError(f"The SMTP front cannot listen on {listener.address}: {reason}.") from error
        return reception

    def _sender_check(self) -> SenderCheck | None:
        if self._identities is None:
            return None
        patience = self._settings.gate_timeout.total_seconds()
        return SenderCheck(self._identities, self._settings.rewrite_from, self._identity_looks, patience=patience)

    def _handler_options(self, listener: Listener) -> HandlerOptions:
        return HandlerOptions(
            max_message_bytes=self._settings.max_message_bytes,
            max_recipients=self._limits.recipients,
            suppressed_recipients=self._settings.suppressed_recipients,
            refuse_bare_lf=listener.profile == "modern",
            refold_header=listener.profile == "antique",
            requires_auth=listener.requires_auth,
        )


def run(settings: Settings, stores: Stores) -> None:
    """Serve until SIGTERM or SIGINT, drain, and return. A second signal ends the draining.

    SIGHUP reads the certificate again. ListenError or CertificateError at the start.
    """
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        identities = KnownIdentities(stores.db)
        front = Front(
            settings, stores.messages, stores.suppressions, identities=identities, credentials=stores.credentials
        )
        runner.run(_serve(front))


async def _serve(front: Front) -> None:
    signals: asyncio.Queue[None] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, signals.put_nowait, None)
    await front.start()
    spare_what_is_loaded()
    if front.has_certificate:
        loop.add_signal_handler(signal.SIGHUP, front.look_at_certificates)
    await signals.get()
    draining = asyncio.create_task(front.drain())
    impatience = asyncio.create_task(signals.get())
    await asyncio.wait((draining, impatience), return_when=asyncio.FIRST_COMPLETED)
    impatience.cancel()
    draining.cancel()
    with suppress(asyncio.CancelledError):
        await draining


def _warn_of(settings: Settings) -> None:
    """What an operator may have set without meaning it."""
    if warning := relay_warning(settings):
        log.warning("smtp.relay_open", reason=warning)
    if warning := guard_warning(settings):
        log.warning("smtp.staging_guard", reason=warning)


def _descriptors() -> int:
    """How many files this process may have open."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    """uvloop's where there is one: it takes about a third off the time of a small mail."""
    try:
        import uvloop  # noqa: PLC0415  it is not there on Windows
    except ImportError:
        return asyncio.new_event_loop
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


def _where_mail_is_kept(settings: Settings) -> Path:
    """The directory whose file system fills; over PostgreSQL, which has its own disk, the data directory."""
    file = sqlite_file(settings.database)
    return settings.data_dir if file is None else file.parent


def _host_name(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9.-]", "-", text) or "localhost"


def _address(sock: socket.socket) -> HostPort:
    host, port = sock.getsockname()[:2]
    return HostPort(host, port)
