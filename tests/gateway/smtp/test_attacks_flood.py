"""A flood of connections: what it may take is bounded, its log included."""

from __future__ import annotations

import pytest
from structlog.testing import CapturingLogger

from gateway.smtp import connections, replies
from gateway.smtp.limits import Limits
from tests.gateway.smtp.running import MESSAGE, Client, running_front
from tests.support.waiting import until


@pytest.fixture
def log(monkeypatch):
    log = CapturingLogger()
    monkeypatch.setattr(connections, "log", log)
    return log


def test_hundreds_of_refused_connections_are_one_line_of_log(tmp_path, log):
    with running_front(tmp_path, limits=Limits(connections=1)) as front:
        with front.connect() as client:
            assert client.begin().startswith("354 ")  # a place that is in use is not given to another
            for _ in range(300):
                with Client(front.port) as refused:
                    assert refused.replies() == [replies.TOO_MANY_CONNECTIONS]
            assert client.say(MESSAGE + b".").startswith("250 ")
        until(lambda: front.connections == 0)
    told = [call.kwargs["refused"] for call in log.calls if call.args == ("smtp.connections_refused",)]
    assert sum(told) <= 300
    assert len(told) < 10  # one in ten seconds


def test_a_client_that_never_reads_is_left(tmp_path):
    """Its replies fill its window, then our buffer; the front stops reading its commands and times it out."""
    with running_front(tmp_path, limits=Limits(idle=0.5, junk_commands=10**9)) as front:
        client = front.connect()
        client.socket.settimeout(0.2)
        with pytest.raises(OSError, match=r"timed out|reset|Broken pipe"):
            client.send(b"EHLO c\r\n" * 10_000_000)
        until(lambda: front.connections == 0, what="the deaf client to be left")
        client.close()
