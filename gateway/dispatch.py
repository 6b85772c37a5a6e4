"""Handing work over by name: the tasks' names, and ids as their only argument."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from typing import Any

from celery import Celery
from kombu.exceptions import KombuError, OperationalError
from redis.exceptions import RedisError

from gateway.broker import FEEDBACK_QUEUE, SEND_QUEUE
from gateway.logs import get_logger

SEND = "sesgate.send"
FEEDBACK = "sesgate.feedback"

log = get_logger(__name__)

# What Flower shows of a task with many ids.
_ARGSREPR_LENGTH = 60


class BrokerError(Exception):
    """The broker did not take a task. Nothing is lost by it: the work stands in the database."""


class Dispatch:
    """Publishes tasks; each call may take seconds when the broker is away, so never call it where somebody waits."""

    def __init__(self, app: Celery) -> None:
        self._app = app

    def send(self, recipient_ids: Sequence[int]) -> None:
        self._publish(SEND, SEND_QUEUE, recipient_ids)

    def feedback(self, notification_ids: Sequence[int]) -> None:
        self._publish(FEEDBACK, FEEDBACK_QUEUE, notification_ids)

    def _publish(self, name: str, queue_name: str, ids: Sequence[int]) -> None:
        try:
            self._app.send_task(
                name, args=[list(ids)], queue=queue_name, argsrepr=shorten(ids), ignore_result=True, retry=False
            )
        except (KombuError, OperationalError, OSError, RedisError) as error:
            raise BrokerError(f"the broker did not take the task ({error})") from error


def shorten(ids: Sequence[int]) -> str:
    """`([4, 5],)` for a few ids, the number of them for many."""
    text = f"({list(ids)},)"
    return text if len(text) <= _ARGSREPR_LENGTH else f"({len(ids)} ids from {ids[0]},)"


class HintThread:
    """One daemon thread that publishes hints from a bounded queue, and drops them when the broker is slow.

    For programs that answer somebody: `offer` never waits and never fails.
    """

    def __init__(self, publish: Callable[[list[int]], None], *, capacity: int = 1000) -> None:
        self._publish = publish
        self._offered: queue.Queue[int | None] = queue.Queue(capacity)
        self._thread = threading.Thread(target=self._loop, name="hints", daemon=True)
        self._thread.start()

    def offer(self, id_: int) -> None:
        try:
            self._offered.put_nowait(id_)
        except queue.Full:
            log.warning("dispatch.hint_dropped", id=id_)

    def stop(self) -> None:
        """Publish what waits, for a short time, and end the thread."""
        try:
            self._offered.put_nowait(None)
        except queue.Full:
            return
        self._thread.join(timeout=3)

    def _loop(self) -> None:
        while True:
            ids, last = self._take()
            if ids:
                try:
                    self._publish(ids)
                except BrokerError as error:
                    log.warning("dispatch.hints_lost", ids=len(ids), error=str(error))
                except Exception:
                    # An unforeseen failure of the broker's library must not end the thread.
                    log.exception("dispatch.hints_lost", ids=len(ids))
            if last:
                return

    def _take(self) -> tuple[list[int], bool]:
        """Wait for one, and take what came with it; whether the end was asked for."""
        ids: list[Any] = [self._offered.get()]
        while len(ids) < 100:  # noqa: PLR2004  the ids of one task
            try:
                ids.append(self._offered.get_nowait())
            except queue.Empty:
                break
        return [id_ for id_ in ids if id_ is not None], None in ids
