"""What Python's garbage collector is to look at in a program that runs for long."""

from __future__ import annotations

import gc
import os

_spared: set[int] = set()
"""The processes that have done it, by their ids: a child has what its parent had, and loads more."""


def spare_what_is_loaded() -> None:
    """Collect, and leave what exists now out of every collection to come. Call it when a program is up.

    A full collection stops all threads for as long as it takes to look at each object: a tenth of a second and more
    in a worker, which may stand in the middle of a transaction that others wait for. Nearly all of them are modules
    and boto3's models of its services, which stay until the end.

    Once a process: what comes and goes, such as a connection to the broker, would be kept for good each time it is met.
    """
    if os.getpid() not in _spared:
        _spared.add(os.getpid())
        gc.collect()
        gc.freeze()
