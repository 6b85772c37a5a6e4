"""Where a client on this machine finds what listens, and whether it answers."""

from __future__ import annotations

import http.client
from http import HTTPStatus

from gateway.setting_values import HostPort

_TIMEOUT = 2.0


def reachable(address: HostPort) -> HostPort:
    """The address to connect to; a wildcard is none."""
    if not address.is_wildcard:
        return address
    return HostPort("::1" if ":" in address.host else "127.0.0.1", address.port)


def answers(address: HostPort, path: str) -> bool:
    """Whether GET of `path` gives 200; OSError or HTTPException when nothing is there that speaks HTTP."""
    target = reachable(address)
    connection = http.client.HTTPConnection(target.host, target.port, timeout=_TIMEOUT)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == HTTPStatus.OK
    finally:
        connection.close()
