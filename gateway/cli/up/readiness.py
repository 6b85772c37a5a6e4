"""Whether the installation really answers, asked the way its users ask it."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from celery import Celery
from celery.utils.nodenames import host_format

from gateway.broker import make_app
from gateway.cli.network import answers, reachable
from gateway.cli.up.children import worker_node
from gateway.settings import HostPort, Settings

PATIENCE = 60.0
_EVERY = 0.3
_TIMEOUT = 2.0


@dataclass(frozen=True)
class Probe:
    """One thing that has to answer; `check` may raise OSError while it does not."""

    name: str
    check: Callable[[], bool]


def probes(settings: Settings, broker_url: str, *, sandbox: bool) -> tuple[Probe, ...]:
    """Everything that `up` starts."""
    app = make_app(broker_url)
    return (
        *((_http("sandbox", settings.sandbox_listen, "/_sandbox/healthz"),) if sandbox else ()),
        *(_smtp(f"smtp on {listener.address}", listener.address) for listener in settings.listeners),
        _http("webhook", settings.webhook_listen, "/readyz"),
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


def _smtp(name: str, address: HostPort) -> Probe:
    def check() -> bool:
        with _connect(address) as connection, connection.makefile("rb") as replies:
            greeted = replies.readline().startswith(b"220")
            connection.sendall(b"QUIT\r\n")
            replies.readline()
            return greeted

    return Probe(name, check)


def _accepts(address: HostPort) -> bool:
    with _connect(address):
        return True


def _connect(address: HostPort) -> socket.socket:
    target = reachable(address)
    return socket.create_connection((target.host, target.port), timeout=_TIMEOUT)


def _worker(app: Celery, number: int) -> Probe:
    node = host_format(worker_node(number))
    return Probe(f"worker{number}", lambda: bool(app.control.ping(destination=[node], timeout=1.0)))
