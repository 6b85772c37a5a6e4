"""Failing system calls, from outside: strace holds on to a running program, and tampers with its calls.

strace counts calls for each thread on its own: `fail("fdatasync", "EIO", "2")` fails the second one of every thread
from the moment it is attached. `when` is a number, `first..last`, `first+` or `first+step`.
"""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.chaos.scenario import Skipped
from tests.support.waiting import until

_CALL = re.compile(r"^(?P<thread>\d+)\s+(?P<name>\w+)\((?P<rest>.*)$")
_DESCRIPTOR = re.compile(r"^(?P<number>\d+)<(?P<path>[^>]*)>")


def fail(call: str, error: str, when: str) -> str:
    """The call is not done, and says that error."""
    return f"inject={call}:error={error}:when={when}"


def kill(call: str, when: str) -> str:
    """`kill -9` of the whole program at the call, which is not done."""
    return f"inject={call}:signal=SIGKILL:when={when}"


def need_strace() -> None:
    """Skipped unless strace is there and may hold on to another program."""
    if shutil.which("strace") is None:
        raise Skipped("strace is not installed")
    with (
        tempfile.TemporaryDirectory() as directory,
        subprocess.Popen(["sleep", "60"], stdin=subprocess.DEVNULL) as victim,
    ):
        try:
            with Strace(victim.pid, Path(directory) / "strace", calls=("fsync",)):
                pass
        except AttachError as error:
            raise Skipped(f"strace may not be used on this machine: {error}") from None
        finally:
            victim.kill()


class AttachError(Exception):
    """strace could not be attached; what it said."""


@dataclass(frozen=True)
class Call:
    """One system call that was seen: of which thread, on which file, and whether it was tampered with."""

    thread: int
    name: str
    descriptor: int | None
    path: str
    injected: bool


class Strace:
    """`with Strace(pid, log, fail("fdatasync", "EIO", "1"), calls=("fdatasync",)) as strace:` for the time of a block.

    `calls` are what is written down besides what is tampered with. Only calls on `paths` count, if some are given.
    """

    def __init__(
        self, pid: int, log: Path, *tampering: str, calls: Sequence[str] = (), paths: Iterable[Path] = ()
    ) -> None:
        self._pid, self._log = pid, log
        injected = [expression.removeprefix("inject=").partition(":")[0] for expression in tampering]
        self._argv = ["strace", "-f", "-y", "-o", str(log), "-e", f"trace={','.join({*calls, *injected})}"]
        self._argv += ["-e", "signal=none"]
        for expression in tampering:
            self._argv += ["-e", expression]
        for path in paths:
            self._argv += ["-P", str(path)]
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        said = self._log.with_name(self._log.name + ".said")
        with said.open("wb") as output:
            self._process = subprocess.Popen([*self._argv, "-p", str(self._pid)], stdout=output, stderr=output)
        until(lambda: b"attached" in said.read_bytes() or self._ended(), what="strace is attached")
        if b"attached" not in said.read_bytes():
            raise AttachError(said.read_text().strip())
        return self

    def __exit__(self, *_: object) -> None:
        """Let go of the program, which goes on."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _ended(self) -> bool:
        return self._process is not None and self._process.poll() is not None

    @property
    def injections(self) -> int:
        """How many calls were tampered with so far."""
        return sum(line.count("(INJECTED)") for line in self._lines())

    def calls(self) -> list[Call]:
        """What was written down so far, in order."""
        return [call for line in self._lines() if (call := _parsed(line)) is not None]

    def _lines(self) -> list[str]:
        return self._log.read_text(encoding="utf-8", errors="replace").splitlines() if self._log.exists() else []


def _parsed(line: str) -> Call | None:
    found = _CALL.match(line)
    if found is None:
        return None
    descriptor = _DESCRIPTOR.match(found["rest"])
    return Call(
        thread=int(found["thread"]),
        name=found["name"],
        descriptor=None if descriptor is None else int(descriptor["number"]),
        path="" if descriptor is None else descriptor["path"],
        injected="(INJECTED)" in line,
    )


SYNCS = frozenset({"fsync", "fdatasync"})


def synced_again(calls: Iterable[Call]) -> list[Call]:
    """Each sync of a descriptor whose sync failed before, and that was not closed in between: it proves nothing."""
    poisoned: set[tuple[int | None, str]] = set()
    found = []
    for call in calls:
        file = (call.descriptor, call.path)
        if call.name == "close":
            poisoned.discard(file)
        elif call.name in SYNCS:
            if file in poisoned:
                found.append(call)
            if call.injected:
                poisoned.add(file)
    return found
