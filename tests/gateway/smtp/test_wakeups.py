from __future__ import annotations

import asyncio
import threading
from functools import partial

import pytest
import uvloop

from gateway.smtp.wakeups import Patience, WakeUps

LOOPS = pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop])


def run(test, loop_factory=asyncio.new_event_loop):
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(asyncio.wait_for(test(), 20))


async def in_a_thread(call):
    await asyncio.to_thread(call)


@LOOPS
def test_calls_are_made_on_the_loop_in_their_order(loop_factory):
    async def test():
        made = []
        everything = asyncio.Event()
        wakeups = WakeUps(asyncio.get_running_loop())

        def call_many():
            for number in range(1000):
                wakeups.call(lambda number=number: made.append((number, threading.current_thread())))
            wakeups.call(everything.set)

        await in_a_thread(call_many)
        await everything.wait()
        assert made == [(number, threading.current_thread()) for number in range(1000)]

    run(test, loop_factory)


def test_no_call_of_many_threads_is_lost():
    async def test():
        wakeups = WakeUps(asyncio.get_running_loop())
        made, ended = [], asyncio.Semaphore(0)

        def call_many():
            for _ in range(2000):
                wakeups.call(partial(made.append, 1))
            wakeups.call(ended.release)

        await asyncio.gather(*[asyncio.to_thread(call_many) for _ in range(4)])
        for _ in range(4):
            await ended.acquire()
        assert len(made) == 8000

    run(test)


def test_a_burst_is_one_wake_up():
    async def test():
        loop = asyncio.get_running_loop()
        asked = []
        wakeups = WakeUps(loop)
        plain = loop.call_soon_threadsafe
        loop.call_soon_threadsafe = lambda *arguments: (asked.append(arguments), plain(*arguments))[1]
        made = []
        for number in range(10):
            wakeups.call(partial(made.append, number))
        await asyncio.sleep(0)
        assert (made, len(asked)) == (list(range(10)), 1)
        wakeups.call(partial(made.append, 10))
        await asyncio.sleep(0)
        assert (len(made), len(asked)) == (11, 2)

    run(test)


def test_a_call_that_fails_is_told_of_and_takes_no_other_along():
    async def test():
        failures, made = [], []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: failures.append(context["exception"]))
        wakeups = WakeUps(loop)
        wakeups.call(lambda: 1 / 0)
        wakeups.call(partial(made.append, 1))
        await asyncio.sleep(0)
        assert made == [1]
        assert [type(error) for error in failures] == [ZeroDivisionError]

    run(test)


def test_without_its_loop_nothing_is_called():
    loop = asyncio.new_event_loop()
    wakeups = WakeUps(loop)
    loop.close()
    wakeups.call(lambda: 1 / 0)


def test_who_is_answered_in_time_is_not_given_up():
    async def test():
        loop = asyncio.get_running_loop()
        patience = Patience(loop, 0.05)
        given_up, over = [], asyncio.Event()
        answered, late, last = (loop.create_future() for _ in range(3))
        patience.watch(late, partial(given_up.append, "late"))
        patience.watch(answered, partial(given_up.append, "answered"))
        answered.set_result(None)
        patience.watch(last, lambda: (given_up.append("last"), over.set()))
        await over.wait()
        assert given_up == ["late", "last"]

    run(test)


def test_those_that_come_later_have_as_much_patience():
    async def test():
        loop = asyncio.get_running_loop()
        patience = Patience(loop, 0.05)
        first, second = loop.create_future(), loop.create_future()
        given_up = {}
        begun = loop.time()
        patience.watch(first, lambda: given_up.setdefault("first", loop.time()))
        await asyncio.sleep(0.03)
        over = asyncio.Event()
        later = loop.time()
        patience.watch(second, lambda: (given_up.setdefault("second", loop.time()), over.set()))
        await over.wait()
        assert given_up["first"] - begun >= 0.05
        assert given_up["second"] - later >= 0.05

    run(test)


def test_what_is_done_is_not_kept():
    async def test():
        loop = asyncio.get_running_loop()
        patience = Patience(loop, 60)
        for _ in range(1000):
            future = loop.create_future()
            patience.watch(future, lambda: None)
            future.set_result(None)
        assert len(patience._waiting) == 1
        patience._timer.cancel()

    run(test)
