"""Messages that wait for the store; what clients see of it is in `test_handler` and `test_with_stores`."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future

import pytest

from gateway.smtp import commits as module
from gateway.smtp.commits import Commits
from tests.support.mail import FACTS, envelope


class Messages:
    def __init__(self):
        self.future = Future()

    def submit(self, *_):
        self.future.set_running_or_notify_cancel()
        return self.future


@pytest.fixture
def broken_log(monkeypatch):
    class Broken:
        def info(self, *_, **__):
            raise ValueError("I/O operation on closed file")

    monkeypatch.setattr(module, "log", Broken())


@pytest.mark.usefixtures("broken_log")
def test_a_line_that_cannot_be_written_keeps_no_client_waiting():
    async def test():
        loop, messages, told = asyncio.get_running_loop(), Messages(), []
        loop.set_exception_handler(lambda _, context: told.append(str(context["exception"])))
        accepted = asyncio.create_task(Commits(messages, 20.0, loop).accept(envelope(), FACTS, None))
        await asyncio.sleep(0)
        messages.future.set_result("01ARZ3NDEKTSV4RRFFQ69G5FAV")
        assert await asyncio.wait_for(accepted, 20) == "01ARZ3NDEKTSV4RRFFQ69G5FAV"
        assert told == ["I/O operation on closed file"]

    asyncio.run(test())
