"""What a person reads once everything answers."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path

from gateway.cli.network import reachable
from gateway.guard import guard_warning
from gateway.setting_values import HostPort, Listener
from gateway.settings import Settings
from gateway.smtp.policy import relay_warning

_FROM = "app@example.com"
_SIMULATOR = "simulator.amazonses.com"


def banner(settings: Settings, *, sandbox: bool, own_redis: bool, missing: list[str]) -> str:
    """What listens where, where the data is, and what to try."""
    title = f"sesgate is up, except: {', '.join(missing)} (see the log)" if missing else "sesgate is up"
    lines = [title, "", *_listening(settings, sandbox=sandbox, own_redis=own_redis)]
    for warning in filter(None, (guard_warning(settings), relay_warning(settings), fronts_warning(settings))):
        lines += ["", f"  Warning: {warning}"]
    if sandbox:
        lines += ["", *_to_try(settings)]
    return "\n".join([*lines, "", "  Ctrl-C drains and ends; a second Ctrl-C ends at once."])


def _listening(settings: Settings, *, sandbox: bool, own_redis: bool) -> list[str]:
    smtp = ", ".join(f"{one.address} ({one.profile}, {_tls(one, settings)})" for one in settings.listeners)
    rows = [
        ("SMTP", smtp),
        ("webhook", f"{_url(settings.webhook_listen)}/sns"),
        *((("feedback queue", str(settings.feedback_queue_url)),) if settings.feedback_queue_url else ()),
        ("metrics", f"{_url(settings.admin_listen)}/metrics"),
        ("Flower", _url(settings.flower_listen)),
        *((("simulated AWS", _url(settings.sandbox_listen)),) if sandbox else ()),
        *((("fronts", f"{settings.fronts} processes that share the SMTP ports"),) if settings.fronts > 1 else ()),
        *((("behind proxies", ", ".join(map(str, settings.proxy_networks))),) if settings.proxy_networks else ()),
        ("data", str(settings.data_dir.absolute())),
        ("broker", "its own Redis" if own_redis else "the one in SESGATE_BROKER_URL"),
        ("workers", f"{settings.workers} with {settings.worker_threads} threads each"),
    ]
    return [f"  {name:<14} {value}" for name, value in rows]


def fronts_warning(settings: Settings) -> str | None:
    """Measured: two fronts take less than one where every commit waits for the same lock."""
    if settings.fronts == 1 or not settings.database.startswith("sqlite:"):
        return None
    return (
        f"SESGATE_FRONTS is {settings.fronts} over SQLite, where only one process writes at a time: together they take"
        " less mail than one. Set it to 1, or use PostgreSQL."
    )


def _tls(listener: Listener, settings: Settings) -> str:
    if settings.tls_cert_file is None:
        return "no TLS"
    return f"{'implicit TLS' if listener.implicit_tls else 'STARTTLS'}, {listener.min_tls} or later"


def _to_try(settings: Settings) -> list[str]:
    server, sesgate = reachable(settings.listeners[0].address), _own_command(settings)
    swaks = f"swaks --server {server} --from {_FROM} --to"
    return [
        "  Try it from another terminal:",
        f"    {swaks} success@{_SIMULATOR}",
        f"    {swaks} bounce@{_SIMULATOR}",
        f"    {swaks} complaint@{_SIMULATOR}",
        "  and see what became of it:",
        f"    {sesgate} messages list",
        f"    {sesgate} suppressions show bounce@{_SIMULATOR}",
        f"    {_url(settings.flower_listen)}/tasks",
        "  The second mail to a bounced or complained address is refused with 550.",
    ]


def _own_command(settings: Settings) -> str:
    """How the reader can call this program on this data from the same directory."""
    path = sys.argv[0]
    name = "sesgate" if shutil.which("sesgate") else min(path, os.path.relpath(path), key=len)
    data = settings.data_dir.absolute()
    if data == Path.cwd() / Settings().data_dir:
        return name
    return f"SESGATE_DATA_DIR={shlex.quote(str(data))} {name}"


def _url(address: HostPort) -> str:
    return f"http://{reachable(address)}"
