"""Credentials for a front under test, and clients that authenticate or come from elsewhere."""

from __future__ import annotations

import threading
from base64 import b64encode
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from ipaddress import ip_network
from typing import Any

from gateway.credentials import Credential, Secret, digest_of
from gateway.envelope import LOCAL_CREDENTIAL
from tests.gateway.smtp.running import Client, RunningFront

SECRET = "sg_one"
OTHER_SECRET = "sg_two"
LOOPBACK = (ip_network("127.0.0.0/8"),)
BORN = datetime(2026, 11, 21, tzinfo=UTC)


def secret(text: str = SECRET, number: int = 1, expires_at: datetime | None = None) -> Secret:
    return Secret(number, digest_of(text), BORN, expires_at, None)


def credential(name: str = "shop", **terms: Any) -> Credential:
    return Credential(name=name, application=name, **{"secrets": (secret(),), **terms})


def local(**terms: Any) -> Credential:
    return credential(LOCAL_CREDENTIAL, secrets=(), **{"networks": LOOPBACK, **terms})


class CredentialDouble:
    """Has the credentials that a test gives it; `error` is raised by every reading, which waits for `is_open`."""

    def __init__(self, *credentials: Credential) -> None:
        self.credentials: Sequence[Credential] = credentials
        self.error: Exception | None = None
        self.readings = 0
        self.used_secrets: list[int] = []
        self.used_names: list[str] = []
        self.is_open = threading.Event()
        self.is_open.set()

    def all(self) -> Sequence[Credential]:
        self.is_open.wait(20)
        self.readings += 1
        if self.error is not None:
            raise self.error
        return self.credentials

    def used(self, secret_ids: Iterable[int], at: datetime, *, names: Iterable[str] = ()) -> None:
        self.used_secrets.extend(secret_ids)
        self.used_names.extend(names)


def plain(name: str = "shop", password: str = SECRET, act_for: str = "") -> bytes:
    return b64encode(f"{act_for}\0{name}\0{password}".encode())


def base64(text: str) -> bytes:
    return b64encode(text.encode())


def from_afar(front: RunningFront, address: str = "192.0.2.7", *, port: int | None = None) -> Client:
    """A greeted client at another address, as a proxy tells it; the front must take headers from the loopback."""
    client = Client(port or front.port)
    client.send(f"PROXY TCP4 {address} 192.0.2.1 4711 25\r\n".encode())
    assert client.reply().startswith("220 ")
    return client


def authenticated(front: RunningFront, name: str = "shop", password: str = SECRET) -> Client:
    client = front.connect()
    assert client.say(b"EHLO c").startswith("250-")
    assert client.say(b"AUTH PLAIN " + plain(name, password)).startswith("235 ")
    return client


def admitted(front: RunningFront, listener: int = 0) -> Client:
    """A client that may send through a listener, whatever its profile wants of it; `shop` must be a credential."""
    client = front.connect(listener)
    assert front.front is not None
    if front.front._settings.listeners[listener].requires_auth:
        client.say(b"EHLO c")
        assert client.say(b"AUTH PLAIN " + plain()).startswith("235 ")
    return client
