"""A webhook of its own: takes what SNS posts, verifies it with `cryptography`, and confirms subscriptions."""

from __future__ import annotations

import base64
import json
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from tests.support.sns import string_to_sign

_HASHES: dict[str, hashes.HashAlgorithm] = {"1": hashes.SHA1(), "2": hashes.SHA256()}


def verify(envelope: dict[str, Any], certificate_pem: bytes) -> None:
    """InvalidSignature unless the key of this certificate signed the envelope."""
    key = x509.load_pem_x509_certificate(certificate_pem).public_key()
    assert isinstance(key, rsa.RSAPublicKey)
    signature = base64.b64decode(envelope["Signature"])
    key.verify(signature, string_to_sign(envelope), padding.PKCS1v15(), _HASHES[envelope["SignatureVersion"]])


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    receiver: Receiver


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    timeout = 5.0  # A kept-alive connection must not hold up the end.
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        status = self.server.receiver.take(dict(self.headers), body)
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name the base class gave it
        """Keep quiet."""


class Receiver:
    """`answers` are the statuses of the next posts that are no confirmations; then it is 200."""

    def __init__(self, *, port: int = 0, confirms: bool = True) -> None:
        self.confirms = confirms
        self.answers: list[int] = []
        self.posts: list[tuple[dict[str, str], bytes]] = []
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", port), _Handler)
        self._server.receiver = self
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def port(self) -> int:
        return int(self._server.server_port)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/sns"

    def take(self, headers: dict[str, str], body: bytes) -> int:
        headers = {name.lower(): value for name, value in headers.items()}
        confirmation = headers["x-amz-sns-message-type"] == "SubscriptionConfirmation"
        with self._lock:
            self.posts.append((headers, body))
            status = self.answers.pop(0) if self.answers and not confirmation else 200
        if confirmation and self.confirms:
            with urllib.request.urlopen(json.loads(body)["SubscribeURL"], timeout=10) as answer:
                answer.read()
        return status

    def envelopes(self, kind: str = "Notification") -> list[dict[str, Any]]:
        """What arrived of this type, in the order of arrival."""
        with self._lock:
            return [json.loads(body) for headers, body in self.posts if headers["x-amz-sns-message-type"] == kind]

    def events(self) -> list[dict[str, Any]]:
        """The SES events inside the notifications."""
        return [json.loads(found["Message"]) for found in self.envelopes() if found["Message"].startswith("{")]

    def event_types(self, message_id: str | None = None) -> list[str]:
        """The types of the events, sorted; of one mail or of all."""
        wanted = (event for event in self.events() if message_id in {None, event["mail"]["messageId"]})
        return sorted(event["eventType"] for event in wanted)

    def verified(self, certificate_file: Path) -> int:
        """How many envelopes arrived, each with a good signature."""
        certificate = certificate_file.read_bytes()
        envelopes = [json.loads(body) for _, body in self.posts]
        for envelope in envelopes:
            verify(envelope, certificate)
        return len(envelopes)
