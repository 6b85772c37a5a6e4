"""The SMTP front as its own process, as clients meet it: plain, with STARTTLS and with implicit TLS, with AUTH."""

from __future__ import annotations

import signal
import subprocess
import sys
from dataclasses import dataclass
from email import message_from_bytes, policy
from email.message import EmailMessage
from ipaddress import ip_network
from pathlib import Path
from typing import Literal, Self

import trustme

from gateway.addresses import parse_mailbox
from gateway.store.stores import Stores
from gateway.suppression_policy import Reason
from tests.support.environment import own_environment
from tests.support.mail import rows
from tests.support.ports import free_port
from tests.support.stores import sqlite_stores
from tests.support.waiting import until

HOST = "localhost"  # as the certificate says it, and every client checks that
SENDER = "shop@example.org"
SUPPRESSED = "gone@example.com"
SCANNER = "127.0.0.5"


@dataclass(frozen=True)
class Way:
    """How a client comes in."""

    security: Literal["plain", "starttls", "tls"]
    auth: bool = False

    def __str__(self) -> str:
        return f"{self.security}-auth" if self.auth else self.security

    @property
    def protocol(self) -> str:
        """As RFC 3848 names it."""
        return f"ESMTP{'' if self.security == 'plain' else 'S'}{'A' if self.auth else ''}"


PLAIN, STARTTLS, TLS = Way("plain"), Way("starttls"), Way("tls")
WITH_AUTH = Way("starttls", auth=True)
EVERY_WAY = (PLAIN, Way("plain", auth=True), STARTTLS, WITH_AUTH, TLS, Way("tls", auth=True))


@dataclass(frozen=True)
class Login:
    """User name and secret of a credential."""

    name: str
    secret: str


@dataclass(frozen=True)
class Stored:
    """What the front kept of a mail."""

    ulid: str
    reverse_path: str | None
    recipients: tuple[str, ...]
    protocol: str
    credential: str
    content: bytes

    @property
    def mail(self) -> EmailMessage:
        return message_from_bytes(self.content, policy=policy.default)  # type: ignore[return-value]  # so the policy makes it

    @property
    def text(self) -> str:
        body = self.mail.get_body(("plain",))
        assert body is not None, self.content
        return str(body.get_content())

    @property
    def attachments(self) -> dict[str | None, bytes]:
        return {part.get_filename(): part.get_payload(decode=True) for part in self.mail.iter_attachments()}


class Front:
    """`with Front(directory) as front:` runs it over a database of its own, and ends it.

    The address SUPPRESSED is suppressed. The credential `shop` refuses it at RCPT, `news` and `scanner` take it and
    drop it. Who connects from SCANNER is `scanner`; who else does not log in is `local`, which refuses it.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.plain_port, self.tls_port = free_port(), free_port()
        self.modern_port, self.antique_port = free_port(), free_port()
        self.ca_file = directory / "ca.pem"
        self._write_certificates()
        self._stores: Stores = sqlite_stores(directory)
        self.shop = self._add("shop", "reject")
        self.news = self._add("news", "drop")
        assert self._stores.suppressions.add(
            parse_mailbox(SUPPRESSED), Reason.BOUNCE, source="manual", detail="", actor="test"
        )
        self._stores.credentials.add(
            "scanner",
            actor="test",
            secret=False,
            networks=[ip_network(SCANNER)],
            senders=["scanner@example.org"],
            suppressed_recipients="drop",
        )
        self._seen: set[str] = set()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        with self._log_file.open("wb") as log:
            self._process = subprocess.Popen(
                (sys.executable, "-m", "gateway.cli", "smtp"),
                env=self._environ(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            until(self._listens, what=f"the front listens; see {self._log_file}")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stores.close()
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(timeout=60)

    def port(self, way: Way) -> int:
        return self.tls_port if way.security == "tls" else self.plain_port

    def login(self, way: Way) -> Login | None:
        return self.shop if way.auth else None

    def stored(self) -> list[Stored]:
        """What was accepted since this was asked last, oldest first."""
        ulids = [summary.ulid for summary in self._stores.messages.list() if summary.ulid not in self._seen]
        self._seen.update(ulids)
        return [self._look(ulid) for ulid in reversed(ulids)]

    def stored_one(self) -> Stored:
        """The one mail that was accepted since the last look."""
        found = self.stored()
        assert len(found) == 1, (found, self.log)
        return found[0]

    @property
    def log(self) -> str:
        return self._log_file.read_text(encoding="utf-8", errors="replace")

    @property
    def _log_file(self) -> Path:
        return self.directory / "smtp.log"

    def _listens(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log
        return "smtp.listening" in self.log

    def _look(self, ulid: str) -> Stored:
        detail = self._stores.messages.show(ulid)
        assert detail is not None
        ((content,),) = rows(
            self._stores,
            "SELECT c.data FROM contents c JOIN messages m ON m.id = c.message_id WHERE m.ulid = ?",
            ulid,
        )
        return Stored(
            ulid=ulid,
            reverse_path=detail.summary.reverse_path,
            recipients=tuple(recipient.address for recipient in detail.summary.recipients),
            protocol=detail.origin.protocol,
            credential=detail.origin.credential,
            content=bytes(content),
        )

    def _add(self, name: str, suppressed: Literal["reject", "drop"]) -> Login:
        secret = self._stores.credentials.add(name, actor="test", application=name, suppressed_recipients=suppressed)
        return Login(name, secret)

    def _write_certificates(self) -> None:
        authority = trustme.CA()
        authority.cert_pem.write_to_path(self.ca_file)
        certificate = authority.issue_cert(HOST)
        certificate.private_key_pem.write_to_path(self.directory / "key.pem")
        for blob in certificate.cert_chain_pems:
            blob.write_to_path(self.directory / "cert.pem", append=True)

    def _environ(self) -> dict[str, str]:
        return own_environment() | {
            "SESGATE_DATA_DIR": str(self.directory),
            "SESGATE_LISTENERS": (
                f"127.0.0.1:{self.plain_port} lan, 127.0.0.1:{self.tls_port} lan tls,"
                f" 127.0.0.1:{self.modern_port} modern, 127.0.0.1:{self.antique_port} antique"
            ),
            "SESGATE_TLS_CERT_FILE": str(self.directory / "cert.pem"),
            "SESGATE_TLS_KEY_FILE": str(self.directory / "key.pem"),
        }
