"""A writer that is busy, so that what is submitted meanwhile is one group."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager

from gateway.store.sql import Sql
from gateway.store.stores import Stores


def hold_the_writer(stores: Stores) -> tuple[Future[None], threading.Event]:
    """The writer's thread stands inside a transaction until the event is set."""
    inside, go_on = threading.Event(), threading.Event()

    def work(_sql: Sql) -> None:
        inside.set()
        assert go_on.wait(30)

    held = stores.db.submit(work)
    assert inside.wait(30)
    return held, go_on


@contextmanager
def standing_writer(stores: Stores) -> Iterator[None]:
    """The same until the end of the block, also of one that fails."""
    held, go_on = hold_the_writer(stores)
    try:
        yield
    finally:
        go_on.set()
        held.result(timeout=30)
