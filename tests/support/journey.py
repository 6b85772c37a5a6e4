"""A mail to five on its way through front, worker and feedback, in one process that logs as a program does.

`python -m tests.support.journey DIRECTORY ADDRESSES`: what the way leaves on standard error is looked at by a test.
"""

from __future__ import annotations

import json
import os
import sys
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from gateway.addresses import parse_mailbox
from gateway.logs import configure_logs
from gateway.store.notifications import NewNotification
from gateway.store.stores import Stores
from gateway.suppression_policy import Reason
from tasks.feedback import FeedbackProcessor
from tasks.sending import Sender
from tasks.ses import SesClient
from tests.gateway.smtp.running import running_front
from tests.support.mail import mark, rows
from tests.support.payloads import ses as payloads
from tests.support.ses import HttpSes, answer
from tests.support.stores import sqlite_stores

DOMAIN = "recipients.example"
DELIVERED, BOUNCED, REFUSED, DOUBTFUL, SUPPRESSED = (
    f"{name}-local@{DOMAIN}" for name in ("delivered", "bounced", "refused", "doubtful", "suppressed")
)
SUBJECT, BODY, SECRET = "subject-marker", "body-marker", "secret-marker"

_CONTENT = (
    f"From: shop@example.org\r\nTo: {DELIVERED}\r\nSubject: {SUBJECT}\r\nX-Password: {SECRET}\r\n"
    f"Authorization: Basic {SECRET}\r\n\r\n{BODY}\r\n"
).encode()


def walk(directory: Path) -> None:
    stores = sqlite_stores(directory)
    http = HttpSes()
    http.answer = _answer_of(http)
    try:
        with http.running():
            os.environ.update(_aws(http.url))
            _submit(directory, stores)
            _send(stores)
            _report(stores)
    finally:
        stores.close()


def _submit(directory: Path, stores: Stores) -> None:
    with running_front(directory, messages=stores.messages, suppressions=stores.suppressions) as front:
        with front.connect() as client:
            to = [address.encode() for address in (DELIVERED, BOUNCED, REFUSED, DOUBTFUL, SUPPRESSED)]
            assert client.mail(_CONTENT, *to).startswith("250 ")
        with front.connect() as client:  # and what is refused at the door
            assert client.mail(_CONTENT.replace(b"From:", b"X-From:"), *to).startswith("550 ")
        stores.suppressions.add(parse_mailbox(SUPPRESSED), Reason.MANUAL, source="", detail="", actor="")
        with front.connect() as client:
            client.say(b"EHLO client.example.org")
            client.say(b"MAIL FROM:<shop@example.org>")
            assert client.say(f"RCPT TO:<{SUPPRESSED}>".encode()).startswith("550 ")


def _send(stores: Stores) -> None:
    sender = Sender(stores, SesClient("sesgate", threads=2, read_timeout=5), "gateway.example")
    for (id_,) in rows(stores, "SELECT id FROM recipients ORDER BY id"):
        mark(stores, id_)
        sender.send(id_)


def _report(stores: Stores) -> None:
    processor = FeedbackProcessor(stores.notifications)
    attempts = dict(
        rows(stores, "SELECT r.address, a.attempt_id FROM attempts a JOIN recipients r ON r.id = a.recipient_id")
    )
    delivery = {"timestamp": "2026-11-21T22:11:00.000Z", "recipients": [DELIVERED]}
    bounce = payloads.bounce()
    bounce["bouncedRecipients"][0] |= {
        "emailAddress": BOUNCED,
        "diagnosticCode": f"smtp; 550 5.1.1 <{BOUNCED}>: user unknown",
    }
    events = [
        _event("Delivery", attempts[DELIVERED], delivery=delivery),
        _event("Bounce", attempts[BOUNCED], bounce=bounce),
        _event("Send", attempts[DOUBTFUL], send={}),
        _event("Surprise", attempts[DELIVERED], surprise={"to": DELIVERED}),
    ]
    texts = [*map(json.dumps, events), f"no JSON, but {SUBJECT} to {DELIVERED}", json.dumps({"mail": SUBJECT})]
    for number, text in enumerate(texts):
        made = NewNotification(f"sns-{number}", "arn:aws:sns:us-east-1:1:t", text, datetime.now(UTC))
        stored = stores.notifications.store(made)
        assert stored is not None
        processor.process(stored)


def _event(kind: str, attempt_id: str, **members: Any) -> dict[str, Any]:
    made = payloads.event(kind, **members)
    made["mail"]["tags"]["sesgate-attempt"] = [attempt_id]
    made["mail"]["commonHeaders"]["subject"] = SUBJECT
    made["mail"]["headers"] = [{"name": "X-Password", "value": SECRET}]
    return made


def _answer_of(http: HttpSes) -> Any:
    quoting = f"Email address is not valid: {REFUSED}, Somebody <{REFUSED}>"
    answers = {
        REFUSED: answer(400, {"__type": "BadRequestException", "message": quoting}),
        DOUBTFUL: answer(500, {"__type": "InternalFailure", "message": f"could not store for {DOUBTFUL}"}),
    }

    def respond(request: BaseHTTPRequestHandler) -> None:
        (address,) = http.requests[-1][1]["Destination"]["ToAddresses"]
        answers.get(address, answer(200, {"MessageId": f"ses-{len(http.requests)}"}))(request)

    return respond


def _aws(url: str) -> dict[str, str]:
    return {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }


if __name__ == "__main__":
    configure_logs("json", sys.argv[2])  # type: ignore[arg-type]  # the test names one of the three
    walk(Path(sys.argv[1]))
