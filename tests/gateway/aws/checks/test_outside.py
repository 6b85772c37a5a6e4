"""The webhook as SNS meets it: real servers that answer as webhooks and proxies do."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import trustme

from gateway.aws.checks.outside import ask, judge_reply, look_from_outside
from gateway.findings import Ledger, Level
from tests.support.ports import free_port

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
OURS = (403, {}, json.dumps({"status": "refused", "reason": "The body is no envelope."}).encode())
NOT_FOUND = (404, {}, b"<html>nothing</html>")


@contextmanager
def server(answers, tls=None):
    """Answers by method and path; its URL without a path."""

    class Handler(BaseHTTPRequestHandler):
        def _answer(self):
            status, headers, body = answers.get((self.command, self.path), NOT_FOUND)
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = _answer  # noqa: N815  the names that http.server calls

        def log_message(self, *_arguments):
            pass

    listener = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listener.handle_error = lambda *_: None  # a client that does not trust us leaves in the handshake
    if tls is not None:
        listener.socket = tls.wrap_socket(listener.socket, server_side=True)
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"{'http' if tls is None else 'https'}://localhost:{listener.server_port}"
    finally:
        listener.shutdown()
        thread.join()
        listener.server_close()


def judged(answers, path="/sns", *, hears_lately=False):
    with server(answers) as url:
        return judge_reply(url + path, ask(url + path), hears_lately=hears_lately)


@pytest.mark.parametrize(
    ("answers", "level", "word"),
    [
        ({("POST", "/sns"): OURS}, Level.OK, "our webhook answers"),
        ({("GET", "/healthz"): (200, {}, b"{}")}, Level.FAILED, "not at /sns (404)"),
        ({}, Level.FAILED, "something else answers there (404)"),
        ({("POST", "/sns"): (301, {"Location": "https://x/sns/"}, b"")}, Level.FAILED, "redirect to https://x/sns/"),
        ({("POST", "/sns"): (401, {"WWW-Authenticate": "Basic"}, b"")}, Level.OK, "asks for the password"),
        ({("POST", "/sns"): (502, {}, b"<html>")}, Level.FAILED, "proxy does not reach"),
        ({("POST", "/sns"): (200, {}, b"welcome")}, Level.FAILED, "something else"),
        ({("POST", "/sns"): (403, {}, b"<html>Forbidden</html>")}, Level.FAILED, "something else"),
    ],
)
def test_what_answers_is_told_apart(answers, level, word):
    finding = judged(answers)
    assert finding.level is level
    assert word in finding.seen
    assert bool(finding.fix) is (level is Level.FAILED)


def test_a_path_below_another_and_a_query_are_kept():
    assert judged({("POST", "/mail/sns?key=1"): OURS}, "/mail/sns?key=1").level is Level.OK


def test_a_port_on_which_nobody_listens():
    url = f"http://127.0.0.1:{free_port()}/sns"
    reply = ask(url)
    assert reply.trouble == "refused"
    assert judge_reply(url, reply, hears_lately=False).level is Level.FAILED
    assert judge_reply(url, reply, hears_lately=True).level is Level.WARNING


def test_a_name_that_does_not_resolve(monkeypatch):
    def unknown(*_arguments, **_named):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)  # what a real resolver says of it depends on the network
    url = "https://nowhere.invalid/sns"
    finding = judge_reply(url, ask(url), hears_lately=False)
    assert finding.level is Level.FAILED
    assert "nowhere.invalid does not resolve" in finding.seen


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


def context_of(authority, name):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


def test_a_certificate_that_is_not_public_is_a_failure_whatever_arrived_before(authority):
    with server({("POST", "/sns"): OURS}, context_of(authority, "localhost")) as url:
        finding = judge_reply(f"{url}/sns", ask(f"{url}/sns"), hears_lately=True)
    assert finding.level is Level.FAILED
    assert "certificate of localhost is not trusted" in finding.seen
    assert "public authority" in finding.fix


def test_a_certificate_that_is_trusted_is_fine(authority):
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    with server({("POST", "/sns"): OURS}, context_of(authority, "localhost")) as url:
        assert ask(f"{url}/sns", trusting).is_ours


def test_a_password_in_the_address_is_not_shown():
    url = f"http://user:s3cret@127.0.0.1:{free_port()}/sns"
    assert "s3cret" not in repr(judge_reply(url, ask(url), hears_lately=False))


@pytest.mark.parametrize(("minutes", "level"), [(1, Level.WARNING), (60, Level.FAILED), (None, Level.FAILED)])
def test_what_does_not_answer_here_but_hears_sns_is_a_warning(minutes, level):
    ledger = Ledger()
    heard_at = None if minutes is None else NOW - timedelta(minutes=minutes)
    look_from_outside(ledger, f"http://127.0.0.1:{free_port()}/sns", is_well=True, heard_at=heard_at, now=NOW)
    assert ledger.findings[0].level is level


def test_a_webhook_that_is_down_is_not_looked_at_from_outside():
    ledger = Ledger()
    look_from_outside(ledger, "http://127.0.0.1:1/sns", is_well=False, heard_at=None, now=NOW)
    assert ledger.findings[0].seen == "needs webhook"
