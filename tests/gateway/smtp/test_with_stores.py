"""The front over real stores: what an operator changes is what the next client meets."""

from __future__ import annotations

import re
import smtplib
from datetime import UTC, datetime, timedelta

import pytest

from gateway.addresses import parse_mailbox
from gateway.lifecycle import Status
from gateway.smtp import replies
from gateway.subjects import parse_subject
from gateway.suppression_policy import Reason
from tests.gateway.smtp.admitting import authenticated, plain
from tests.gateway.smtp.running import HOST, MESSAGE, running_front
from tests.support.mail import change
from tests.support.stores import sqlite_stores
from tests.support.waiting import until

OPERATOR = "test"


@pytest.fixture
def stores(tmp_path):
    stores = sqlite_stores(tmp_path)
    yield stores
    stores.close()


@pytest.fixture
def front(tmp_path, stores):
    parts = {"messages": stores.messages, "suppressions": stores.suppressions, "credentials": stores.credentials}
    with running_front(tmp_path, **parts) as running:
        yield running


def may_authenticate(front, secret: str) -> bool:
    with front.connect() as client:
        client.say(b"EHLO c")
        return client.say(b"AUTH PLAIN " + plain(password=secret)) == replies.AUTHENTICATED


def test_a_credential_works_soon_after_it_was_made_and_no_longer_than_it_is_enabled(front, stores):
    secret = stores.credentials.add("shop", application="The shop", actor=OPERATOR)
    until(lambda: may_authenticate(front, secret))
    until(lambda: stores.credentials.find("shop").secrets[0].last_used_at, what="its use to be noted")
    stores.credentials.disable("shop", actor=OPERATOR)
    until(lambda: not may_authenticate(front, secret))


def test_both_secrets_work_while_one_replaces_the_other(front, stores):
    old = stores.credentials.add("shop", application="The shop", actor=OPERATOR)
    new = stores.credentials.rotate("shop", overlap=timedelta(days=1), actor=OPERATOR)
    until(lambda: may_authenticate(front, new))
    assert may_authenticate(front, old)
    stores.credentials.finish_rotation("shop", actor=OPERATOR)
    until(lambda: not may_authenticate(front, old))
    assert may_authenticate(front, new)


def test_mail_over_a_cap_is_for_later_and_says_when(front, stores):
    secret = stores.credentials.add("shop", application="The shop", per_minute=1, actor=OPERATOR)
    until(lambda: may_authenticate(front, secret))
    with authenticated(front, password=secret) as client:
        assert client.mail(MESSAGE).startswith("250 ")
        assert re.fullmatch(
            r"451 4\.7\.1 shop may send to 1 recipients a minute; try again after \d\d:\d\d:\d\d UTC",
            client.mail(MESSAGE),
        )
    assert len(stores.messages.list()) == 1


def test_this_machine_is_the_credential_local_until_that_is_shut(front, stores):
    with smtplib.SMTP(HOST, front.port) as smtp:
        smtp.sendmail("a@example.org", ["b@example.net"], MESSAGE)
    assert stores.messages.list()[0].credential == "local"
    stores.credentials.disable("local", actor=OPERATOR)
    with front.connect() as client:
        client.say(b"EHLO c")
        until(lambda: client.say(b"MAIL FROM:<a@b.test>") == replies.AUTH_REQUIRED or client.say(b"RSET") is None)


def test_a_suppressed_recipient_is_taken_where_it_is_to_be_dropped(front, stores):
    dead = parse_mailbox("dead@example.net")
    stores.suppressions.add(dead, Reason.MANUAL, source="test", detail="", actor=OPERATOR)
    secret = stores.credentials.add("shop", application="The shop", suppressed_recipients="drop", actor=OPERATOR)
    until(lambda: may_authenticate(front, secret))
    with authenticated(front, password=secret) as client:
        assert client.mail(MESSAGE, b"dead@example.net").startswith("250 ")
    [message] = stores.messages.list()
    assert [(one.address, one.status) for one in message.recipients] == [("dead@example.net", Status.QUEUED)]
    assert stores.suppressions.find(dead) is not None


def recipient_reply(client, recipient: str) -> str:
    assert client.say(b"MAIL FROM:<a@b.test>") == replies.SENDER_OK
    reply = client.say(f"RCPT TO:<{recipient}>".encode())
    client.say(b"RSET")
    return re.sub(r"\d{4}-\d\d-\d\d", "DATE", reply)


def test_what_is_suppressed_for_one_credential_others_may_mail(front, stores):
    secret = stores.credentials.add("shop", application="The shop", actor=OPERATOR)
    for text, reason in (("jane@example.net", Reason.UNSUBSCRIBE), ("@dead.example", Reason.BOUNCE)):
        stores.suppressions.add(parse_subject(text), reason, source="", detail="", actor=OPERATOR, scope="shop")
    until(lambda: may_authenticate(front, secret))
    with authenticated(front, password=secret) as client:
        refused = "550 5.7.1 <Jane@example.net>: suppressed (unsubscribe, DATE)"
        assert recipient_reply(client, "Jane@example.net") == refused
        refused = "550 5.1.1 <ann@DEAD.example>: suppressed (bounce, DATE), as is all mail to its domain"
        assert recipient_reply(client, "ann@DEAD.example") == refused
        assert recipient_reply(client, "ann@sub.dead.example") == replies.RECIPIENT_OK
    with front.connect() as client:
        client.say(b"EHLO c")
        assert recipient_reply(client, "jane@example.net") == replies.RECIPIENT_OK
        assert recipient_reply(client, "ann@dead.example") == replies.RECIPIENT_OK


def test_a_suppression_whose_time_is_over_refuses_nobody(front, stores):
    jane = parse_subject("jane@example.net")
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    stores.suppressions.add(jane, Reason.SOFT_BOUNCE, source="", detail="", actor=OPERATOR, expires_at=tomorrow)
    with front.connect() as client:
        client.say(b"EHLO c")
        refused = "550 5.1.1 <jane@example.net>: suppressed (soft-bounce, DATE)"
        assert recipient_reply(client, "jane@example.net") == refused
        change(stores, "UPDATE suppressions SET expires_at = 1")
        assert recipient_reply(client, "jane@example.net") == replies.RECIPIENT_OK
