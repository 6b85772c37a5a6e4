"""Which CPUs the threads of a process may be on."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

CPUS = frozenset(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else frozenset[int]()
two_cpus = pytest.mark.skipif(len(CPUS) < 2, reason="it takes two CPUs")


def cpus_of(pid: int) -> set[frozenset[int]]:
    """The sets that there are among its threads: one with one CPU where it stays on that."""
    return {frozenset(os.sched_getaffinity(int(thread.name))) for thread in Path(f"/proc/{pid}/task").iterdir()}


def stays_on_one_cpu(pid: int) -> bool:
    try:
        sets = cpus_of(pid)
    except ProcessLookupError:  # a thread has just ended
        return False
    return len(sets) == 1 and len(next(iter(sets))) == 1
