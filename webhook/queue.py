"""The SQS consumer: what SES reports, without a public endpoint. Started by `python -m webhook.queue`.

The queue is subscribed to the SNS topic and carries the same signed envelopes that SNS posts to the webhook; both lead
to the same inbox. A message is deleted only after the commit that stores it. What can never be accepted is left for the
queue's redrive policy, which takes it to the dead-letter queue, where a person can look at it.
"""

from __future__ import annotations

import math
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from queue import SimpleQueue
from typing import Protocol

from gateway.logs import get_logger
from gateway.queue_urls import QueueUrlError, check_queue
from gateway.settings import Settings, SettingsError
from gateway.sns_topics import TopicsError
from gateway.store.control import FEEDBACK_QUEUE, Control
from gateway.store.errors import StoreError, StoreUnavailableError
from gateway.store.schema import stamp_of_environment
from gateway.store.stores import Stores
from webhook.composition import load, make_inbox
from webhook.inbox import Inbox, Outcome, Verdict
from webhook.sqs import LONGEST_VISIBILITY, LONGEST_WAIT, Queue, QueueDeniedError, QueueError, SqsMessage

_FAILED = 1
_BAD_USAGE = 2
_SHORTEST_POLL = 0.5  # seconds
_GRACE = 1.0  # seconds that a long poll may still bring something when the end was asked for

log = get_logger("webhook.queue")  # its own name is another when it is the program


@dataclass(frozen=True, slots=True)
class Pace:
    """How long things take, in seconds."""

    wait: int = LONGEST_WAIT
    """How long a call waits at SQS for a message."""
    visibility: int = 120
    """How long nobody else is given a message that is in hand here: longer than a batch takes."""
    first_rest: float = 1.0
    longest_rest: float = 60.0
    """Between two calls while something is wrong."""
    first_retry: float = 30.0
    longest_retry: float = 3600.0
    """Until a message comes again that could not be judged: its certificate may be to be had then."""
    refused: int = 30
    """Until a message comes again that is never accepted, on its way to the dead-letter queue."""


class Source(Protocol):
    """The part of a queue that the consumer uses; every call may raise QueueError."""

    def receive(self, *, wait: int, visibility: int) -> list[SqsMessage]: ...

    def delete(self, messages: Sequence[SqsMessage]) -> None: ...

    def hide(self, messages: Sequence[tuple[SqsMessage, int]]) -> None: ...

    def has_dead_letter_queue(self) -> bool: ...


class Consumer:
    """Reads the queue until it is stopped, whatever goes wrong.

    While the database or SQS is away nothing is received, so that good messages are not counted towards the dead-letter
    queue: `ask_database` raises StoreError as long as nothing can be written. `report` is told why reading does not
    work, and None when it does.
    """

    def __init__(
        self,
        queue: Source,
        inbox: Inbox,
        *,
        ask_database: Callable[[], object],
        report: Callable[[str | None], None] = lambda _trouble: None,
        pace: Pace | None = None,
    ) -> None:
        self._queue = queue
        self._inbox = inbox
        self._ask_database = ask_database
        self._report = report
        self._pace = pace or Pace()
        self._stopping = threading.Event()
        self._polling = threading.Event()
        self._troubles = 0
        self._reading = False
        self._has_dead_letter_queue: bool | None = None

    @property
    def is_polling(self) -> bool:
        """Whether it waits for SQS with no message in hand."""
        return self._polling.is_set()

    def stop(self) -> None:
        """Let `run` return after the batch in hand; a long poll is not waited for by anybody."""
        self._stopping.set()

    def run(self) -> None:
        while not self._stopping.is_set():
            self._stopping.wait(self._turn())
        self._report("it was stopped")

    def _turn(self) -> float:
        """Read and take one batch; how long to rest before the next."""
        try:
            self._prepare()
            began = time.monotonic()
            messages = self._poll()
            waited = time.monotonic() - began
            self._take(messages)
        except (QueueError, StoreError) as error:
            return self._rest(str(error))
        except Exception:
            log.exception("queue.failed")
            return self._rest("Something unforeseen went wrong; the log has it.")
        self._troubles = 0
        # An SQS that does not wait, unlike Amazon's, would be asked as fast as it answers.
        return 0.0 if messages or waited >= _SHORTEST_POLL else self._pace.first_rest

    def _prepare(self) -> None:
        if self._troubles:
            self._ask_database()
        if self._has_dead_letter_queue is None:
            self._has_dead_letter_queue = self._look_for_dead_letter_queue()

    def _look_for_dead_letter_queue(self) -> bool:
        try:
            found = self._queue.has_dead_letter_queue()
        except QueueDeniedError as error:
            log.warning("queue.redrive_policy_unknown", reason=str(error))
            return False
        if not found:
            log.warning(
                "queue.no_dead_letter_queue",
                reason="The queue has no RedrivePolicy: what is refused here stays in it until SQS drops it.",
                action="Give the queue a dead-letter queue, as docs/feedback.md shows.",
            )
        return found

    def _poll(self) -> list[SqsMessage]:
        # The first call of all does not wait, so that it is soon known whether the queue can be read.
        wait = self._pace.wait if self._reading else 0
        self._polling.set()
        try:
            messages = self._queue.receive(wait=wait, visibility=self._pace.visibility)
        finally:
            self._polling.clear()
        self._begin_reading()
        if self._stopping.is_set():
            self._queue.hide([(message, 0) for message in messages])
            return []
        return messages

    def _begin_reading(self) -> None:
        if not self._reading:
            self._reading = True
            log.info("queue.reading")
            self._report(None)

    def _rest(self, reason: str) -> float:
        self._troubles += 1
        seconds = back_off(self._troubles, self._pace.first_rest, self._pace.longest_rest)
        log.warning("queue.not_reading", reason=reason, again_in=round(seconds, 1))
        self._reading = False
        self._report(reason)
        return seconds

    def _take(self, messages: Sequence[SqsMessage]) -> None:
        """StoreUnavailableError when the database did not take some of them."""
        outcomes = self._inbox.read_and_take_all([message.octets for message in messages])
        judged = list(zip(messages, outcomes, strict=True))
        self._queue.delete([message for message, outcome in judged if outcome.is_done])
        left = [(message, outcome) for message, outcome in judged if not outcome.is_done]
        if not self._has_dead_letter_queue and any(outcome.verdict is Verdict.REFUSED for _, outcome in left):
            self._has_dead_letter_queue = self._look_for_dead_letter_queue()  # it may have been given one meanwhile
        for message, outcome in left:
            _log_left(message, outcome)
        self._queue.hide([(message, self._absence(message, outcome)) for message, outcome in left])
        if any(outcome.verdict is Verdict.NOT_STORED for _, outcome in left):
            raise StoreUnavailableError("The database cannot take notifications.")

    def _absence(self, message: SqsMessage, outcome: Outcome) -> int:
        """How many seconds a message that is left stays away."""
        pace = self._pace
        if outcome.verdict is Verdict.REFUSED:
            return pace.refused if self._has_dead_letter_queue else LONGEST_VISIBILITY
        if outcome.verdict is Verdict.NOT_STORED:
            return math.ceil(back_off(message.receives, pace.first_rest, pace.longest_rest))
        return math.ceil(back_off(message.receives, pace.first_retry, pace.longest_retry))


