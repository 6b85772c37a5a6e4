"""The line of a worker process: what all its tasks are to send, taken by one set of threads without a pause.

A task of many ids that had threads of its own would wait for the slowest of them before the next task begins, and each
of its mails would be three commits. Here one thread sees to the database for all: it reads and begins for as many as
there is room for, and writes down what was accepted, in as few transactions as they fit in. The others only call SES.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from queue import SimpleQueue

from gateway.logs import get_logger
from gateway.store.group_sending import Acceptance
from tasks.sending import Attempt, Begun, Ready, Sender

log = get_logger(__name__)

_AHEAD = 32  # attempts that are begun ahead at most, or as many as threads
_USUAL_TURN, _USUAL_CALL = 0.01, 0.1  # seconds; until there was one
_SHORTEST_CALL = 0.0001
_LATELY = 8  # a mean is that of about so many
_GATHER = 0.01  # seconds that an acceptance waits for others while calls are being made
_GROUP = 64
_LONGEST_AHEAD = 2.0  # seconds that an attempt may be begun ahead, well below what `Sender` still calls for
_LARGEST_ID = 2**63 - 1


class _Task:
    """Ids that came together, until the last of them is done with."""

    def __init__(self, ids: int) -> None:
        self._left = ids
        self._lock = threading.Lock()
        self._done = threading.Event()

    def settle(self) -> None:
        with self._lock:
            self._left -= 1
            if not self._left:
                self._done.set()

    def wait(self) -> None:
        self._done.wait()


class _Mean:
    """Of seconds: of all in the beginning, of the latest later."""

    def __init__(self, usual: float) -> None:
        self.seconds = usual
        self._seen = 0

    def add(self, seconds: float) -> None:
        self._seen = min(self._seen + 1, _LATELY)
        self.seconds += (seconds - self.seconds) / self._seen


@dataclass(frozen=True, slots=True)
class _Item:
    recipient_id: int
    task: _Task | None

    def settle(self) -> None:
        if self.task is not None:
            self.task.settle()


@dataclass(frozen=True, slots=True)
class _Job:
    """What a thread does next; without an attempt it takes the mail the whole way by itself."""

    item: _Item
    attempt: Attempt | None = None


class Line:
    """Takes ids from any thread. Its own threads start with the first of them, so it may be made before a fork."""

    def __init__(self, sender: Sender, threads: int) -> None:
        self._sender = sender
        self._threads = threads
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._changed = threading.Condition()
        self._waiting: deque[_Item] = deque()
        # Read, and touched by the keeping thread only. Without a `Ready` it goes by itself.
        self._ready: deque[tuple[_Item, Ready | None]] = deque()
        self._accepted: list[tuple[_Item, Acceptance]] = []
        self._accepted_since = 0.0
        self._under_way = 0  # handed to the threads and not done
        self._turns = _Mean(_USUAL_TURN)
        self._calls = _Mean(_USUAL_CALL)
        self._draining = False
        self._closing = False
        self._started: list[threading.Thread] = []

    def send(self, recipient_ids: Sequence[int]) -> None:
        """Send to these as far as they are due and ours; returns when what became of each is written down."""
        ids = [id_ for id_ in recipient_ids if _is_id(id_)]
        if ids:
            task = _Task(len(ids))
            self._put([_Item(id_, task) for id_ in ids])
            task.wait()

    def offer(self, recipient_ids: Sequence[int], room: int) -> list[int]:
        """Send to these later, as far as less than `room` wait already; those that found none. Never waits."""
        with self._changed:
            free = max(0, room - len(self._waiting))
        self._put([_Item(id_, None) for id_ in recipient_ids[:free]])
        return list(recipient_ids[free:])

    def drain(self) -> None:
        """Begin nothing more: what waits is left to others. Safe in a signal handler, for it takes no lock."""
        self._draining = True

    def close(self) -> None:
        """Begin nothing more, and wait for the calls that are being made and for their outcomes to be written down."""
        with self._changed:
            self._draining = self._closing = True
            self._changed.notify()
        for thread in self._started:
            thread.join()

    def _put(self, items: list[_Item]) -> None:
        with self._changed:
            if not self._draining and items:
                self._start()
                self._waiting.extend(items)
                self._changed.notify()
                return
        for item in items:
            item.settle()

    def _start(self) -> None:
        """Where the system gives no thread, this raises and nothing waits for one; the next task tries again."""
        while (number := len(self._started)) <= self._threads:
            run = self._call if number else self._keep
            thread = threading.Thread(target=run, name=f"send-{number}" if number else "send-line", daemon=True)
            thread.start()
            self._started.append(thread)

    # The thread that sees to the database

    def _keep(self) -> None:
        while self._wait():
            began = time.monotonic()
            try:
                self._turn()
            except Exception:
                # The thread must live on. What it had in hand lapses, and is found again.
                log.exception("send.line_failed")
            self._turns.add(time.monotonic() - began)
        for _ in range(self._threads):
            self._jobs.put(None)

    def _wait(self) -> bool:
        """Until there is something worth a transaction; False when everything has ended."""
        with self._changed:
            while not self._is_due():
                if self._closing and not self._under_way and not self._accepted:
                    return False
                self._changed.wait(_GATHER if self._accepted else None)
            return True

    def _is_due(self) -> bool:
        if self._accepted and (
            not self._under_way or len(self._accepted) >= _GROUP or time.monotonic() - self._accepted_since >= _GATHER
        ):
            return True
        waiting = len(self._waiting) + len(self._ready)
        return bool(waiting) and (self._draining or self._free() >= min(waiting, self._worthwhile()))

    def _free(self) -> int:
        return self._threads + self._ahead() - self._under_way

    def _ahead(self) -> int:
        """How many attempts are begun that no thread calls for yet: a killed process leaves them in doubt.

        So no more than threads come free until those are begun that had to wait for the turn under way.
        """
        wait = min(2 * self._turns.seconds, _LONGEST_AHEAD)
        return min(max(self._threads, _AHEAD), int(self._threads * wait / max(self._calls.seconds, _SHORTEST_CALL)))

    def _worthwhile(self) -> int:
        return max(1, self._ahead() // 2)

    def _turn(self) -> None:
        """Begin for some and record of others, and let both be one commit. Meanwhile the next ones are read."""
        group = self._take_ready()
        with self._changed:
            accepted, self._accepted = self._accepted, []
        try:
            recorded = self._sender.recording([acceptance for _, acceptance in accepted])
            begun = self._sender.beginning([ready for _, ready in group if ready is not None])
            self._read_more()
            self._hand_out(group, begun())
            recorded()
        except Exception:
            for item, _ in group:
                item.settle()
            raise
        finally:
            for item, _ in accepted:
                item.settle()

    def _take_ready(self) -> list[tuple[_Item, Ready | None]]:
        """As many as there is room for."""
        if self._draining:
            self._let_go()
        if not self._ready:
            self._read_more()
        with self._changed:
            number = min(len(self._ready), max(0, self._free()), _GROUP)
        return [self._ready.popleft() for _ in range(number)]

    def _let_go(self) -> None:
        with self._changed:
            items = [*self._waiting, *(item for item, _ in self._ready)]
            self._waiting.clear()
            self._ready.clear()
        for item in items:
            item.settle()

    def _read_more(self) -> None:
        """Have as many ready as may be begun at once. Nothing is claimed by it: they wait as long as their marks do."""
        with self._changed:
            room = 0 if self._draining else self._threads + self._ahead() - len(self._ready)
            items = [self._waiting.popleft() for _ in range(min(len(self._waiting), room, _GROUP))]
        once = {item.recipient_id: item for item in items}  # twice in a group is once
        read = self._read(once)
        self._ready.extend(read)
        kept = {item.recipient_id for item, _ in read}
        for item in items:
            if item.recipient_id not in kept or item is not once[item.recipient_id]:
                item.settle()

    def _read(self, items: dict[int, _Item]) -> list[tuple[_Item, Ready | None]]:
        try:
            prepared = self._sender.prepare(list(items))
        except Exception:
            # What is begun meanwhile must be called all the same. These were not claimed, and come again.
            log.exception("send.line_failed", recipients=len(items))
            return []
        plain = [(items[ready.candidate.claim.recipient_id], ready) for ready in prepared.ready]
        return [*plain, *((items[recipient_id], None) for recipient_id in prepared.alone)]

    def _hand_out(self, group: list[tuple[_Item, Ready | None]], begun: Begun) -> None:
        """First what is written down already: what goes by itself may take its time."""
        attempts = {attempt.claim.attempt_id: attempt for attempt in begun.attempts}
        called, alone = [], []
        for item, ready in group:
            if ready is not None and ready.candidate.claim.attempt_id in attempts:
                called.append(_Job(item, attempts[ready.candidate.claim.attempt_id]))
            elif ready is None or item.recipient_id in begun.alone:
                alone.append(_Job(item))
            else:
                item.settle()
        self._give(called + alone)

    def _give(self, jobs: list[_Job]) -> None:
        with self._changed:
            self._under_way += len(jobs)
        for job in jobs:
            self._jobs.put(job)

    # The threads that call

    def _call(self) -> None:
        while (job := self._jobs.get()) is not None:
            began, acceptance = time.monotonic(), None
            try:
                if job.attempt is None:
                    self._sender.send(job.item.recipient_id)
                else:
                    acceptance = self._sender.call(job.attempt)
            except Exception:
                # Nobody asks this thread: the row's claim lapses, and the log must have the reason.
                log.exception("send.failed_unforeseen", recipient_id=job.item.recipient_id)
            self._done(job.item, acceptance, time.monotonic() - began)

    def _done(self, item: _Item, acceptance: Acceptance | None, seconds: float) -> None:
        with self._changed:
            self._under_way -= 1
            self._calls.add(seconds)
            if acceptance is not None:
                if not self._accepted:
                    self._accepted_since = time.monotonic()
                self._accepted.append((item, acceptance))
            if self._is_due() or self._closing or len(self._accepted) == 1:
                self._changed.notify()
        if acceptance is None:
            item.settle()


def _is_id(value: object) -> bool:
    """Whether a hint, which may be anybody's, can name a row at all."""
    return type(value) is int and 0 < value <= _LARGEST_ID
