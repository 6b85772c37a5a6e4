"""What is checked before anything is started: each failure is one sentence with its fix."""

from __future__ import annotations

import errno
import socket
from collections.abc import Mapping
from contextlib import closing, suppress

from gateway.cli.errors import CommandError, UsageError
from gateway.queue_urls import QueueUrlError, check_queue
from gateway.setting_values import HostPort
from gateway.settings import Settings
from gateway.smtp.tls import CertificateError, open_certificates
from gateway.store.db import Database
from gateway.store.errors import StoreError, StoreUnavailableError
from gateway.store.opening import open_database
from gateway.store.schema import Stamp, require_stamp


def check_aws(settings: Settings, environ: Mapping[str, str]) -> None:
    """Outside the sandbox the region must be known, and events must be able to find their way back."""
    if not (environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION")):
        raise UsageError("AWS_REGION is not set; set it to the region of SES, or use --sandbox to try without AWS.")
    if settings.ses_configuration_set is None and settings.feedback != "identity":
        raise UsageError(
            "SESGATE_SES_CONFIGURATION_SET is not set, so SES would report nothing of what becomes of the mail;"
            " set it, or SESGATE_FEEDBACK=identity, or use --sandbox to try without AWS."
        )


def check_certificate(settings: Settings) -> None:
    """The front reads it again; here it is said before anything is started."""
    try:
        open_certificates(settings)
    except CertificateError as error:
        raise UsageError(str(error)) from None


def check_stamp(settings: Settings, wanted: Stamp) -> None:
    """StoreError when the data is there already and belongs to the other AWS; what is not there is made by `migrate`.

    It comes first: who forgot --sandbox need not be asked for a region.
    """
    with suppress(StoreUnavailableError), closing(_database(settings)) as database:
        if database.exists:
            require_stamp(database, wanted)


def check_feedback_queue(settings: Settings, stamp: Stamp) -> None:
    """The consumer would end, and be started again and again."""
    if settings.feedback_queue_url is not None:
        try:
            check_queue(settings.feedback_queue_url, stamp)
        except QueueUrlError as error:
            raise UsageError(str(error)) from None


def _database(settings: Settings) -> Database:
    try:
        return open_database(settings.database, settings.gate_timeout.total_seconds())
    except StoreError as error:
        # There is no directory for it yet, or the URL is of no use: `migrate` makes the one and tells the other.
        raise StoreUnavailableError(str(error)) from None


def addresses(settings: Settings, *, sandbox: bool) -> tuple[tuple[str, HostPort], ...]:
    """Every address that is going to be listened on, with the setting that changes it."""
    return (
        *(("SESGATE_LISTENERS", listener.address) for listener in settings.listeners),
        ("SESGATE_WEBHOOK_LISTEN", settings.webhook_listen),
        ("SESGATE_ADMIN_LISTEN", settings.admin_listen),
        ("SESGATE_FLOWER_LISTEN", settings.flower_listen),
        *((("SESGATE_SANDBOX_LISTEN", settings.sandbox_listen),) if sandbox else ()),
    )


def check_addresses(wanted: tuple[tuple[str, HostPort], ...]) -> None:
    """CommandError when an address is taken or not to be had, UsageError when two settings name the same one."""
    seen: dict[HostPort, str] = {}
    for setting, address in wanted:
        if address in seen:
            raise UsageError(f"{seen[address]} and {setting} both say {address}; give each its own port.")
        seen[address] = setting
    for address, setting in seen.items():
        _check_address(setting, address)


def _check_address(setting: str, address: HostPort) -> None:
    try:
        _try_to_bind(address)
    except socket.gaierror:
        raise UsageError(f"{setting}: the host {address.host} is not known.") from None
    except OSError as error:
        reason = {
            errno.EADDRINUSE: "is in use by another program",
            errno.EACCES: "may not be used by this user (ports below 1024 need a privilege)",
            errno.EADDRNOTAVAIL: "is no address of this machine",
        }.get(error.errno or 0, f"cannot be used ({error.strerror})")
        raise CommandError(f"{address} {reason}; set {setting} to another address.") from None


def _try_to_bind(address: HostPort) -> None:
    found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    for family, kind, protocol, _, sockaddr in found:
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            probe.bind(sockaddr)
