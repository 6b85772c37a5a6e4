"""What doctor looks at on this machine: settings, disk, certificate, and whether the programs answer."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from http.client import HTTPException
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Final

from kombu.exceptions import KombuError, OperationalError
from redis.exceptions import RedisError

from gateway.broker import find_broker_url, make_app
from gateway.cli.network import answers
from gateway.cli.settings import masked, spell_duration, spell_size
from gateway.cli.up.readiness import smtp_probe
from gateway.findings import Finding, Ledger, failed, ok, skipped, warning
from gateway.setting_values import HostPort, Listener
from gateway.settings import Settings, SettingsError, load_dotenv_into, read_settings, sources
from gateway.smtp.tls import CertificateError, open_certificates

SETTINGS: Final = "settings"
BROKER: Final = "broker"
WEBHOOK: Final = "webhook"
TLS: Final = "TLS certificate"

_MANY_ADDRESSES: Final = 2**24
_RENEW_BEFORE: Final = timedelta(days=21)
_BROKER_TIMEOUT: Final = 2.0
_PING_TIMEOUT: Final = 1.5


def look_at_settings(ledger: Ledger) -> Settings | None:
    """The settings in force; None when they cannot be read, and then there is nothing to look at."""
    try:
        from_dotenv = load_dotenv_into(os.environ, Path.cwd())
        settings = read_settings(os.environ)
    except SettingsError as error:
        ledger.add(judge_settings_error(error))
        return None
    given = sources(os.environ)
    dotenv = sum(source.variable in from_dotenv for source in given.values())
    ledger.add(
        ok(SETTINGS, f"{len(given)} are set, {dotenv} of them in .env"), judge_networks(settings.trusted_networks)
    )
    return settings


def judge_settings_error(error: SettingsError) -> Finding:
    return failed(
        SETTINGS, str(error), "Correct it where it is set: `sesgate settings` shows each and where it is from."
    )


def judge_networks(networks: Sequence[IPv4Network | IPv6Network]) -> Finding:
    """Whoever is in one of them may send without a password, and has our reputation in his hands."""
    check = "trusted networks"
    wide = [one for one in networks if one.is_global or (one.version == 4 and one.num_addresses > _MANY_ADDRESSES)]  # noqa: PLR2004
    if wide:
        return warning(
            check,
            f"{', '.join(map(str, wide))}: public or very wide, and everybody there may send without a password",
            "Name only your own machines in SESGATE_TRUSTED_NETWORKS; `sesgate credentials add` makes secrets.",
        )
    return ok(check, ", ".join(map(str, networks)) or "none: everybody needs a secret")


def look_at_disk(ledger: Ledger, settings: Settings) -> None:
    directory = settings.data_dir.absolute()
    while not directory.exists() and directory != directory.parent:
        directory = directory.parent
    try:
        free = shutil.disk_usage(directory).free
    except OSError as error:
        ledger.add(
            failed("disk", f"{directory}: {error.strerror}", "Set SESGATE_DATA_DIR to a directory of this user.")
        )
        return
    ledger.add(judge_disk(settings, free, is_writable=os.access(directory, os.W_OK | os.X_OK)))


def judge_disk(settings: Settings, free: int, *, is_writable: bool) -> Finding:
    check, least = "disk", settings.min_free_bytes
    if not is_writable:
        fix = "Run doctor as the user of the gateway, or set SESGATE_DATA_DIR to a directory of this user."
        return failed(check, f"this user may not write in {settings.data_dir}", fix)
    seen = f"{_spoken_size(free)} free for {settings.data_dir}"
    fix = "Make room: mail is refused with 452 below SESGATE_MIN_FREE_BYTES. docs/operations.md says what takes room."
    if free < least:
        return failed(check, f"{seen}, less than {spell_size(least)}", fix)
    if free < 4 * least:
        return warning(check, f"{seen}; below {spell_size(least)} mail is refused", fix)
    return ok(check, seen)


def _spoken_size(size: int) -> str:
    return f"{size / 1024**3:.1f} GiB" if size >= 1024**3 else f"{size / 1024**2:.0f} MiB"


# The certificate


def look_at_certificate(ledger: Ledger, settings: Settings, now: datetime) -> None:
    try:
        certificates = open_certificates(settings)
    except CertificateError as error:
        ledger.add(failed(TLS, str(error), "Correct the files or the listeners; the front does not start like this."))
        return
    if certificates is None:
        ledger.add(ok(TLS, "none is set: the front speaks without TLS"))
        return
    ledger.add(judge_expiry(certificates.expires_at, now))


def judge_expiry(expires_at: datetime, now: datetime) -> Finding:
    left = expires_at - now
    fix = "Renew it: the front takes up the new files by itself within seconds."
    if left <= timedelta(0):
        return failed(TLS, f"it expired on {expires_at:%Y-%m-%d}: clients refuse it", fix)
    seen = f"valid until {expires_at:%Y-%m-%d}, {left.days} days"
    return warning(TLS, seen, fix) if left < _RENEW_BEFORE else ok(TLS, seen)


# Programs


def look_at_listeners(ledger: Ledger, settings: Settings) -> None:
    for listener in settings.listeners:
        ledger.add(_look_at_listener(listener, settings))


def _look_at_listener(listener: Listener, settings: Settings) -> Finding:
    check = f"SMTP on {listener.address}"
    try:
        greets = smtp_probe(listener, settings).check()
    except OSError as error:
        fix = "Start `sesgate smtp` or `sesgate up`; if it runs on another machine, run doctor there."
        return failed(check, f"nothing answers ({error.strerror or type(error).__name__})", fix)
    if not greets:
        fix = "See with `ss -ltnp` what listens there, and what the log of `sesgate smtp` says."
        return failed(check, "what listens there does not greet as an SMTP server", fix)
    return ok(check, f"greets ({listener.profile})")


def ask_webhook(address: HostPort) -> tuple[bool, bool]:
    """Whether the webhook is alive, and whether it has its database."""
    try:
        return answers(address, "/healthz"), answers(address, "/readyz")
    except (OSError, HTTPException):
        return False, False


def judge_webhook(settings: Settings, alive: bool, ready: bool, *, database: bool) -> Finding:
    """`database`: it can be used from here. Where the queue is read a webhook need not run."""
    address = settings.webhook_listen
    if alive and ready:
        return ok(WEBHOOK, f"answers on {address}")
    if not alive:
        if settings.feedback_queue_url is not None:
            return skipped(WEBHOOK, f"nothing answers on {address}; reports come by the queue")
        fix = "Start `sesgate webhook` or `sesgate up`; if it runs on another machine, run doctor there."
        return failed(WEBHOOK, f"nothing answers on {address}, so SNS is not heard", fix)
    if not database:
        return skipped(WEBHOOK, "needs database")
    return failed(
        WEBHOOK,
        "it answers, but says that it has no database",
        "See its log: it must work with the same database as this.",
    )


def look_at_broker(ledger: Ledger, settings: Settings, *, dispatches: bool) -> None:
    """The broker and who answers through it. Without it the dispatcher does the work itself, so nothing fails."""
    url = find_broker_url(settings)
    if not url:
        ledger.add(
            warning(
                BROKER,
                "none is set: one worker process does all the sending",
                "Set SESGATE_BROKER_URL to a Redis; `sesgate up` brings its own.",
            ),
            skipped("workers", f"needs {BROKER}"),
        )
        return
    try:
        nodes = _ping(url)
    except (KombuError, OperationalError, RedisError, OSError) as error:
        ledger.add(judge_broker_away(url, error), skipped("workers", f"needs {BROKER}"))
        return
    ledger.add(ok(BROKER, f"{masked(url)} answers"), judge_workers(nodes, dispatches=dispatches))


def _ping(url: str) -> list[str]:
    app = make_app(url)
    try:
        with app.connection_for_write(transport_options={"socket_timeout": _BROKER_TIMEOUT}) as connection:
            connection.ensure_connection(max_retries=1)
            replies: Iterable[Mapping[str, object]] = (
                app.control.ping(timeout=_PING_TIMEOUT, connection=connection) or ()
            )
            return sorted(node for reply in replies for node in reply)
    finally:
        app.close()


def judge_broker_away(url: str, error: Exception) -> Finding:
    return warning(
        BROKER,
        f"{masked(url)} does not answer ({type(error).__name__}); mail goes on, more slowly",
        "Start Redis, or correct SESGATE_BROKER_URL.",
    )


def judge_workers(nodes: Sequence[str], *, dispatches: bool) -> Finding:
    if nodes:
        return ok("workers", f"{len(nodes)} answer: {', '.join(nodes)}")
    if not dispatches:
        return skipped("workers", "needs dispatcher")
    fix = "See the workers' log; `celery -A tasks inspect ping` asks them again."
    return warning(
        "workers", f"none answered through the broker in {spell_duration(timedelta(seconds=_PING_TIMEOUT))}", fix
    )
