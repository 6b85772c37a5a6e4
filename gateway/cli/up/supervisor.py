"""Keeps the children running, and ends them in order."""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

import zmq
from circus.arbiter import Arbiter
from circus.exc import ConflictError
from tornado.ioloop import IOLoop

from gateway.cli.up.children import Child, Stage
from gateway.cli.up.log import Log
from gateway.cli.up.watcher import ChildWatcher

DRAIN_RESERVE = 5.0
# How much of the reserve beyond the drain time-out a stage may use up; what a stage leaves over is the next one's.
_STAGE_SHARE = {Stage.FRONT: 0.0, Stage.HTTP: 1.0, Stage.WORKERS: 3.0, Stage.GROUND: 4.5}
_CHECK_DELAY = 0.5
_REMIND_EVERY = 3.0
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


class Supervisor:
    """Runs the children until the first signal, drains, and ends at once on the second.

    circus's control sockets are of the kind that exists only inside this process, so nobody else can reach them.
    """

    def __init__(self, children: Sequence[Child], log: Log, drain_timeout: float) -> None:
        self._children = children
        self._log = log
        self._drain_timeout = drain_timeout
        self._drain_wanted = asyncio.Event()
        self._forced = False
        self._watchers: list[ChildWatcher] = []

    async def run(self, meanwhile: Callable[[], Coroutine[Any, Any, None]]) -> int:
        """Start the children and `meanwhile`, and return the exit code: 0 when every child ended by itself."""
        _follow_circus_logs(self._log)
        context = zmq.Context()
        self._watchers = [ChildWatcher(child, self._log, loop=IOLoop.current()) for child in self._children]
        arbiter = Arbiter(
            list(self._watchers),
            "inproc://control",
            "inproc://events",
            check_delay=_CHECK_DELAY,
            context=context,
            loop=IOLoop.current(),
            proc_name="sesgate up",
        )
        self._take_signals()  # After the arbiter, which takes them too.
        background: asyncio.Task[None] | None = None
        try:
            await arbiter.start()
            background = asyncio.create_task(meanwhile())
            await self._drain_wanted.wait()
            background.cancel()
            await self._drain(arbiter)
        finally:
            # Also when something above failed: no child outlives this process.
            for watcher in self._watchers:
                watcher.kill_groups()
            arbiter.stop_controller_and_close_sockets()
            context.destroy(linger=0)
            self._release_signals()
        self._log.say("Everything has ended; the data is kept.")
        return int(self._forced or any(watcher.killed for watcher in self._watchers))

    def _take_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, self._on_signal)

    def _release_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_IGN)  # Only the exit is left; it takes no more orders.

    def _on_signal(self) -> None:
        if not self._drain_wanted.is_set():
            self._log.say("Draining: what was accepted is being finished. Once more ends everything at once.")
            self._drain_wanted.set()
        elif not self._forced:
            self._forced = True
            self._log.say("Ending everything at once.")
            for watcher in self._watchers:
                watcher.graceful_timeout = 0.0
                watcher.kill_groups()

    async def _drain(self, arbiter: Arbiter) -> None:
        # Nothing is started again from here on.
        arbiter.ctrl.caller.stop()
        drain_end = time.monotonic() + self._drain_timeout
        for stage in Stage:
            await self._stop_stage(arbiter, stage, drain_end + _STAGE_SHARE[stage])

    async def _stop_stage(self, arbiter: Arbiter, stage: Stage, deadline: float) -> None:
        watchers = [watcher for watcher in self._watchers if watcher.child.stage is stage]
        for watcher in watchers:
            watcher.graceful_timeout = 0.0 if self._forced else max(0.5, deadline - time.monotonic())
        reminder = asyncio.create_task(self._remind(watchers, deadline))
        try:
            await _when_free(lambda: arbiter.stop_watchers(watcher_iter_func=lambda reverse: watchers))  # noqa: ARG005
        finally:
            reminder.cancel()
        for watcher in watchers:
            if watcher.killed and not self._forced:
                self._log.say(f"{watcher.name} did not end in time and was killed.")

    async def _remind(self, watchers: Sequence[ChildWatcher], deadline: float) -> None:
        while True:
            if alive := [watcher.name for watcher in watchers if watcher.running]:
                left = max(0.0, deadline - time.monotonic())
                self._log.say(f"Waiting for {', '.join(alive)} (at most {left:.0f} s more).")
            await asyncio.sleep(_REMIND_EVERY)


async def _when_free(command: Callable[[], Awaitable[None]]) -> None:
    """Wait while circus refuses a command, as it does during another one; its look after the children is one."""
    while True:
        try:
            await command()
        except ConflictError:
            await asyncio.sleep(0.05)
        else:
            return


class _CircusHandler(logging.Handler):
    def __init__(self, log: Log) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        # The periodic look at the children met a start or a stop that was under way; it comes again.
        if record.exc_info and isinstance(record.exc_info[1], ConflictError):
            return
        self._log.say(record.getMessage())


def _follow_circus_logs(log: Log) -> None:
    logger = logging.getLogger("circus")
    logger.propagate = False
    logger.handlers[:] = [_CircusHandler(log)]
