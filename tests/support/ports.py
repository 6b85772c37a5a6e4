"""Free TCP ports for tests: no two test processes of a machine are given the same one.

A port that the system picks and that is closed again may be picked once more before the program under test listens on
it: by another test process, or for the client's end of any connection. So ports are taken from below the range that the
system picks from, and each is locked in a register as long as the process lives that was given it.
"""

from __future__ import annotations

import fcntl
import os
import random
import socket
import tempfile
from itertools import chain
from pathlib import Path

# Linux picks from 32768 on, macOS from 49152 on.
_FIRST, _LAST = 20_000, 31_999


class _Register:
    """A lock on the byte with a port's number says who has it. Locks of this kind end with the process."""

    def __init__(self) -> None:
        # A file for each user: nobody can lock in a file that another one made.
        file = Path(tempfile.gettempdir(), f"sesgate-test-ports-{os.geteuid()}")
        self._file = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
        # Each process begins elsewhere and goes round: a port is used again as late as possible.
        begin = random.randint(_FIRST, _LAST)
        self._ports = chain(range(begin, _LAST + 1), range(_FIRST, begin))

    def take(self) -> int:
        for port in self._ports:
            if self._lock(port) and _is_unused(port):
                return port
        raise LookupError(f"no port is free between {_FIRST} and {_LAST}")

    def _lock(self, port: int) -> bool:
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
        except OSError:
            return False
        return True


def _is_unused(port: int) -> bool:
    """Whether nobody listens on it, on any address."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
            probe.listen(1)
        except OSError:
            return False
        return True


_register = _Register()


def free_port() -> int:
    """A port on which nobody listens and that no other test is given; this process keeps it until it ends."""
    return _register.take()
