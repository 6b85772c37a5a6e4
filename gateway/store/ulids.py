"""The ids of messages that people see: ULIDs (https://github.com/ulid/spec)."""

from __future__ import annotations

import os

from ulid import ULIDGenerator

_OCTETS = 10  # the random part of one
_IN_STOCK = 512 * _OCTETS


class _Randomness:
    """The operating system's, many at once: it is asked outside the interpreter's lock, and to get that back takes
    longer than everything else about an id while another thread is at work.
    """

    def __init__(self) -> None:
        self._stock = b""
        self._used = 0
        os.register_at_fork(after_in_child=self._throw_away)  # no child may use what its parent uses

    def __call__(self, _timestamp: int) -> bytes:
        if self._used == len(self._stock):
            self._stock, self._used = os.urandom(_IN_STOCK), 0
        self._used += _OCTETS
        return self._stock[self._used - _OCTETS : self._used]

    def _throw_away(self) -> None:
        self._stock, self._used = b"", 0


_generator = ULIDGenerator(randomness=_Randomness())  # it has a lock of its own


def new_ulid() -> str:
    """Later ones are greater, also within a millisecond."""
    return str(_generator.generate())
