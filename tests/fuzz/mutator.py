"""An engine of our own: it mutates inputs that were kept, and keeps those that reach lines in an order not seen before.

It needs nothing but Python. libFuzzer (`with_atheris`) is faster and cleverer, where there is a wheel of it.
"""

from __future__ import annotations

import random
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from tests.fuzz.corpus_files import ROOT, inputs, keep
from tests.fuzz.targets import Target

MAX_OCTETS = 4096
_HANG = 5.0  # seconds for one input
_OURS = tuple(str(ROOT / package) for package in ("gateway", "tasks", "webhook"))

Edge = tuple[str, int, int]


class HangError(Exception):
    """An input took longer than any may."""


class FoundError(Exception):
    """An input made a target fail; it is in the corpus now."""

    def __init__(self, target: str, file: Path, error: BaseException) -> None:
        super().__init__(f"{target} fails with {type(error).__name__}: {error}; the input is {file}")


class Mutator:
    """Makes inputs of inputs. Equal seeds make equal inputs."""

    def __init__(self, words: Sequence[bytes], seed: int) -> None:
        self._random = random.Random(seed)
        self._words = words
        self._ways: tuple[Callable[[bytearray], None], ...] = (
            self._flip,
            self._set,
            self._insert_word,
            self._delete,
            self._repeat,
        )

    def child(self, parents: Sequence[bytes]) -> bytes:
        data = bytearray(self._random.choice(parents))
        if self._random.random() < 0.1:
            other = self._random.choice(parents)
            data[self._at(data) :] = other[self._random.randint(0, len(other)) :]
        for _ in range(self._random.choice((1, 1, 2, 4, 8))):
            self._random.choice(self._ways)(data)
        return bytes(data[:MAX_OCTETS])

    def _at(self, data: bytearray) -> int:
        return self._random.randint(0, len(data))

    def _flip(self, data: bytearray) -> None:
        if data:
            data[self._random.randrange(len(data))] ^= 1 << self._random.randrange(8)

    def _set(self, data: bytearray) -> None:
        if data:
            data[self._random.randrange(len(data))] = self._random.randrange(256)

    def _insert_word(self, data: bytearray) -> None:
        word = self._random.choice(self._words) if self._words else self._random.randbytes(2)
        position = self._at(data)
        data[position:position] = word

    def _delete(self, data: bytearray) -> None:
        begin = self._at(data)
        del data[begin : begin + self._random.randint(1, 16)]

    def _repeat(self, data: bytearray) -> None:
        begin = self._at(data)
        part = data[begin : begin + self._random.randint(1, 32)]
        data[begin:begin] = part * self._random.choice((1, 2, 40))


def fuzz(name: str, target: Target, *, seconds: float, seed: int) -> tuple[int, int]:
    """Run for so long; the number of inputs tried and of those newly kept. FoundError ends it at the first find."""
    mutator, seen = Mutator(target.words, seed), set[Edge]()
    parents = [data for data in inputs(name) if _reach(name, target, data, seen) is not None] or [b""]
    until, tried, kept = time.monotonic() + seconds, 0, 0
    while time.monotonic() < until:
        data = mutator.child(parents)
        tried += 1
        if _reach(name, target, data, seen):
            parents.append(data)
            keep(name, data)
            kept += 1
    return tried, kept


def run_once(name: str, target: Target, data: bytes) -> None:
    """FoundError when the target does not take this input as it should."""
    try:
        with _alarm():
            target.check(data)
    except Exception as error:
        raise FoundError(name, keep(name, data, failed=True), error) from error


def _reach(name: str, target: Target, data: bytes, seen: set[Edge]) -> bool:
    """Whether the input goes through our code as none did before."""
    before = len(seen)
    with _traced(seen):
        run_once(name, target, data)
    return len(seen) > before


@contextmanager
def _traced(seen: set[Edge]) -> Iterator[None]:
    def begin(frame: FrameType, _event: str, _argument: Any) -> Any:
        file = frame.f_code.co_filename
        if not file.startswith(_OURS):
            return None
        last = 0

        def step(frame: FrameType, _event: str, _argument: Any) -> Any:
            nonlocal last
            seen.add((file, last, frame.f_lineno))
            last = frame.f_lineno
            return step

        return step

    sys.settrace(begin)
    try:
        yield
    finally:
        sys.settrace(None)


@contextmanager
def _alarm() -> Iterator[None]:
    def ring(_signal: int, _frame: FrameType | None) -> None:
        raise HangError(f"it takes longer than {_HANG:.0f} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, _HANG)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
