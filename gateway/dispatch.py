"""Handing work over by name: the tasks' names, and ids as their only argument."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from celery import Celery
from kombu.exceptions import KombuError, OperationalError
from redis.exceptions import RedisError

from gateway.broker import FEEDBACK_QUEUE, SEND_QUEUE
from gateway.gathering import Gatherer
from gateway.logs import get_logger

SEND = "sesgate.send"
FEEDBACK = "sesgate.feedback"

log = get_logger(__name__)

# Far more than what is ever on its way where anybody consumes. Looked at this often.
_MOST_TASKS = 500
_LOOK_EVERY = 1.0  # seconds

_HINTS_TOGETHER = 250  # the ids of one task
_HINT_PAUSE = 0.2  # seconds; publishing takes one processor as long as storing a handful of notifications

# What Flower shows of a task with many ids.
_ARGSREPR_LENGTH = 60


class BrokerError(Exception):
    """The broker did not take a task. Nothing is lost by it: the work stands in the database."""


class Dispatch:
    """Publishes tasks; each call may take seconds when the broker is away, so never call it where somebody waits.

    A queue that nobody consumes is not filled without end: it counts as a broker that takes nothing.
    """

    def __init__(self, app: Celery) -> None:
        self._app = app
        self._looked_at: dict[str, float] = {}

    def send(self, recipient_ids: Sequence[int]) -> None:
        self._publish(SEND, SEND_QUEUE, recipient_ids)

    def feedback(self, notification_ids: Sequence[int]) -> None:
        self._publish(FEEDBACK, FEEDBACK_QUEUE, notification_ids)

    def _publish(self, name: str, queue_name: str, ids: Sequence[int]) -> None:
        try:
            self._require_consumers(queue_name)
            self._app.send_task(
                name, args=[list(ids)], queue=queue_name, argsrepr=shorten(ids), ignore_result=True, retry=False
            )
        except (KombuError, OperationalError, OSError, RedisError) as error:
            raise BrokerError(f"the broker did not take the task ({error})") from error

    def _require_consumers(self, queue_name: str) -> None:
        now = time.monotonic()
        if now - self._looked_at.get(queue_name, float("-inf")) < _LOOK_EVERY:
            return
        with self._app.producer_pool.acquire(block=True) as producer:
            channel: Any = producer.channel
            waiting = channel.queue_declare(queue=queue_name).message_count  # Redis has no queue where nothing waits
        if waiting > _MOST_TASKS:
            raise BrokerError(f"{waiting} tasks wait in {queue_name}, and nobody takes them")
        self._looked_at[queue_name] = now


def shorten(ids: Sequence[int]) -> str:
    """`([4, 5],)` for a few ids, the number of them for many."""
    text = f"({list(ids)},)"
    return text if len(text) <= _ARGSREPR_LENGTH else f"({len(ids)} ids from {ids[0]},)"


class HintThread:
    """Publishes hints from a thread of its own, and drops them when the broker is slow.

    For programs that answer somebody: `offer` never waits and never fails. The first hint after a silence goes out at
    once. What follows within `pause` seconds shares a task, which costs no more than each of them alone would.
    """

    def __init__(
        self, publish: Callable[[list[int]], None], *, capacity: int = 1000, pause: float = _HINT_PAUSE
    ) -> None:
        self._publish = publish
        self._hints = Gatherer("hints", self._publish_safely, capacity=capacity, most=_HINTS_TOGETHER, pause=pause)

    def offer(self, id_: int) -> None:
        if not self._hints.offer(id_):
            log.warning("dispatch.hint_dropped", id=id_)

    def stop(self) -> None:
        """Publish what waits, for a short time, and end the thread."""
        self._hints.stop()

    def _publish_safely(self, ids: list[int]) -> None:
        try:
            self._publish(ids)
        except BrokerError as error:
            log.warning("dispatch.hints_lost", ids=len(ids), error=str(error))
