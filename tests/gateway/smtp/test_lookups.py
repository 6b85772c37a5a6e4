from __future__ import annotations

import asyncio
import subprocess
import sys
import threading

import pytest

from gateway.addresses import parse_mailbox
from gateway.smtp import replies
from gateway.smtp.lookups import LookUps
from gateway.store.errors import StoreUnavailableError
from gateway.suppression_policy import Reason
from tests.gateway.smtp.running import MESSAGE, Suppressed, SuppressionDouble, running_front
from tests.support.waiting import until

BOB, ANN, EVE, DAN = (parse_mailbox(f"{name}@example.net") for name in ("bob", "ann", "eve", "dan"))


class Slow(SuppressionDouble):
    """Answers when it is told to; `groups` are what it was asked at once."""

    def __init__(self):
        super().__init__()
        self.groups = []
        self.go_on = threading.Event()
        self.asked_first = threading.Event()
        self.poison = None

    def find_all(self, wanted):
        self.groups.append([str(mailbox) for mailbox, _ in wanted])
        self.asked_first.set()
        assert self.go_on.wait(20)
        if self.poison in self.groups[-1]:
            raise ValueError(self.poison)
        return super().find_all(wanted)


def run(test, suppressions, patience=20.0):
    async def with_lookups():
        lookups = LookUps(suppressions, patience, asyncio.get_running_loop())
        try:
            await asyncio.wait_for(test(lookups), 20)
        finally:
            suppressions.go_on.set()
            lookups.close()
            if lookups._thread is not None:
                await asyncio.to_thread(lookups._thread.join, 20)
                assert not lookups._thread.is_alive()

    asyncio.run(with_lookups())


async def begun(lookups, suppressions, mailbox=BOB):
    """A look-up that the thread has in hand, so that others have to wait."""
    first = lookups.find(mailbox, "local")
    await asyncio.to_thread(suppressions.asked_first.wait, 20)
    return first


def test_what_waits_is_asked_at_once_and_everybody_gets_his_own_answer():
    slow = Slow()
    slow.by_key["eve@example.net"] = dead = Suppressed(Reason.BOUNCE)

    async def test(lookups):
        first = await begun(lookups, slow)
        others = [lookups.find(mailbox, "local") for mailbox in (ANN, EVE, DAN)]
        slow.go_on.set()
        assert await asyncio.gather(first, *others) == [None, None, dead, None]
        assert slow.groups == [["bob@example.net"], ["ann@example.net", "eve@example.net", "dan@example.net"]]

    run(test, slow)


