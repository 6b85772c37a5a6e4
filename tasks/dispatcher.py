"""The dispatcher: the one loop that meters due work into tasks.

One is active in the whole installation, so its rate is the account's rate by construction. It marks what is due in
the database and publishes ids; when the broker is away, or nobody takes a mark up, it does the same work in threads of
its own.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

from gateway.dispatch import Dispatch
from gateway.logs import get_logger
from gateway.store.control import ACCOUNT, PACE, THROTTLE, Lease, LeaseLostError
from gateway.store.errors import StoreUnavailableError
from gateway.store.sending import Outlook
from gateway.store.stores import Stores
from tasks.feedback import FeedbackProcessor
from tasks.housekeeping import Housekeeping
from tasks.lease import LeaseKeeper
from tasks.line import Line
from tasks.pace import BURST_SECONDS, Slowdown, TokenBucket, Window, into_tasks, task_size
from tasks.publisher import Parcel, Publisher

log = get_logger(__name__)

_TICK = 0.05
_PACE_EVERY = 1.0
_UNKNOWN_RATE = 1.0  # a new account's; until GetAccount has answered
_MARKED_SECONDS = 2.0
_TRIFLE = 0.02
_NOTIFICATIONS = 200
_NOTIFICATIONS_PER_TASK = 25  # a task understands them one after the other
_ROOM_HERE = 20_000  # ids that wait in this process while the broker takes none
_OVERDUE_HERE = 4  # for each thread: what one worker left goes to all of them, but for a taste
_CRASH_WAITS = (1.0, 2.0, 5.0, 10.0, 30.0)


@dataclass(frozen=True, slots=True)
class Work:
    """What a dispatcher hands out, and how the same is done without a broker."""

    dispatch: Dispatch
    line: Line
    processor: FeedbackProcessor
    threads: int


class LocalPool:
    """Threads for the work that the broker cannot take; bounded, and full means wait for the next mark."""

    def __init__(self, threads: int) -> None:
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="dispatcher-work")
        self._free = threading.Semaphore(threads * 4)
        self._stopped = False

    def each(self, run: Callable[[int], None]) -> Callable[[list[int]], None]:
        """A function that has `run` called for every id it is given."""

        def submit(ids: list[int]) -> None:
            for id_ in ids:
                if self._stopped or not self._free.acquire(blocking=False):
                    return  # the marks of the rest lapse, and they come again
                with suppress(RuntimeError):  # it was stopped this very moment
                    self._executor.submit(self._run, run, id_)

        return submit

    def stop(self) -> None:
        """End what runs. A publisher that hangs in the broker may still come by, and is turned away."""
        self._stopped = True
        self._executor.shutdown(wait=True, cancel_futures=True)

    def _run(self, run: Callable[[int], None], id_: int) -> None:
        try:
            run(id_)
        except Exception:
            # Nobody asks this future: the row's mark or claim lapses, and the log must have the reason.
            log.exception("dispatcher.work_failed", id=id_)
        finally:
            self._free.release()


class Dispatcher:
    """A thread of the worker's main process. `start` and `stop` it once."""

    def __init__(
        self,
        stores: Stores,
        work: Work,
        housekeeping: Housekeeping,
        *,
        holder: str,
        lease_seconds: float,
        rate_factor: float,
    ) -> None:
        self._stores = stores
        self._work = work
        self._housekeeping = housekeeping
        self._rate_factor = rate_factor
        self._stopping = threading.Event()
        self._keeper = LeaseKeeper(stores.control, holder, lease_seconds, self._stopping)
        self._thread = threading.Thread(target=self._run, name="dispatcher", daemon=True)
        self._ticks = 0

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End the loop, wait for the work done here, and give the lease back."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout=30)

    def _run(self) -> None:
        crashes = 0
        while not self._stopping.is_set():
            began = time.monotonic()
            try:
                self._stand_by_and_serve()
                crashes = 0
            except StoreUnavailableError as error:
                log.warning("dispatcher.store_unavailable", error=str(error))
                self._stopping.wait(1)
            except Exception:
                # The worker must live on, and its dispatcher come back: slower each time it fails at once.
                log.exception("dispatcher.crashed")
                crashes = 0 if time.monotonic() - began > _CRASH_WAITS[-1] else crashes + 1
                self._stopping.wait(_CRASH_WAITS[min(crashes, len(_CRASH_WAITS) - 1)])

    def _stand_by_and_serve(self) -> None:
        lease = self._keeper.wait()
        if lease is None:
            return
        log.info("dispatcher.active", epoch=lease.epoch)
        pool, publisher = LocalPool(self._work.threads), Publisher()
        try:
            with self._keeper.beating(lease, lambda: self._ticks) as lost, self._keeping_house(lease):
                _Loop(self._stores, self._work, lease, pool, publisher, self._rate_factor).run(
                    lambda: self._tick_on(lost)
                )
        except LeaseLostError:
            log.warning("dispatcher.lease_lost", epoch=lease.epoch)
        finally:
            publisher.stop()
            pool.stop()
            self._stores.control.clear_lease(lease)

    def _tick_on(self, lost: threading.Event) -> bool:
        """Count a tick, and sleep until the next; False when there is none to come."""
        self._ticks += 1
        return not lost.is_set() and not self._stopping.wait(_TICK)

    def _keeping_house(self, lease: Lease) -> _Running:
        return _Running("dispatcher-housekeeping", lambda done: self._housekeeping.run(lease, done))


