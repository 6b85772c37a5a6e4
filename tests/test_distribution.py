"""How the tests are shared out between processes: see tests/conftest.py."""

from __future__ import annotations

import socket

import pytest

from tests.conftest import scope_of
from tests.support.ports import free_port


@pytest.mark.parametrize(
    ("test", "scope"),
    [
        ("tests/gateway/test_sns.py::test_a[x]", "tests/gateway/test_sns.py"),
        ("tests/system/test_outages.py::test_a[sqlite-redis]", "tests/system/test_outages.py[sqlite]"),
        ("tests/system/test_outages.py::test_a[postgresql]", "tests/system/test_outages.py[postgresql]"),
        ("tests/system/test_outages.py::test_a", "tests/system/test_outages.py[]"),
        ("tests/chaos/test_rig.py::test_scenario[30]", "tests/chaos"),
        ("tests/chaos/test_checker.py::test_a", "tests/chaos"),
    ],
)
def test_what_shares_servers_stays_in_one_process(test, scope):
    assert scope_of(test) == scope


def test_a_port_is_given_once_and_nobody_listens_on_it():
    with socket.create_server(("127.0.0.1", 0)):
        given = [free_port() for _ in range(20)]
    assert len(set(given)) == len(given)
    for port in given:
        socket.create_server(("127.0.0.1", port)).close()