def test_when_the_database_is_away_each_of_a_group_is_told():
    slow = Slow()
    slow.error = StoreUnavailableError("away")

    async def test(lookups):
        first = await begun(lookups, slow)
        others = [lookups.find(mailbox, "local") for mailbox in (ANN, EVE)]
        slow.go_on.set()
        outcomes = await asyncio.gather(first, *others, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [StoreUnavailableError] * 3
        slow.error = None
        assert await lookups.find(DAN, "local") is None

    run(test, slow)


def test_one_that_fails_takes_no_other_of_its_group_along():
    slow = Slow()
    slow.poison = "eve@example.net"

    async def test(lookups):
        first = await begun(lookups, slow)
        others = [lookups.find(mailbox, "local") for mailbox in (ANN, EVE, DAN)]
        slow.go_on.set()
        ann, eve, dan = await asyncio.gather(*others, return_exceptions=True)
        assert (await first, ann, dan) == (None, None, None)
        assert isinstance(eve, ValueError)

    run(test, slow)


def test_each_has_the_patience_that_is_set_and_is_not_asked_once_it_is_over():
    slow = Slow()

    async def test(lookups):
        first = await begun(lookups, slow)
        second = lookups.find(ANN, "local")
        outcomes = await asyncio.gather(first, second, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [StoreUnavailableError] * 2
        slow.go_on.set()
        assert await lookups.find(EVE, "local") is None
        assert slow.groups == [["bob@example.net"], ["eve@example.net"]]

    run(test, slow, patience=0.05)


def test_one_whose_client_has_left_is_not_asked_for():
    slow = Slow()

    async def test(lookups):
        first = await begun(lookups, slow)
        gone, stays = lookups.find(ANN, "local"), lookups.find(EVE, "local")
        gone.cancel()
        slow.go_on.set()
        assert (await first, await stays) == (None, None)
        assert slow.groups == [["bob@example.net"], ["eve@example.net"]]

    run(test, slow)


def test_a_client_that_leaves_meanwhile_disturbs_nobody():
    slow = Slow()

    async def test(lookups):
        first = await begun(lookups, slow)
        gone, stays = lookups.find(ANN, "local"), lookups.find(EVE, "local")
        first.cancel()
        slow.go_on.set()
        assert await stays is None
        assert await gone is None

    run(test, slow)


def test_more_than_one_group_holds_is_answered_too():
    slow = Slow()

    async def test(lookups):
        await begun(lookups, slow)
        many = [lookups.find(ANN, "local") for _ in range(600)]
        slow.go_on.set()
        assert await asyncio.gather(*many) == [None] * 600
        assert [len(group) for group in slow.groups] == [1, 256, 256, 88]

    run(test, slow)


def test_what_waits_at_the_end_is_answered_and_then_the_thread_ends():
    slow = Slow()

    async def test(lookups):
        first = await begun(lookups, slow)
        second = lookups.find(ANN, "local")
        lookups.close()
        slow.go_on.set()
        assert await asyncio.gather(first, second) == [None, None]
        await asyncio.to_thread(lookups._thread.join, 20)
        assert not lookups._thread.is_alive()

    run(test, slow)


@pytest.mark.parametrize("error", [StoreUnavailableError("away"), ValueError("ours")])
def test_each_of_several_clients_reads_451(tmp_path, error):
    slow = Slow()
    slow.error = error
    with running_front(tmp_path, suppressions=slow) as front:
        clients = [front.connect() for _ in range(4)]
        for number, client in enumerate(clients):
            client.say(b"EHLO c")
            client.say(b"MAIL FROM:<a@example.org>")
            client.send(b"RCPT TO:<r%d@example.net>\r\n" % number)
        until(lambda: slow.groups)
        slow.go_on.set()
        answers = [client.reply() for client in clients]
        assert all(answer.startswith("451 4.3.0 ") for answer in answers)
        slow.error = None
        for client in clients:
            client.say(b"RSET")
            assert client.mail(MESSAGE).startswith("250 ")
            client.close()


def test_a_slow_database_holds_up_neither_the_loop_nor_a_stop(tmp_path):
    slow = Slow()
    with running_front(tmp_path, suppressions=slow) as front, front.connect() as waiting, front.connect() as other:
        waiting.say(b"EHLO c")
        waiting.say(b"MAIL FROM:<a@example.org>")
        waiting.send(b"RCPT TO:<bob@example.net>\r\n")
        until(lambda: slow.groups)
        assert other.say(b"NOOP") == replies.OK
        slow.go_on.set()
        assert waiting.reply() == replies.RECIPIENT_OK


_FAILING = """
import asyncio
from gateway.addresses import parse_mailbox
from gateway.smtp.lookups import LookUps

class Suppressions:
    def find_all(self, wanted):
        return [None for _ in wanted]

async def serve():
    await LookUps(Suppressions(), 20.0, asyncio.get_running_loop()).find(parse_mailbox("bob@example.net"), "local")
    raise LookupError("a failure that nobody foresaw")

asyncio.run(serve())
"""


def test_a_front_that_fails_without_closing_them_ends_all_the_same():
    done = subprocess.run([sys.executable, "-c", _FAILING], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1
    assert "a failure that nobody foresaw" in done.stderr
