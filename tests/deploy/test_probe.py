from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest

from deploy.compose.probe import main
from tests.gateway.smtp.running import running_front
from tests.support.sandbox import free_port
from tests.support.stores import sqlite_stores

SCRIPT = Path(__file__).parents[2] / "deploy" / "compose" / "probe.py"


@contextmanager
def answering(answer):
    """A server whose one client is told `answer`."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            connection, _ = server.accept()
            with connection:
                connection.sendall(answer)
                connection.recv(1000)

        thread = threading.Thread(target=serve)
        thread.start()
        yield str(server.getsockname()[1])
        thread.join()


def test_a_front_that_greets_is_healthy(tmp_path):
    with running_front(tmp_path) as front:
        assert main(["smtp", str(front.port)]) == 0


def test_a_front_that_sends_clients_away_is_not_healthy(capsys):
    with answering(b"421 4.3.2 too busy\r\n") as port:
        assert main(["smtp", port]) == 1
    assert "421 4.3.2 too busy" in capsys.readouterr().out


@pytest.mark.parametrize(("status", "code"), [("200 OK", 0), ("503 Service Unavailable", 1), ("302 Found", 1)])
def test_only_200_is_healthy(status, code):
    with answering(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode()) as port:
        assert main(["http", port, "/readyz"]) == code


@pytest.mark.parametrize("arguments", [["smtp"], ["http", "/readyz"]])
def test_where_nobody_listens_nothing_is_healthy(arguments, capsys):
    assert main([arguments[0], str(free_port()), *arguments[1:]]) == 1
    assert "refused" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("fact", "code", "words"),
    [
        (None, 1, "it has not begun"),
        ({"reading": False, "reason": "There is no queue."}, 1, "The queue is not read: There is no queue."),
        ({"reading": True, "reason": ""}, 0, ""),
    ],
)
def test_the_reader_of_the_queue_is_healthy_when_it_says_that_it_reads(
    monkeypatch, tmp_path, capsys, fact, code, words
):
    for name in [name for name in os.environ if name.startswith("SESGATE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("SESGATE_DATA_DIR", str(tmp_path))
    stores = sqlite_stores(tmp_path)
    if fact is not None:
        stores.control.put("feedback-queue", fact)
    stores.close()
    assert main(["feedback-queue"]) == code
    assert words in capsys.readouterr().out


def test_a_worker_without_a_broker_is_not_healthy(monkeypatch, capsys):
    monkeypatch.setenv("SESGATE_BROKER_URL", f"redis://127.0.0.1:{free_port()}/0")
    assert main(["worker"]) == 1
    assert "refused" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments", [[], ["ftp", "21"], ["smtp"], ["smtp", "port"], ["http", "80"], ["http", "/", "80"], ["worker", "1"]]
)
def test_bad_usage_is_neither_healthy_nor_not(arguments, capsys):
    assert main(arguments) == 2
    assert "usage: probe.py" in capsys.readouterr().err


def test_the_program_needs_nothing_that_is_installed():
    """Only the probe of a worker does, which loads it when it is asked."""
    ran = subprocess.run(
        [sys.executable, "-I", "-S", SCRIPT, "smtp", str(free_port())], capture_output=True, check=False
    )
    assert ran.returncode == 1
    assert b"refused" in ran.stdout
