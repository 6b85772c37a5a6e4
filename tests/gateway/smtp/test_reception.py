from __future__ import annotations

import asyncio
import socket

import pytest

from gateway.setting_values import HostPort, Listener
from gateway.smtp.reception import Reception


def never():
    pytest.fail("no protocol is made for whom the drain turns away")


def test_who_is_accepted_in_the_moment_of_a_drain_is_not_left_hanging():
    """Its task is cancelled before its first step, and then nothing of the task ever runs."""

    async def scenario():
        reception = Reception(Listener(HostPort("127.0.0.1", 0)), never, (), None)
        await reception.open()
        (listening,) = reception.sockets
        with socket.create_connection(listening.getsockname()) as client:
            reception._accept(listening)
            reception.close()
            await reception.wait_closed()
            client.settimeout(10)
            return client.recv(1)

    assert asyncio.run(scenario()) == b""
