from __future__ import annotations

import socket
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from gunicorn.config import Config
from gunicorn.workers.gthread import ThreadWorker

from gateway.store.schema import migrate
from tests.support.stores import sqlite_settings
from tests.webhook.test_wsgi import ask, environment, running
from webhook.worker import DeadlineThreadWorker

THREADS = 4
UNFINISHED = {
    "request line": b"POST /s",
    "headers": b"POST /sns HTTP/1.1\r\nHost: localhost\r\nX-A: ",
    "body": b"POST /sns HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n{",
    "chunked body": b"POST /sns HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{",
}


@pytest.mark.skipif(sys.platform != "linux", reason="what shutdown does to a waiting reader differs elsewhere")
def test_clients_that_never_finish_a_request_do_not_keep_others_out(tmp_path):
    migrate(sqlite_settings(tmp_path).database, "sandbox")
    environ = environment(tmp_path, PYTHONPATH=str(Path(__file__).parents[2]))
    with (
        running("webhook.wsgi:app", environ, tmp_path, worker="tests.webhook.impatient.ImpatientWorker") as port,
        ExitStack() as stack,
    ):
        for unfinished in UNFINISHED.values():
            for _ in range(THREADS):
                connection = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
                connection.sendall(unfinished)
        assert ask(port, "GET", "/healthz")[0] == 200


def test_gunicorn_is_told_that_the_worker_lives_some_times_a_second_and_not_at_each_event(monkeypatch):
    config = Config()
    config.set("threads", THREADS)
    told = []
    monkeypatch.setattr(ThreadWorker, "notify", lambda _worker: told.append(time.monotonic()))
    worker = DeadlineThreadWorker(1, 0, [], None, 30, config, None)
    try:
        for _ in range(1000):
            worker.notify()
        assert 0 < len(told) < 500
    finally:
        worker.tmp.close()
