"""The courier: takes the outbox of the simulated SNS to the endpoints, with retries."""

from __future__ import annotations

import queue
import threading
import time
from http import HTTPStatus
from typing import Final

import structlog

from gateway.sandbox.carriers import QUEUE_PREFIX, Answer, HttpCarrier, QueueCarrier, as_draft
from gateway.sandbox.config import SandboxConfig
from gateway.sandbox.dead_letters import DeadLetters
from gateway.sandbox.envelopes import Stationery
from gateway.sandbox.outbox import SUBSCRIPTION_CONFIRMATION, Outcome, Parcel
from gateway.sandbox.resources import Resources
from gateway.sandbox.retry_policy import RetryPolicy

_log = structlog.get_logger(__name__)

_THREADS: Final = 6
_IN_FLIGHT: Final = 64
_IDLE: Final = 1.0
_GATHER: Final = 0.005
"""Seconds after a call to wake up, so that many calls cost one look into the outbox."""
_CONFIRMATION_MAX: Final = 4.0
_REST_MAX: Final = 5.0


class Courier:
    """One thread decides and records, a few carry. Nothing is in memory only: the outbox has it until it is done."""

    def __init__(self, config: SandboxConfig, resources: Resources, stationery: Stationery) -> None:
        self._database = resources.database
        self._outbox = resources.outbox
        self._topics = resources.topics
        self._subscriptions = resources.subscriptions
        self._stationery = stationery
        self._http = HttpCarrier(_THREADS)
        self._queues = QueueCarrier(config, resources)
        self._dead_letters = DeadLetters(resources.subscriptions, stationery, self._queues)
        self._bag: queue.SimpleQueue[Parcel | None] = queue.SimpleQueue()
        self._outcomes: queue.SimpleQueue[Outcome] = queue.SimpleQueue()
        self._in_flight: set[int] = set()
        self._resting: dict[str, float] = {}
        self._woken = threading.Event()
        self._stopping = threading.Event()
        # Daemons, for an endpoint that does not answer must not hold up the end: its parcel goes out again next time.
        self._threads = [threading.Thread(target=self._decide, name="sns-courier", daemon=True)]
        self._threads += [
            threading.Thread(target=self._carry, name=f"sns-courier-{number}", daemon=True)
            for number in range(_THREADS)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def wake(self) -> None:
        """There may be something to do."""
        self._woken.set()

    def stop(self) -> None:
        """Take nothing new. What is on its way gets a moment."""
        self._stopping.set()
        self._woken.set()
        for _ in range(_THREADS):
            self._bag.put(None)
        deadline = time.monotonic() + 0.5
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        self._record()
        self._http.close()

    def _decide(self) -> None:
        while not self._stopping.is_set():
            self._woken.clear()
            try:
                self._record()
                pause = self._hand_out()
            except Exception:  # noqa: BLE001 - The thread must live on; the outbox still has everything.
                _log.exception("sandbox_courier_failed")
                pause = _IDLE
            if self._woken.wait(pause):
                self._stopping.wait(_GATHER)

    def _record(self) -> None:
        outcomes: list[Outcome] = []
        while not self._outcomes.empty():
            outcomes.append(self._outcomes.get())
        if outcomes:
            with self._database.transaction():
                self._outbox.record(outcomes)
                for outcome in outcomes:
                    self._dead_letters.keep(outcome)
            self._in_flight.difference_update(outcome.parcel.id for outcome in outcomes)
            self._rest(outcomes)

    def _rest(self, outcomes: list[Outcome]) -> None:
        """An endpoint where nobody listens is left alone for a while: one refused connection speaks for all."""
        for outcome in outcomes:
            if outcome.status is None and outcome.retry_after is not None:
                until = time.time() + min(outcome.retry_after, _REST_MAX)
                self._resting[outcome.parcel.endpoint] = until
            elif outcome.status is not None:
                self._resting.pop(outcome.parcel.endpoint, None)

    def _hand_out(self) -> float:
        """Hand out what is due, and say how long there is nothing more to do."""
        now = time.time()
        self._resting = {endpoint: until for endpoint, until in self._resting.items() if until > now}
        room = _IN_FLIGHT - len(self._in_flight)
        if room < _IN_FLIGHT // 2:
            return _IDLE  # Woken for, as the carriers come back.
        for parcel in self._outbox.due(now, room, resting=self._resting, in_flight=self._in_flight):
            self._in_flight.add(parcel.id)
            self._bag.put(parcel)
        return self._pause(now)

    def _pause(self, now: float) -> float:
        """Until the next parcel is due or an endpoint has rested, a second at most. What is in flight wakes it up."""
        coming = list(self._resting.values())
        next_due = self._outbox.next_due(now)
        if next_due is not None:
            coming.append(next_due)
        return max(0.0, min([_IDLE, *(moment - now for moment in coming)]))

    def _carry(self) -> None:
        while (parcel := self._bag.get()) is not None and not self._stopping.is_set():
            try:
                outcome = self._attempt(parcel)
            except Exception as error:  # noqa: BLE001 - An endpoint that urllib3 cannot even parse; the thread must live on.
                _log.exception("sandbox_delivery_failed", notification=parcel.id)
                outcome = Outcome(parcel, delivered=False, status=None, error=type(error).__name__, retry_after=None)
            self._outcomes.put(outcome)
            self._woken.set()

    def _attempt(self, parcel: Parcel) -> Outcome:
        subscription = self._subscriptions.find(parcel.subscription_arn)
        answer = self._hand_over(parcel, raw=subscription is not None and subscription.raw)
        if parcel.type == SUBSCRIPTION_CONFIRMATION:
            again: float | None = _confirmation_delay(parcel)  # Taken is not yet confirmed: the question is repeated.
        elif answer.taken or not _retryable(answer.status):
            again = None
        else:
            policy = RetryPolicy() if subscription is None else self._topics.retry_policy(subscription)
            again = policy.delay(parcel.attempts + 1)
        return Outcome(parcel, answer.taken, answer.status, answer.error, retry_after=again)

    def _hand_over(self, parcel: Parcel, *, raw: bool) -> Answer:
        request = self._stationery.request(parcel, raw=raw)
        if parcel.endpoint.startswith(QUEUE_PREFIX):
            return self._queues.carry(parcel.endpoint, parcel.topic_arn, as_draft(parcel, request, raw=raw))
        return self._http.carry(parcel.endpoint, request)


def _retryable(status: int | None) -> bool:
    """No answer, 5xx and 429. Every other status is a permanent failure (SNS, message delivery retries)."""
    return status is None or status == HTTPStatus.TOO_MANY_REQUESTS or status >= HTTPStatus.INTERNAL_SERVER_ERROR


def _confirmation_delay(parcel: Parcel) -> float:
    """Every second at first, for a webhook that is just starting; every few seconds later. It never gives up."""
    return min(_CONFIRMATION_MAX, 1.0 + 0.25 * parcel.attempts)
