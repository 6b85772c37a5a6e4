"""The health check of a container: whether the program in it answers.

Docker calls it in the container, where there is neither curl nor another client:

    probe.py smtp PORT          the front greets
    probe.py http PORT PATH     a GET is answered with 200
    probe.py worker             the Celery worker of this container answers through the broker
    probe.py feedback-queue     the SQS consumer says that it reads

Ends with 0 when it does, with 1 and the reason in one line when it does not, and with 2 on bad usage.
"""

from __future__ import annotations

import http.client
import os
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import closing

_HOST = "127.0.0.1"
_TIMEOUT = 4.0
_WORKER_TIMEOUT = 8.0
_USAGE = "usage: probe.py smtp PORT | http PORT PATH | worker | feedback-queue"


class NotHealthyError(Exception):
    """The program does not answer as it should; the text says what it does instead."""


def probe_smtp(port: str) -> None:
    with socket.create_connection((_HOST, int(port)), timeout=_TIMEOUT) as connection:
        replies = connection.makefile("rb")
        greeting = replies.readline(600)
        connection.sendall(b"QUIT\r\n")
        replies.readline(600)  # leaves the front with a session that ended properly
    if not greeting.startswith(b"220"):
        raise NotHealthyError(f"The front greets with {greeting.decode('ascii', 'replace').strip()!r}.")


def probe_http(port: str, path: str) -> None:
    connection = http.client.HTTPConnection(_HOST, int(port), timeout=_TIMEOUT)
    try:
        connection.request("GET", path)
        status = connection.getresponse().status
    finally:
        connection.close()
    if status != http.HTTPStatus.OK:
        raise NotHealthyError(f"{path} is answered with {status}.")


def probe_worker() -> None:
    """Costs half a second of processor time, so it is not to be asked often."""
    from gateway.broker import find_broker_url, make_app  # noqa: PLC0415  the other probes must not wait for Celery
    from gateway.settings import read_settings  # noqa: PLC0415

    node = f"worker@{socket.gethostname()}"
    app = make_app(find_broker_url(read_settings(os.environ)))
    if not app.control.ping(destination=[node], timeout=_WORKER_TIMEOUT):
        raise NotHealthyError(f"{node} did not answer within {_WORKER_TIMEOUT:.0f} s.")


def probe_feedback_queue() -> None:
    """What the consumer says of itself stands in the database."""
    from gateway.settings import read_settings  # noqa: PLC0415  the other probes must not wait for it
    from gateway.store.control import FEEDBACK_QUEUE, Control  # noqa: PLC0415
    from gateway.store.opening import open_database  # noqa: PLC0415

    settings = read_settings(os.environ)
    with closing(open_database(settings.database, _TIMEOUT)) as database:
        fact = Control(database).get(FEEDBACK_QUEUE) or {"reason": "it has not begun"}
    if not fact.get("reading"):
        raise NotHealthyError(f"The queue is not read: {fact['reason']}")


_PROBES: dict[str, tuple[Callable[..., None], int]] = {
    "smtp": (probe_smtp, 1),
    "http": (probe_http, 2),
    "worker": (probe_worker, 0),
    "feedback-queue": (probe_feedback_queue, 0),
}


def is_known(arguments: Sequence[str]) -> bool:
    """Whether there is such a probe, with that many arguments and a port that is a number."""
    if not arguments or arguments[0] not in _PROBES or len(arguments) - 1 != _PROBES[arguments[0]][1]:
        return False
    return all(port.isascii() and port.isdigit() for port in arguments[1:2])


def main(arguments: Sequence[str]) -> int:
    if not is_known(arguments):
        sys.stderr.write(f"{_USAGE}\n")
        return 2
    name, *rest = arguments
    try:
        _PROBES[name][0](*rest)
    except Exception as error:  # noqa: BLE001  whatever a client library raises: the program does not answer
        sys.stdout.write(f"{error or type(error).__name__}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
