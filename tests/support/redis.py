"""A real Redis for tests: on a unix socket in a private directory, without TCP and without anything on disk."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Self

import pytest
import redis

from tests.support.waiting import until

_NAMES = ("redis-server", "valkey-server")


def find_redis() -> Path:
    """The program; without one the test is skipped at home and fails in CI."""
    for name in _NAMES:
        if found := shutil.which(name):
            return Path(found)
    beside = Path(sys.executable).parent / "redis-server"
    if beside.is_file():
        return beside
    reason = "there is no redis-server or valkey-server on the PATH"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


class Redis:
    """`with Redis() as redis:` starts it and waits until it answers."""

    def __init__(self) -> None:
        self._program = find_redis()
        self._directory = Path(tempfile.mkdtemp(prefix="redis-", dir="/tmp"))
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        shutil.rmtree(self._directory, ignore_errors=True)

    @property
    def socket(self) -> Path:
        return self._directory / "redis.sock"

    @property
    def url(self) -> str:
        """As `SESGATE_BROKER_URL` takes it."""
        return f"redis+socket://{self.socket}"

    def client(self) -> redis.Redis:
        return redis.Redis(unix_socket_path=str(self.socket), socket_timeout=5)

    def start(self) -> None:
        """After `kill` it is a restart: the same address, and everything forgotten."""
        self._process = subprocess.Popen(
            [
                *(self._program, "--port", "0", "--unixsocket", self.socket, "--unixsocketperm", "600"),
                *("--save", "", "--appendonly", "no", "--dir", self._directory, "--daemonize", "no"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        until(self._answers, what="Redis answers")

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
            self.socket.unlink(missing_ok=True)

    def hang(self) -> None:
        """SIGSTOP: connections are taken, and nothing is ever answered."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, "Redis ended at once"
        with self.client() as client:
            try:
                return bool(client.ping())
            except redis.RedisError:
                return False
