from __future__ import annotations

import asyncio
from contextlib import closing
from types import FunctionType

from aiosmtpd.smtp import SMTP

from gateway.smtp.connection import _as_aiosmtpd_begins


def test_a_connection_has_all_that_aiosmtpds_constructor_would_give_it(front, client):
    (connection,) = front.front._connections
    with closing(asyncio.new_event_loop()) as loop:
        made = vars(SMTP(None, hostname="localhost", loop=loop))
    assert made.keys() - vars(connection).keys() == {"_smtp_methods", "_auth_methods"}
    assert (connection.hostname, connection.loop) == ("gw.example.org", front.loop)


def test_connections_share_nothing_that_could_change():
    for name, value in _as_aiosmtpd_begins().items():
        assert value is None or value == {} or isinstance(value, bool | int | str | FunctionType), name
