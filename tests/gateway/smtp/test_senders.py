from __future__ import annotations

import threading

import pytest

from gateway.preflight import Identities
from tests.gateway.smtp.running import MESSAGE, running_front


class IdentityDouble:
    """Knows what a test tells it; a look at it can be made to hang until the test lets go."""

    def __init__(self):
        self.known = Identities(frozenset({"example.com"}), "eu-west-1")
        self.is_fresh = True
        self.let_go = threading.Event()
        self.let_go.set()

    @property
    def last(self):
        return self.known

    def get(self):
        self.let_go.wait(20)
        return self.known


@pytest.fixture
def identities():
    return IdentityDouble()


def say(tmp_path, identities, content, **settings):
    with running_front(tmp_path, identities=identities, **settings) as front, front.connect() as client:
        reply = client.mail(content)
        identities.let_go.set()
        return reply, len(front.messages.stored)


def sent_as(*fields):
    return "".join(f"{field}\r\n" for field in fields).encode() + b"Subject: Hello\r\n\r\nbody\r\n"


@pytest.mark.parametrize("is_fresh", [True, False])
def test_a_sender_that_ses_would_refuse_is_refused_with_the_fix(tmp_path, identities, is_fresh):
    identities.is_fresh = is_fresh
    reply, stored = say(tmp_path, identities, MESSAGE)
    assert reply == (
        "550 5.7.1 Amazon SES in eu-west-1 does not send for <shop@example.org> in the From header: verify that address"
        " or example.org there (it counts here within two minutes), or use an address of example.com"
    )
    assert stored == 0


@pytest.mark.parametrize(
    ("fields", "blamed"),
    [
        (("From: a@example.com", "Sender: b@bad.test"), "<b@bad.test> in the Sender header"),
        (("From: a@example.com", "Return-Path: <c@bad.test>"), "<c@bad.test> in the Return-Path header"),
        (("From: a@example.com, d@bad.test",), "<d@bad.test> in the From header"),
        (("From: root (Cron)",), "The From header holds no address"),
        (("From: A <a@sub.example.com>", "Sender: b@example.com", "Return-Path: <>"), None),
    ],
)
def test_each_header_that_ses_checks_is_checked(tmp_path, identities, fields, blamed):
    reply, stored = say(tmp_path, identities, sent_as(*fields))
    assert (stored == 1) is (blamed is None)
    assert reply.startswith("250 " if blamed is None else "550 5.7.1 ")
    assert blamed is None or blamed in reply


def test_nothing_is_refused_while_nothing_is_known(tmp_path, identities):
    identities.known = None
    assert say(tmp_path, identities, MESSAGE)[1] == 1


def test_nothing_is_refused_while_the_database_does_not_answer(tmp_path, identities):
    identities.is_fresh = False
    identities.let_go.clear()
    assert say(tmp_path, identities, MESSAGE, gate_timeout="300ms")[1] == 1


def test_what_will_be_rewritten_is_accepted_as_it_came(tmp_path, identities):
    with (
        running_front(tmp_path, identities=identities, rewrite_from="mail@example.com") as front,
        front.connect() as client,
    ):
        assert client.mail(MESSAGE).startswith("250 ")
        assert front.messages.envelopes[0].content == MESSAGE


def test_an_address_for_the_rewriting_that_is_not_verified_itself_helps_nobody(tmp_path, identities, capsys):
    reply, stored = say(tmp_path, identities, MESSAGE, rewrite_from="mail@bad.test")
    assert reply.startswith("550 5.7.1 ")
    assert stored == 0
    assert "mail@bad.test is not verified itself" in capsys.readouterr().out
