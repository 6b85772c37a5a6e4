"""A whole installation for system tests: `sesgate up --sandbox` in a directory of its own, on free ports."""

from __future__ import annotations

import hashlib
import json
import signal
import smtplib
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any, Self

import psutil

from gateway.settings import Settings
from gateway.store.messages import MessageDetail
from gateway.store.stores import Stores, open_stores
from tests.support.environment import own_environment
from tests.support.ports import free_port
from tests.support.waiting import until

SESGATE = (sys.executable, "-m", "gateway.cli")
CHILDREN = ("redis", "sandbox", "smtp", "worker1", "worker2", "webhook", "admin", "flower")

# By these words of its command line a child is known.
_MARKS = {
    "redis": ("redis.sock",),
    "sandbox": ("gateway.cli", "sandbox"),
    "smtp": ("gateway.cli", "smtp"),
    "worker1": ("worker1@",),
    "worker2": ("worker2@",),
    "webhook": ("webhook.wsgi:app",),
    "admin": ("webhook.admin.wsgi:app",),
    "flower": ("tasks", "flower"),
}


class Installation:
    """Everything as a newcomer starts it. `with` ends it, whatever happened."""

    def __init__(self, directory: Path, **settings: str) -> None:
        self.directory = directory
        self.smtp_port, self.flower_port = free_port(), free_port()
        self.webhook_port, self.admin_port, self.sandbox_port = free_port(), free_port(), free_port()
        self.environ = {
            **own_environment(),
            "SESGATE_DATA_DIR": str(directory),
            "SESGATE_LISTENERS": f"127.0.0.1:{self.smtp_port}",
            "SESGATE_WEBHOOK_LISTEN": f"127.0.0.1:{self.webhook_port}",
            "SESGATE_ADMIN_LISTEN": f"127.0.0.1:{self.admin_port}",
            "SESGATE_FLOWER_LISTEN": f"127.0.0.1:{self.flower_port}",
            "SESGATE_SANDBOX_LISTEN": f"127.0.0.1:{self.sandbox_port}",
            **settings,
        }
        self._up: subprocess.Popen[bytes] | None = None
        self._stores: Stores | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._stores is not None:
            self._stores.close()
        if self._up is not None:
            self.stop()

    # Its life

    @property
    def log_file(self) -> Path:
        return self.directory.with_name(self.directory.name + ".log")

    @property
    def log(self) -> str:
        return self.log_file.read_text(encoding="utf-8", errors="replace")

    def start(self) -> None:
        with self.log_file.open("ab") as log:
            begin = log.tell()
            self._up = subprocess.Popen(
                [*SESGATE, "up", "--sandbox"], env=self.environ, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        until(lambda: "sesgate is up" in self.log[begin:], seconds=90, what=f"the banner in {self.log_file}")

    def stop(self, signal_number: int = signal.SIGINT) -> int:
        """One signal, and the exit code once every process has ended."""
        assert self._up is not None
        family = self.family()
        self._up.send_signal(signal_number)
        code = self._up.wait(timeout=60)
        self._up = None
        psutil.wait_procs(family, timeout=10)
        assert [process for process in family if process.is_running()] == []
        return code

    def family(self) -> list[psutil.Process]:
        assert self._up is not None
        return psutil.Process(self._up.pid).children(recursive=True)

    def children(self) -> list[psutil.Process]:
        """The processes that `up` started, as far as they run."""
        assert self._up is not None
        return [child for child in psutil.Process(self._up.pid).children() if self.name_of(child) is not None]

    @staticmethod
    def name_of(process: psutil.Process) -> str | None:
        """The name under which `up` started a child; None for anything else, and for what has just ended."""
        try:
            line = process.cmdline()
        except psutil.NoSuchProcess:
            return None
        if not line or line[-1] == "up":
            return None
        fitting = (name for name, marks in _MARKS.items() if all(any(mark in word for word in line) for mark in marks))
        return next(fitting, None)

    def child(self, name: str) -> psutil.Process:
        """The process that `up` started under that name."""
        for process in self.children():
            if self.name_of(process) == name:
                return process
        raise LookupError(f"no child {name}")

    def kill(self, name: str) -> None:
        """`kill -9`, and wait until another one stands in its place."""
        victim = self.child(name)
        victim.kill()
        until(lambda: self._replaced(name, victim.pid), what=f"{name} is back")

    def _replaced(self, name: str, pid: int) -> bool:
        try:
            return self.child(name).pid != pid
        except LookupError:
            return False

    # What a user does

    def cli(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*SESGATE, *arguments], env=self.environ, capture_output=True, text=True, timeout=60, check=False
        )

    def send(
        self, content: bytes, *to: str, sender: str = "app@example.com"
    ) -> tuple[str | None, dict[str, tuple[int, bytes]]]:
        """One mail by smtplib: the id in the reply (None when no recipient was left), and the refused recipients."""
        with smtplib.SMTP("127.0.0.1", self.smtp_port, timeout=60) as client:
            client.ehlo("client.example.com")
            assert client.mail(sender)[0] == 250
            replies = {address: client.rcpt(address) for address in to}
            refused = {address: reply for address, reply in replies.items() if reply[0] != 250}
            if len(refused) == len(to):
                return None, refused
            code, text = client.data(content)
            assert code == 250, (code, text)
            return text.decode().rpartition(" ")[2], refused

    def send_patiently(self, content: bytes, *to: str) -> str:
        """As a mail client does: try again while the front is away or says later. Only an id is an acceptance."""

        def attempt() -> str | None:
            try:
                return self.send(content, *to)[0]
            except (OSError, smtplib.SMTPException, AssertionError):
                return None

        accepted = until(attempt, what="the front accepts mail")
        assert accepted is not None
        return accepted

    def message(self, ulid: str) -> dict[str, Any]:
        shown = self.cli("messages", "show", ulid, "--json")
        assert shown.returncode == 0, shown.stderr
        return dict(json.loads(shown.stdout))

    def statuses(self, ulid: str) -> set[str]:
        return {recipient.status.value for recipient in self._detail(ulid).recipients}

    def event_kinds(self, ulid: str) -> set[str]:
        return {event.kind for event in self._detail(ulid).events}

    def _detail(self, ulid: str) -> MessageDetail:
        """Straight from the database: a test asks often, and each command starts an interpreter."""
        if self._stores is None:
            url = self.environ.get("SESGATE_DATABASE_URL", "")
            self._stores = open_stores(Settings(data_dir=self.directory, database_url=url))
        found = self._stores.messages.show(ulid)
        assert found is not None, f"there is no message {ulid}"
        return found

    # The oracle

    def sent(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.get(self.sandbox_port, "/_sandbox/messages").splitlines()]

    def sent_to(self, address: str) -> list[dict[str, Any]]:
        return [copy for copy in self.sent() if copy["recipients"] == [address]]

    def raw(self, copy: dict[str, Any]) -> bytes:
        raw = self.get(self.sandbox_port, f"/_sandbox/messages/{copy['id']}/raw")
        assert hashlib.sha256(raw).hexdigest() == copy["sha256"]
        return raw

    def set_faults(self, **faults: Any) -> None:
        self._put("faults", faults)

    def set_account(self, **account: Any) -> None:
        self._put("account", account)

    def _put(self, what: str, wanted: dict[str, Any]) -> None:
        url = f"http://127.0.0.1:{self.sandbox_port}/_sandbox/{what}"
        request = urllib.request.Request(url, json.dumps(wanted).encode(), method="PUT")
        with urllib.request.urlopen(request, timeout=10):
            pass

    @staticmethod
    def get(port: int, path: str) -> bytes:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=30) as response:
            return bytes(response.read())


def mail(subject: str, body: bytes = b"Hello.\r\n", **fields: str) -> bytes:
    """A small mail, whole."""
    header = {"From": "Shop <app@example.com>", "To": "you@example.com", "Subject": subject, **fields}
    stamp = f"Date: Sat, 21 Nov 2026 10:00:00 +0000\r\nMessage-ID: <{time.time_ns()}@example.com>\r\n"
    lines = "".join(f"{name}: {value}\r\n" for name, value in header.items())
    return f"{lines}{stamp}MIME-Version: 1.0\r\n\r\n".encode() + body
