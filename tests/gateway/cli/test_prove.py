"""`sesgate prove` at a door that is not this gateway's: what answers there is not believed."""

from __future__ import annotations

import json
import socket
import threading
from contextlib import contextmanager

import pytest

from tests.support.mail import accept, rows, status


@contextmanager
def answering(last_reply):
    """A server that takes every mail with the same words."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=_serve, args=(server, last_reply), daemon=True)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)  # which wakes `accept`
    thread.join(timeout=10)


def _serve(server, last_reply):
    while True:
        try:
            connection, _ = server.accept()
        except OSError:
            return
        with connection, connection.makefile("rb") as lines:
            connection.sendall(b"220 elsewhere\r\n")
            in_data = False
            for line in lines:
                if in_data and line != b".\r\n":
                    continue
                starts = line.startswith(b"DATA")
                reply = b"354 go on" if starts else last_reply.encode() if in_data else b"250 fine"
                in_data = starts
                connection.sendall(reply + b"\r\n")
                if line.startswith(b"QUIT"):
                    break


@pytest.fixture
def prove(sesgate):
    def run(port, *arguments, sender="app@example.com"):
        environ = {
            "SESGATE_DATA_DIR": "var",
            "SESGATE_LISTENERS": f"127.0.0.1:{port}",
            "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        }
        arguments = ("prove", "--from", sender, "--only", "success", "--timeout", "1s", "--json", *arguments)
        return sesgate(*arguments, **environ)

    return run


@pytest.mark.parametrize("reply", ["250 2.0.0 Ok: queued as 4cXYZ12345z8", "250 ", "250 OK", "250 queued as \x1b[2J"])
def test_what_another_server_took_is_not_taken_for_ours(prove, stores, reply):
    with answering(reply) as port:
        done = prove(port)
    assert done.exit_code == 1, done.output
    (result,) = json.loads(done.stdout)["results"]
    assert result["missing_link"] == "door"
    assert "is it another program" in result["why"]
    assert result["message"] is None


def test_mail_of_others_that_a_reply_names_is_not_cancelled(prove, stores):
    (recipient,) = accept(stores, "customer@example.com")
    ulid = rows(stores, "SELECT ulid FROM messages")[0][0]
    with answering(f"250 2.0.0 OK: queued as {ulid}") as port:
        done = prove(port)
    assert json.loads(done.stdout)["results"][0]["missing_link"] == "door"
    assert status(stores, recipient) == "QUEUED"
