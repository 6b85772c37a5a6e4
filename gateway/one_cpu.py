"""Keeps a process of many threads on one CPU at a time, the one where others leave it the most room.

Only one thread of a process runs Python at a time. Where the kernel spreads the threads over CPUs, each of these turns
is handed from one CPU to another, which has to be woken for it (what that costs: docs/performance.md). On one CPU the
next thread just goes on. What the operator has allowed (`taskset`, `CPUAffinity=`, a cpuset) is what there is to choose
from.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from gateway.logs import get_logger

log = get_logger(__name__)

# Of when this module was loaded: a process that is forked later begins with the one CPU of its parent.
_ALLOWED: Final = frozenset(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else frozenset()
_STAT = Path("/proc/stat")
_THREADS = Path("/proc/self/task")
_staying: dict[int, OneCpu] = {}
"""That of this process, by its id: a child has a copy of its parent's, and no thread of it."""
_PAUSES = (0.05, 0.15)
"""Seconds between two looks. They vary, so that of two processes on one CPU the first to look moves, and not both."""
_COST = 0.005
"""The part of a CPU that looking may take: where there are many CPUs, the kernel has much to tell."""
_CLEARLY = 0.3
"""How much more of another CPU must be free: a move costs little, and what others do changes all the time."""
_RESTING = 0.05
"""Who takes less of a CPU has no need to move: it would only end up where all go that rest while one works."""
_IDLE, _IO_WAIT = 3, 4  # columns of /proc/stat (proc_stat(5))


def stay_on_one_cpu() -> None:
    """Begin with it, for all threads of this process, now and to come. Call it again in a child after a fork.

    Nothing happens where there is one CPU, or the system cannot do it or does not tell of each CPU.
    """
    if len(_ALLOWED) > 1 and os.getpid() not in _staying:
        stay = OneCpu(_ALLOWED)
        if stay.move():
            _staying[os.getpid()] = stay
            threading.Thread(target=stay.run, name="one-cpu", daemon=True).start()


def leave_one_cpu() -> None:
    """Have all CPUs again: a program that takes the place of this one would find one only, and take that for all."""
    if (stay := _staying.pop(os.getpid(), None)) is not None:
        stay.leave()


def choose(
    others: Mapping[int, float], current: int | None, *, draw: Callable[[Sequence[int]], int] = random.choice
) -> int:
    """Which CPU to be on, where other processes take these shares of each (0 to 1)."""
    least = min(others.values())
    if current is not None and current in others and others[current] - least <= _CLEARLY:
        return current
    return draw([cpu for cpu, share in sorted(others.items()) if share - least <= _CLEARLY / 2])


def pause(looked: float, *, draw: Callable[[float, float], float] = random.uniform) -> float:
    """Seconds until the next look, where the last one took so many of a CPU."""
    return max(draw(*_PAUSES), looked / _COST)


def busy_seconds(stat: str) -> dict[int, float]:
    """How long each CPU has worked since the machine started, by the text of /proc/stat (proc_stat(5)).

    What a hypervisor gave to other machines counts: it was not to be had here.
    """
    tick = os.sysconf("SC_CLK_TCK")
    busy = {}
    for line in stat.splitlines():
        name, _, numbers = line.partition(" ")
        if name.startswith("cpu") and name[3:].isdecimal():
            ticks = [int(number) for number in numbers.split()]
            # user nice system idle iowait irq softirq steal; what guests took is in user and nice already
            busy[int(name[3:])] = (sum(ticks[:8]) - sum(ticks[_IDLE : _IO_WAIT + 1])) / tick
    return busy


def _busy_now() -> dict[int, float]:
    return busy_seconds(_STAT.read_text(encoding="ascii"))


def _pin(cpus: Collection[int]) -> None:
    """Every thread by itself, until there is no new one; those to come inherit it of the one that starts them."""
    done: set[str] = set()
    while new := {thread.name for thread in _THREADS.iterdir()} - done:
        for thread in new:
            with suppress(ProcessLookupError):  # it has just ended
                os.sched_setaffinity(int(thread), cpus)
        done |= new


class OneCpu:
    """The CPU of this process."""

    def __init__(
        self,
        allowed: Iterable[int],
        *,
        busy: Callable[[], Mapping[int, float]] = _busy_now,
        own: Callable[[], float] = time.process_time,
        pin: Callable[[Collection[int]], None] = _pin,
    ) -> None:
        """`busy`: how many seconds each CPU has worked, up to now, and `own`: of them for this process."""
        self._allowed = frozenset(allowed)
        self._busy = busy
        self._own = own
        self._pin = pin
        self._lock = threading.Lock()
        self._left = False
        self._current: int | None = None
        self._last: tuple[float, float, Mapping[int, float]] | None = None

    def run(self) -> None:
        """Look again and again, until it cannot be done any more."""
        looked = 0.0
        while True:
            time.sleep(pause(looked))
            began = time.thread_time()
            if not self.move():
                return
            looked = time.thread_time() - began

    def move(self) -> bool:
        """Go where the most room is, if that is clearly more than here. False when that cannot be done (any more)."""
        with self._lock:
            try:
                if not self._left:
                    own, others = self._taken()
                    if self._current is None or own > _RESTING:
                        self._go_to(choose(others, self._current))
            except (OSError, ValueError) as error:
                log.info("cpu.left_to_the_kernel", reason=str(error) or type(error).__name__)
                self._leave()
            return not self._left

    def _go_to(self, cpu: int) -> None:
        if cpu != self._current:
            self._pin({cpu})
            self._current = cpu

    def leave(self) -> None:
        """Have all CPUs again, for good."""
        with self._lock:
            self._leave()

    def _leave(self) -> None:
        self._left = True
        if self._current is not None:
            with suppress(OSError):
                self._pin(self._allowed)

    def _taken(self) -> tuple[float, dict[int, float]]:
        """What this process and what others took since the last look, the latter of each CPU; at the first, nothing."""
        now, own = time.monotonic(), self._own()
        busy = {cpu: seconds for cpu, seconds in self._busy().items() if cpu in self._allowed}
        if not self._allowed <= busy.keys():  # in a container it may have other numbers for them
            raise ValueError("the system does not tell of each CPU that this process may use")
        last, self._last = self._last, (now, own, busy)
        if last is None:
            return 0.0, dict.fromkeys(busy, 0.0)
        elapsed = max(now - last[0], 1e-3)
        shares = {cpu: (seconds - last[2].get(cpu, seconds)) / elapsed for cpu, seconds in busy.items()}
        own_share = (own - last[1]) / elapsed
        if self._current in shares:
            shares[self._current] = max(0.0, shares[self._current] - own_share)
        return own_share, shares
