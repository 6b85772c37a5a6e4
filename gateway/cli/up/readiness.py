"""Whether the installation really answers, asked the way its users ask it."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime

from celery import Celery
from celery.utils.nodenames import host_format

from gateway.broker import make_app
from gateway.cli.network import answers, reachable
from gateway.cli.up.children import worker_node
from gateway.setting_values import HostPort, Listener
from gateway.settings import Settings
from gateway.smtp.policy import client_address, is_within
from gateway.store.control import FEEDBACK_QUEUE, Control
from gateway.store.opening import open_database

PATIENCE = 60.0
_EVERY = 0.3
_TIMEOUT = 2.0


@dataclass(frozen=True)
class Probe:
    """One thing that has to answer; `check` may raise OSError while it does not."""

    name: str
    check: Callable[[], bool]


def probes(settings: Settings, broker_url: str, *, sandbox: bool, since: datetime | None = None) -> tuple[Probe, ...]:
    """Everything that `up` has started, `since` that moment."""
    app = make_app(broker_url)
    return (
        *((_http("sandbox", settings.sandbox_listen, "/_sandbox/healthz"),) if sandbox else ()),
        *(smtp_probe(listener, settings) for listener in settings.listeners),
        _http("webhook", settings.webhook_listen, "/readyz"),
        *((_feedback_queue(settings, since),) if settings.feedback_queue_url else ()),
        _http("admin", settings.admin_listen, "/healthz"),
        Probe("flower", lambda: _accepts(settings.flower_listen)),
        *(_worker(app, number) for number in range(1, settings.workers + 1)),
    )


async def wait_until_ready(probes: Iterable[Probe], patience: float = PATIENCE) -> list[str]:
    """Ask again and again; the names of those that did not answer in time."""
    deadline = time.monotonic() + patience
    probes = tuple(probes)
    answered = await asyncio.gather(*(_wait_for(probe, deadline) for probe in probes))
    return [probe.name for probe, ready in zip(probes, answered, strict=True) if not ready]


async def _wait_for(probe: Probe, deadline: float) -> bool:
    while True:
        if await asyncio.to_thread(_answers, probe):
            return True
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(_EVERY)


def _answers(probe: Probe) -> bool:
    try:
        return probe.check()
    except Exception:  # noqa: BLE001  kombu, redis-py and http.client raise their own kinds: each means "not yet"
        return False


def _http(name: str, address: HostPort, path: str) -> Probe:
    return Probe(name, lambda: answers(address, path))


def smtp_probe(listener: Listener, settings: Settings) -> Probe:
    """Whether the front greets on a listener."""

    def check() -> bool:
        with (
            _connect(listener.address) as connection,
            _as_far_as_the_banner(connection, listener, settings) as secured,
            secured.makefile("rb") as replies,
        ):
            greeted = replies.readline().startswith(b"220")
            secured.sendall(b"QUIT\r\n")
            replies.readline()
            return greeted

    return Probe(f"smtp on {listener.address}", check)


def _as_far_as_the_banner(connection: socket.socket, listener: Listener, settings: Settings) -> socket.socket:
    if is_within(client_address(connection.getsockname()), settings.proxy_networks):
        connection.sendall(b"PROXY UNKNOWN\r\n")
    if not listener.implicit_tls:
        return connection
    # Whose certificate it is does not matter for whether it answers, and it is rarely made out to this address.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context.wrap_socket(connection)


def _accepts(address: HostPort) -> bool:
    with _connect(address):
        return True


def _connect(address: HostPort) -> socket.socket:
    target = reachable(address)
    return socket.create_connection((target.host, target.port), timeout=_TIMEOUT)


def _feedback_queue(settings: Settings, since: datetime | None) -> Probe:
    """It listens nowhere; what it says of itself stands in the database, maybe from the run before."""

    def check() -> bool:
        with closing(open_database(settings.database, settings.gate_timeout.total_seconds())) as database:
            fact = Control(database).get(FEEDBACK_QUEUE) or {}
        is_of_this_run = since is None or datetime.fromisoformat(fact["since"]) >= since
        return bool(fact.get("reading")) and is_of_this_run

    return Probe("feedback-queue", check)


def _worker(app: Celery, number: int) -> Probe:
    node = host_format(worker_node(number))
    return Probe(f"worker{number}", lambda: bool(app.control.ping(destination=[node], timeout=1.0)))
