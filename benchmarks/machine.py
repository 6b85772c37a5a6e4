"""On what something was measured."""

from __future__ import annotations

import os
import platform
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path


def described(*more: str) -> str:
    """One line for below a table."""
    cores = len(os.sched_getaffinity(0))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1024**3
    parts = (
        f"{_processor()}, {cores} cores, {memory:.0f} GiB",
        f"Linux {platform.release()}",
        f"Python {platform.python_version()}",
        f"SQLite {sqlite3.sqlite_version}",
        *more,
        f"load at the start {os.getloadavg()[0]:.1f}",
    )
    return "; ".join(parts)


def _processor() -> str:
    """The kernel knows it, on most machines."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def wait_for_calm(patience: float, *, enough: float = 0.1, look: float = 2.0) -> float:
    """Wait until what else runs here keeps the processors less busy than that, but no longer than `patience` seconds.

    The share of their time that they were busy in when last looked at, for `look` seconds.
    """
    deadline = time.monotonic() + patience
    while True:
        share = _busy_for(look)
        if share < enough or time.monotonic() >= deadline:
            return share


def _busy_for(seconds: float) -> float:
    idle_before, all_before = _processor_time()
    time.sleep(seconds)
    idle, all_ = _processor_time()
    return 1 - (idle - idle_before) / max(1, all_ - all_before)


def _processor_time() -> tuple[int, int]:
    """Idle time and all time since the machine started, in ticks (proc(5), /proc/stat)."""
    ticks = [int(word) for word in Path("/proc/stat").read_text(encoding="ascii").splitlines()[0].split()[1:9]]
    return ticks[3] + ticks[4], sum(ticks)


def forget_cached(directory: Path) -> None:
    """Have the kernel drop from memory what it keeps of the files; what is written already is all it can drop."""
    os.sync()
    for file in _files(directory):
        descriptor = os.open(file, os.O_RDONLY)
        try:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


def _files(directory: Path) -> Iterator[Path]:
    return (file for file in directory.rglob("*") if file.is_file())
