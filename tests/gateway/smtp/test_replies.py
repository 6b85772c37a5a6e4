"""The words of the refusals. Administrators search for them: a change here is a change for people."""

from __future__ import annotations

import re

import pytest

from gateway.credentials import Credential
from gateway.smtp import replies

_WORDS = {
    "AUTHENTICATED": "235 2.7.0 Authentication succeeded",
    "MAKING_ROOM": ("421 4.3.2 All places are taken, and this connection was idle for the longest time; connect again"),
    "SESSION_TOO_OLD": "421 4.3.2 This session has gone on for too long; connect again",
    "TOO_MANY_FAILED_AUTHS": "421 4.7.0 Too many failed authentications; check the user name and the secret",
    "NOT_ADMITTED_ANY_MORE": (
        "421 4.7.0 What this session authenticated with is not valid any more; connect and authenticate again"
    ),
    "WHO_UNAVAILABLE": "451 4.3.0 It cannot be checked at the moment who may send here; try again later",
    "TOO_MUCH_IN_FLIGHT": "452 4.3.1 Too much mail is arriving at once; try again later",
    "AUTH_UNAVAILABLE": "454 4.7.0 It cannot be checked at the moment who may send here; try again later",
    "AUTH_TOO_LONG": "500 5.5.6 The response is too long",
    "AUTH_UNREADABLE": "501 5.5.2 The response cannot be decoded; it must be base64 as the mechanism wants it",
    "AUTH_SYNTAX": "501 5.5.4 Syntax: AUTH PLAIN or AUTH LOGIN",
    "AUTH_CANCELLED": "501 5.7.0 Authentication was cancelled",
    "AUTH_AGAIN": "503 5.5.1 This session has authenticated already",
    "AUTH_IN_TRANSACTION": "503 5.5.1 A mail transaction is open; say RSET before AUTH",
    "AUTH_MECHANISM": "504 5.5.4 That mechanism is not offered; PLAIN and LOGIN are",
    "AUTH_REQUIRED": "530 5.7.0 Authentication required: say AUTH with a user name and its secret",
    "AUTH_REFUSED": ("535 5.7.8 The user name or the secret is wrong, or sending under it has been switched off"),
    "AUTH_FOR_ANOTHER": ("535 5.7.8 A credential can be used for itself only; leave the authorization identity empty"),
    "AUTH_IN_CLEAR": "538 5.7.11 A secret may be sent over an encrypted connection only; use TLS",
}


@pytest.mark.parametrize(("name", "words"), _WORDS.items())
def test_a_refusal_has_these_words(name, words):
    assert getattr(replies, name) == words


def test_every_reply_is_one_line_with_a_status_that_fits_its_code():
    constants = {name: text for name, text in vars(replies).items() if name.isupper() and isinstance(text, str)}
    for name, text in constants.items():
        if name in ("IDENT", "START_DATA"):
            continue
        assert re.fullmatch(r"([245])\d\d \1\.\d{1,2}\.\d{1,2} [\x20-\x7e]{2,490}", text), name


def test_a_refusal_with_the_longest_names_fits_a_reply():
    long = Credential(name="n" * 64, application="x", senders=tuple(f"{'l' * 60}{n}@{'d' * 60}.org" for n in range(9)))
    address = f"{'l' * 64}@{'d' * 60}.{'e' * 60}.{'f' * 50}.org"
    for reply in (replies.reverse_path_not_allowed(long, address), replies.author_not_allowed(long, address)):
        assert len(reply) <= 510
        assert address in reply
