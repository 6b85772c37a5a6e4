"""The front as a program of its own, and what it takes of the machine: for rows that only knock at the door."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Self

import psutil

from gateway.sandbox import names
from tests.chaos.book import Book
from tests.support.by_hand import ROOT, SESGATE
from tests.support.environment import own_environment
from tests.support.ports import free_port
from tests.support.waiting import until

MIB = 1024**2


class FrontAlone:
    """`sesgate smtp` over a database of its own. `with` ends it. Nothing is sent: there are no workers."""

    def __init__(self, directory: Path, *, descriptors: int | None = None, **settings: str) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.port = free_port()
        self._descriptors = descriptors
        self._settings = {
            "SESGATE_DATA_DIR": str(directory),
            "SESGATE_LISTENERS": f"127.0.0.1:{self.port}",
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{free_port()}",
            "AWS_REGION": names.REGION,
            "AWS_ACCESS_KEY_ID": "sandbox",
            "AWS_SECRET_ACCESS_KEY": "sandbox",
            **settings,
        }
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.command("migrate")
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                [*self._limited(), *SESGATE, "smtp"],
                cwd=ROOT,
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        until(lambda: "smtp.listening" in self.log, what="the front listens")
        self.program = psutil.Process(self._process.pid)
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _limited(self) -> tuple[str, ...]:
        return () if self._descriptors is None else ("sh", "-c", f'ulimit -n {self._descriptors}; exec "$@"', "sh")

    @property
    def environ(self) -> dict[str, str]:
        return own_environment() | self._settings

    def command(self, *arguments: str) -> str:
        done = subprocess.run(
            [*SESGATE, *arguments], env=self.environ, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    @property
    def log_file(self) -> Path:
        return self.directory / "smtp.log"

    @property
    def log(self) -> str:
        return self.log_file.read_text(encoding="utf-8", errors="replace")

    @property
    def has_ended(self) -> bool:
        return self._process is not None and self._process.poll() is not None

    @property
    def most_memory(self) -> float:
        """The most memory that it ever had resident, in MiB."""
        status = Path(f"/proc/{self.program.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) / 1024

    def reload(self) -> None:
        self.program.send_signal(signal.SIGHUP)

    def recipients(self) -> list[str]:
        """The addresses of everything it ever accepted."""
        with Book(self.directory) as book:
            return [str(row[0]) for row in book.rows("SELECT address FROM recipients ORDER BY id")]


class Talk:
    """A socket with a client at its end who says exactly what a row has him say."""

    def __init__(self, port: int, source: str = "127.0.0.1", *, timeout: float = 30.0) -> None:
        began = time.monotonic()
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=timeout, source_address=(source, 0))
        self.replies = self.socket.makefile("rb")
        self.greeting = self.reply()
        self.greeted_after = time.monotonic() - began

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.replies.close()
        self.socket.close()

    def reply(self) -> str:
        """The last line of the next reply; empty when the connection is closed."""
        try:
            while (line := self.replies.readline())[3:4] == b"-":
                pass
        except ConnectionError:
            return ""
        return line.decode("ascii", "backslashreplace").rstrip("\r\n")

    def say(self, line: bytes) -> str:
        try:
            self.socket.sendall(line + b"\r\n")
        except ConnectionError:
            return self.reply()
        return self.reply()

    def begin(self, to: str) -> None:
        """Everything up to 354."""
        for line in (b"EHLO client.example.com", b"MAIL FROM:<app@example.com>", f"RCPT TO:<{to}>".encode(), b"DATA"):
            reply = self.say(line)
            assert reply[:1] in "23", f"{line!r} is answered {reply!r}"

    def pour(self, block: bytes, times: int) -> int:
        """Send a block so many times, or until the front has closed the connection; the octets sent."""
        sent = 0
        try:
            for _ in range(times):
                self.socket.sendall(block)
                sent += len(block)
        except (ConnectionError, TimeoutError):
            pass
        return sent

    def last_reply(self) -> str:
        """The last reply before the connection is closed."""
        last = ""
        while reply := self.reply():
            last = reply
        return last