class _Running:
    """A thread for the length of a `with` block."""

    def __init__(self, name: str, run: Callable[[threading.Event], None]) -> None:
        self._done = threading.Event()
        self._thread = threading.Thread(target=run, args=(self._done,), name=name, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join(timeout=30)


class _Loop:
    """One term of office."""

    def __init__(
        self, stores: Stores, work: Work, lease: Lease, pool: LocalPool, publisher: Publisher, rate_factor: float
    ) -> None:
        self._stores = stores
        self._lease = lease
        self._publisher = publisher
        self._rate_factor = rate_factor
        self._publish_send = work.dispatch.send
        self._publish_feedback = work.dispatch.feedback
        self._line = work.line
        self._overdue_here = work.threads * _OVERDUE_HERE
        self._process_here = pool.each(work.processor.process)
        self._bucket = TokenBucket(time.monotonic())
        self._window = Window(time.monotonic())
        self._slowdown = Slowdown(seen=self._throttled_at())  # what was answered before is not ours to heed
        self._account_rate = _UNKNOWN_RATE
        self._paced_at = 0.0
        self._told_rate = 0.0
        self._last_turn = 0  # the credential that was served last
        self._probed_at = 0.0

    def run(self, tick_on: Callable[[], bool]) -> None:
        while tick_on():
            self._dispatch_recipients()
            self._dispatch_notifications()

    def _dispatch_recipients(self) -> None:
        rate = self._rate()
        tokens = self._bucket.available(rate, time.monotonic())
        outlook = self._stores.sending.outlook()
        if not outlook.due or outlook.stopped or not tokens:
            return
        window = self._window_at(rate, tokens, outlook)
        limit = min(tokens, window - outlook.marked)
        if outlook.probing:
            limit = min(limit, self._probe())
        size = task_size(window)
        if limit <= 0 or _can_wait(outlook, window, rate, limit, size):
            return
        due = self._stores.sending.mark_due(self._lease, limit, self._last_turn)
        self._bucket.take(len(due))
        if due:
            self._last_turn = due[-1].credential_id
        # What one consumer took and did not come to is done here a little, so that it goes on whatever the others do.
        overdue = self._line.offer([one.recipient_id for one in due if one.overdue], self._overdue_here)
        fresh = [one.recipient_id for one in due if not one.overdue]
        self._hand_out(into_tasks(overdue + fresh, size), self._publish_send, self._send_here)

    def _window_at(self, rate: float, tokens: int, outlook: Outlook) -> int:
        """How many may be marked and unclaimed now: what the rate allows, as far as the workers claim it."""
        allowed = int(max(1.0, rate * _MARKED_SECONDS))
        window = min(allowed, self._window.size)
        wanted = window < allowed and outlook.marked + tokens > window
        self._window.heed(
            outlook.oldest_mark, self._stores.sending.dispatch_timeout, wanted=wanted, now=time.monotonic()
        )
        return min(allowed, self._window.size)

    def _send_here(self, ids: list[int]) -> None:
        self._line.offer(ids, _ROOM_HERE)  # the marks of the rest lapse, and they come again

    def _dispatch_notifications(self) -> None:
        if not self._stores.notifications.has_due():
            return
        due = self._stores.notifications.mark_due(self._lease, _NOTIFICATIONS)
        fresh = into_tasks([id_ for id_, overdue in due if not overdue], _NOTIFICATIONS_PER_TASK)
        self._hand_out(fresh, self._publish_feedback, self._process_here)
        self._process_here([id_ for id_, overdue in due if overdue])

    def _hand_out(
        self, tasks: list[list[int]], publish: Callable[[list[int]], None], run_here: Callable[[list[int]], None]
    ) -> None:
        for some in tasks:
            if not self._publisher.offer(Parcel(some, publish, run_here)):
                run_here(some)

    def _probe(self) -> int:
        """One mail shows whether the circuit may be closed; the next one goes only some seconds later."""
        now = time.monotonic()
        if now - self._probed_at < _CRASH_WAITS[2]:
            return 0
        self._probed_at = now
        return 1

    def _rate(self) -> float:
        """Recipients a second, now. The facts are read anew once a second."""
        now = time.monotonic()
        if now - self._paced_at >= _PACE_EVERY:
            self._paced_at = now
            account = self._stores.control.get(ACCOUNT)
            self._account_rate = float((account or {}).get("max_send_rate", _UNKNOWN_RATE))
            self._slowdown = self._slowdown.throttled(self._throttled_at(), now)
            self._tell_pace(self._slowdown.current(now))
        return self._account_rate * self._rate_factor * self._slowdown.current(now)

    def _tell_pace(self, factor: float) -> None:
        """The rate in force, for people and monitors; written when it changed by more than a trifle, or is whole."""
        rate = self._account_rate * self._rate_factor * factor
        whole_again = factor >= 1.0 and rate != self._told_rate
        if whole_again or abs(rate - self._told_rate) > self._told_rate * _TRIFLE:
            self._told_rate = rate
            self._stores.control.put(PACE, {"rate": round(rate, 3), "factor": round(factor, 3)})

    def _throttled_at(self) -> float:
        """When SES last told a worker to slow down, in seconds since 1970; 0 if never."""
        throttle = self._stores.control.get(THROTTLE)
        return 0.0 if throttle is None else float(throttle["at"])


def _can_wait(outlook: Outlook, window: int, rate: float, limit: int, size: int) -> bool:
    """Whether a task may be filled up first: there is enough on its way, and the tokens for a whole task will come."""
    return limit < size <= rate * BURST_SECONDS and outlook.marked > window // 2
