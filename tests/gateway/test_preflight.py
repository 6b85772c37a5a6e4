from __future__ import annotations

import pytest

from gateway.preflight import Identities, Verdict, as_fact, judge, known_identities, unknown_fact
from gateway.senders import SenderAddress, SenderRewrite
from gateway.smtp.replies import sender_not_verified

VERIFIED = Identities(frozenset({"example.com", "Shop@example.net", "news+weekly@example.net"}), "eu-west-1")
FRESH = as_fact(["example.com"], others=0, region="eu-west-1", at=1000.0)


@pytest.mark.parametrize(
    ("address", "is_covered"),
    [
        ("anybody@example.com", True),
        ("anybody@EXAMPLE.com", True),
        ("anybody@a.b.example.com", True),
        ("anybody@notexample.com", False),
        ("anybody@example.com.evil.test", False),
        ("anybody@com", False),
        ("Shop@example.net", True),
        ("Shop@Example.NET", True),
        ("shop@example.net", False),
        ("Shop+label@example.net", True),
        ("Shop+one+two@example.net", True),
        ("+Shop@example.net", False),
        ("Shop@sub.example.net", False),
        ("news+weekly@example.net", True),
        ("news@example.net", False),
        ("news+daily@example.net", False),
        ('"a@b"@example.com', True),
        ("example.com", False),
        ("@example.com", False),
        ("root", False),
        (f"a@{'a.' * 50_000}example.com", False),
        ("", False),
    ],
)
def test_what_an_identity_covers(address, is_covered):
    assert VERIFIED.cover(address) is is_covered


@pytest.mark.parametrize(
    ("fact", "simulated", "now", "is_known"),
    [
        (FRESH, False, 1000.0, True),
        (FRESH, True, 1000.0, True),
        (FRESH, False, 1299.0, True),
        (FRESH, False, 1301.0, False),
        (FRESH, False, 699.0, False),
        (None, False, 1000.0, False),
        (unknown_fact("AccessDenied", 1000.0), False, 1000.0, False),
        (as_fact([], others=0, region="eu-west-1", at=1000.0), False, 1000.0, True),
        (as_fact([], others=0, region="us-east-1", at=1000.0), True, 1000.0, False),
        (as_fact([], others=1, region="us-east-1", at=1000.0), True, 1000.0, True),
        ({}, False, 1000.0, False),
    ],
    ids=[
        "fresh",
        "fresh and simulated",
        "minutes old",
        "stale",
        "from a clock far ahead",
        "never listed",
        "may not be listed",
        "an account without identities sends nothing",
        "the simulation without identities sends everything",
        "the simulation with one that waits",
        "of another release",
    ],
)
def test_only_what_is_surely_known_refuses(fact, simulated, now, is_known):
    assert (known_identities(fact, is_simulated=simulated, now=now) is not None) is is_known


def test_the_domains_of_identities_ignore_case():
    fact = as_fact(["Example.COM", "Shop@Example.NET"], others=0, region="eu-west-1", at=0.0)
    assert fact["identities"] == ["Shop@example.net", "example.com"]


FINE, BAD = SenderAddress("From", "a@example.com"), SenderAddress("Sender", "b@bad.test")


@pytest.mark.parametrize(
    ("senders", "identities", "rewrite_from", "verdict"),
    [
        ((FINE,), VERIFIED, None, Verdict()),
        ((FINE,), VERIFIED, "mail@example.com", Verdict()),
        ((), VERIFIED, None, Verdict()),
        ((FINE, BAD), None, None, Verdict()),
        ((FINE, BAD), None, "mail@example.com", Verdict()),
        ((FINE, BAD), VERIFIED, None, Verdict(refused=BAD)),
        ((FINE, BAD), VERIFIED, "mail@unverified.test", Verdict(refused=BAD)),
        (
            (FINE, BAD),
            VERIFIED,
            "mail@example.com",
            Verdict(rewrite=SenderRewrite(frozenset({"b@bad.test"}), "mail@example.com")),
        ),
    ],
)
def test_the_verdict(senders, identities, rewrite_from, verdict):
    assert judge(senders, identities, rewrite_from) == verdict


@pytest.mark.parametrize(
    ("sender", "identities", "reply"),
    [
        (
            BAD,
            VERIFIED,
            (
                "550 5.7.1 Amazon SES in eu-west-1 does not send for <b@bad.test> in the Sender header: verify that"
                " address or bad.test there (it counts here within two minutes), or use an address of example.com or"
                " Shop@example.net or news+weekly@example.net"
            ),
        ),
        (
            SenderAddress("From", "root"),
            Identities(frozenset({"example.com"}), "eu-west-1"),
            "550 5.7.1 The From header holds no address that Amazon SES could verify: use an address of example.com",
        ),
        (
            SenderAddress("From", "a\r\n250 OK@bad.test"),
            Identities(frozenset(), "eu-west-1"),
            "550 5.7.1 The From header holds no address that Amazon SES could verify: use a verified one",
        ),
    ],
)
def test_the_reply_names_the_header_and_the_fix(sender, identities, reply):
    assert sender_not_verified(sender, identities) == reply


def test_the_reply_fits_into_its_line_whatever_the_address():
    long = SenderAddress("Return-Path", f"{'l' * 64}@{'.'.join(['d' * 60] * 3)}.test")
    reply = sender_not_verified(long, VERIFIED)
    assert len(reply) <= 510
    assert long.address in reply
