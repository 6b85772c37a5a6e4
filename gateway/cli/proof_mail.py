"""Mail through the gateway's own SMTP port, as an application sends it."""

from __future__ import annotations

import re
import smtplib
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import formatdate
from pathlib import Path

from gateway.cli.network import reachable
from gateway.setting_values import HostPort, Listener
from gateway.settings import Settings

_PATIENCE = 30.0  # seconds for each reply; a 250 waits for the disk
_OK = 250
_QUEUED_AS = re.compile(r" queued as ([0-9A-HJKMNP-TV-Z]{26})$")


@dataclass(frozen=True, slots=True)
class Login:
    """The name and secret of a credential."""

    user: str
    secret: str


@dataclass(frozen=True, slots=True)
class Door:
    """Where the mail goes in. `certificate` is what the gateway itself shows, and the only one that is believed."""

    address: HostPort
    implicit_tls: bool
    certificate: Path | None
    login: Login | None

    @property
    def spoken(self) -> str:
        return str(self.address)


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply to RCPT or to the mail; `ulid` is what a gateway that took the mail calls it."""

    text: str
    ulid: str | None = None

    @property
    def is_refusal(self) -> bool:
        return self.text.startswith("5")


def choose_door(settings: Settings, login: Login | None) -> Door:
    """The listener that asks for least; one that wants AUTH only when there is a login, if there is a choice."""
    listener = min(settings.listeners, key=_demands) if login is None else max(settings.listeners, key=_demands)
    return Door(reachable(listener.address), listener.implicit_tls, settings.tls_cert_file, login)


def _demands(listener: Listener) -> tuple[bool, bool]:
    return listener.requires_auth, listener.implicit_tls


def send(door: Door, sender: str, recipient: str, subject: str) -> Answer:
    """Send one small mail. OSError or smtplib.SMTPException when there is no talking with the gateway."""
    with _session(door) as client:
        code, text = client.mail(sender)
        if code == _OK:
            code, text = client.rcpt(recipient)
        if code == _OK:
            code, text = client.data(_mail(sender, recipient, subject))
    reply = f"{code} {_decoded(text)}"
    taken = _QUEUED_AS.search(reply) if code == _OK else None
    return Answer(reply, taken and taken[1])


def ask(door: Door, sender: str, recipient: str) -> Answer:
    """What the gateway says to this recipient, without sending anything."""
    with _session(door) as client:
        code, text = client.mail(sender)
        if code == _OK:
            code, text = client.rcpt(recipient)
            client.rset()
    return Answer(f"{code} {_decoded(text)}")


@contextmanager
def _session(door: Door) -> Iterator[smtplib.SMTP]:
    host, port = door.address.host, door.address.port
    client: smtplib.SMTP = (
        smtplib.SMTP_SSL(host, port, timeout=_PATIENCE, context=_tls(door))
        if door.implicit_tls
        else smtplib.SMTP(host, port, timeout=_PATIENCE)
    )
    with client:
        client.ehlo()
        if not door.implicit_tls and door.certificate is not None and client.has_extn("starttls"):
            client.starttls(context=_tls(door))
            client.ehlo()
        if door.login is not None:
            client.login(door.login.user, door.login.secret)
        yield client


def _tls(door: Door) -> ssl.SSLContext:
    """Its certificate is in our hands, so nothing else is trusted; the name in it is that of the public host."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    if door.certificate is not None:
        context.load_verify_locations(door.certificate)
    return context


def _mail(sender: str, recipient: str, subject: str) -> bytes:
    message = EmailMessage()
    message["From"] = sender
    message["To"] = recipient
    message["Subject"] = subject
    message["Date"] = formatdate()
    message.set_content("This mail proves that the gateway sends, and that what SES reports comes back.\n")
    return message.as_bytes().replace(b"\n", b"\r\n")


def _decoded(text: bytes) -> str:
    return " ".join(text.decode(errors="replace").split())
