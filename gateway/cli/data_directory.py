"""The directory that holds what is accepted: private, and used by one supervisor at a time."""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gateway.cli.errors import CommandError, UsageError

_LOCK = "up.lock"
_OURS = frozenset({_LOCK, "sesgate.db", "sandbox"})
_PRIVATE = 0o700


def prepare(directory: Path) -> None:
    """Make the directory, readable by this user alone. UsageError when it cannot be the gateway's."""
    try:
        directory.mkdir(mode=_PRIVATE, parents=True, exist_ok=True)
        _make_private(directory)
    except OSError as error:
        raise UsageError(
            f"The data directory {directory} cannot be used ({error.strerror}); set SESGATE_DATA_DIR to another one."
        ) from None


def _make_private(directory: Path) -> None:
    if stat.S_IMODE(directory.stat().st_mode) & 0o077 == 0:
        return
    # Closing /tmp or a home directory to everybody else would be a bad surprise.
    present = {entry.name for entry in directory.iterdir()}
    if present and not present & _OURS:
        raise UsageError(
            f"The data directory {directory} is open to other users and holds other files;"
            " set SESGATE_DATA_DIR to an empty or new one."
        )
    directory.chmod(_PRIVATE)


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Keep other supervisors off the directory; CommandError when one has it. The kernel lifts it with the process."""
    fd = os.open(directory / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise CommandError(
            f"Another `sesgate up` runs on the data directory {directory};"
            " stop it first, or set SESGATE_DATA_DIR to another one."
        ) from None
    try:
        yield
    finally:
        os.close(fd)
