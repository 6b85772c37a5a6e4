"""The simulated SNS in a scenario's own hands: reports are signed with the sandbox's key, and delivered until 200.

The sandbox's own deliveries keep no time and no order that a scenario could choose; here every answer is kept.
"""

from __future__ import annotations

import http.client
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from gateway.sandbox import names
from tests.support.by_hand import ByHand
from tests.support.sns import Signer

_TIMEOUT = 15.0  # what SNS waits for an answer
_AGAIN_IN = 1.0

Json = dict[str, Any]


@dataclass(frozen=True)
class Answer:
    """What the webhook said to one delivery: `status` 0 is no answer at all. Times are monotonic."""

    status: int
    began: float
    ended: float

    @property
    def seconds(self) -> float:
        return self.ended - self.began


class Reporter:
    """Delivers to the webhook on `port`, from a few threads. `with` ends them."""

    def __init__(self, programs: ByHand, *, threads: int = 8, patience: float = 120.0) -> None:
        self._port = programs.webhook_port
        self._signer = _signer(programs.directory / names.DIRECTORY)
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="sns")
        self._patience = patience
        self._closing = threading.Event()
        self.answers: list[Answer] = []
        self.given_up = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._closing.set()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def body(self, event: Mapping[str, Any], *, sns_message_id: str | None = None) -> bytes:
        """What SNS posts. Two bodies with one id are one publication that is delivered twice."""
        return self._signer.notification(event, MessageId=sns_message_id or str(uuid.uuid4()))

    def deliver(self, bodies: Iterable[bytes]) -> list[Future[float | None]]:
        """Each until its 200; the future gives the monotonic time of that, None when it was given up."""
        return [self._pool.submit(self._insist, body) for body in bodies]

    def statuses(self) -> Counter[int]:
        return Counter(answer.status for answer in self.answers)

    def _insist(self, body: bytes) -> float | None:
        deadline = time.monotonic() + self._patience
        while not self._closing.is_set():
            answer = self._post(body)
            self.answers.append(answer)
            if answer.status == http.HTTPStatus.OK:
                return answer.ended
            if 400 <= answer.status < 500 or time.monotonic() > deadline:  # SNS never repeats a 4xx
                break
            self._closing.wait(_AGAIN_IN)
        self.given_up += 1
        return None

    def _post(self, body: bytes) -> Answer:
        began, status = time.monotonic(), 0
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=_TIMEOUT)
        try:
            connection.request("POST", "/sns", body, self._signer.headers(body))
            response = connection.getresponse()
            response.read()
            status = response.status
        except (OSError, http.client.HTTPException):
            pass
        finally:
            connection.close()
        return Answer(status, began, time.monotonic())


def _signer(directory: Path) -> Signer:
    """Who signs as the sandbox does: the webhook trusts that key only, and only for the sandbox's topics."""
    key = serialization.load_pem_private_key((directory / names.SIGNING_KEY_FILE).read_bytes(), password=None)
    assert isinstance(key, rsa.RSAPrivateKey)
    certificate = x509.load_pem_x509_certificate((directory / names.SIGNING_CERTIFICATE_FILE).read_bytes())
    url = f"http://127.0.0.1/SimpleNotificationService-{'0' * 32}.pem"
    return Signer(key, certificate, names.REGION, names.TOPIC_ARN, url)


# What SES says of a copy that it accepted, as the oracle lists it.


def event(copy: Mapping[str, Any], kind: str, *, tagged: bool = True) -> Json:
    """A configuration-set event about the copy; without our tag, an identity notification."""
    address, at = copy["recipients"][0], _now()
    mail: Json = {
        "timestamp": at,
        "messageId": copy["id"],
        "source": copy["source"],
        "destination": [address],
        "headersTruncated": False,
        "headers": [],
        "commonHeaders": {},
    }
    if tagged:
        mail["tags"] = {name: [value] for name, value in copy["tags"].items()}
    name = "eventType" if tagged else "notificationType"
    return {name: kind, "mail": mail, kind.lower(): _DETAILS[kind](address, at)}


def _bounce(address: str, at: str) -> Json:
    return {
        "bounceType": "Permanent",
        "bounceSubType": "General",
        "bouncedRecipients": [{"emailAddress": address, "action": "failed", "status": "5.1.1"}],
        "timestamp": at,
        "feedbackId": str(uuid.uuid4()),
    }


def _complaint(address: str, at: str) -> Json:
    return {"complainedRecipients": [{"emailAddress": address}], "timestamp": at, "feedbackId": str(uuid.uuid4())}


_DETAILS = {
    "Send": lambda _address, _at: {},
    "Delivery": lambda address, at: {"timestamp": at, "recipients": [address], "smtpResponse": "250 ok"},
    "Bounce": _bounce,
    "Complaint": _complaint,
}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