def back_off(times: int, first: float, longest: float) -> float:
    """Seconds after that many failures in a row: doubled each time, with up to a third less so that many part."""
    seconds = min(longest, first * 2.0 ** min(times - 1, 30))
    return seconds * random.uniform(2 / 3, 1)  # noqa: S311  jitter, no secret


def _log_left(message: SqsMessage, outcome: Outcome) -> None:
    told = {"sqs_message_id": message.id, "receives": message.receives, "reason": outcome.reason}
    if outcome.verdict is Verdict.REFUSED:
        log.warning("queue.refused", **told)
    else:
        log.warning("queue.later", **told)


def main() -> int:
    """Read the queue until SIGTERM or SIGINT; the exit code."""
    try:
        consumer, patience = load(_compose)
    except (SettingsError, TopicsError, QueueUrlError) as error:
        return _give_up(error, _BAD_USAGE)
    except StoreError as error:
        return _give_up(error, _FAILED)
    ended: SimpleQueue[int] = SimpleQueue()  # its `put` may be called by a signal handler
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.put(0))
    thread = threading.Thread(target=_run, args=(consumer, ended), name="queue", daemon=True)
    thread.start()
    code = ended.get()
    _end(consumer, thread, patience)
    return code


def _run(consumer: Consumer, ended: SimpleQueue[int]) -> None:
    try:
        consumer.run()
    finally:
        ended.put(_FAILED)


def _end(consumer: Consumer, thread: threading.Thread, patience: float) -> None:
    """Let a batch in hand be finished. A poll has none: its connection ends with this process."""
    consumer.stop()
    deadline = time.monotonic() + patience
    thread.join(_GRACE)
    while thread.is_alive() and not consumer.is_polling and time.monotonic() < deadline:
        thread.join(0.1)


def _compose(settings: Settings, stores: Stores) -> tuple[Consumer, float]:
    url = settings.feedback_queue_url
    if url is None:
        raise SettingsError("SESGATE_FEEDBACK_QUEUE_URL is not set; set it to the URL of the queue to read.")
    inbox = make_inbox(settings, stores, "queue", max_age=None)
    check_queue(url, stamp_of_environment(os.environ))
    consumer = Consumer(
        Queue(url, os.environ),
        inbox,
        ask_database=partial(_write_something, stores.control),
        report=partial(_note, stores.control),
    )
    log.info("queue.starting", queue=str(url))
    return consumer, settings.drain_timeout.total_seconds()


def _write_something(control: Control) -> None:
    """StoreError when the database takes nothing: one on a full disk can be read all the same."""
    control.put(FEEDBACK_QUEUE, control.get(FEEDBACK_QUEUE) or {"reading": False})


def _note(control: Control, trouble: str | None) -> None:
    fact = {"reading": trouble is None, "reason": trouble or "", "since": datetime.now(UTC).isoformat()}
    try:
        control.put(FEEDBACK_QUEUE, fact)
    except StoreError as error:
        log.warning("queue.not_noted", reason=str(error))


def _give_up(error: Exception, code: int) -> int:
    sys.stderr.write(f"{error}\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
