from __future__ import annotations

import pytest

from gateway.guard import captured, guard_warning
from gateway.settings import Settings

RULES = ("qa@example.com", "example.net", ".Example.org", "xn--bcher-kva.example")


@pytest.mark.parametrize("address", ["a@example.com", "a@b.test"])
def test_without_the_guard_everybody_is_sent_to(address):
    assert captured(address, Settings()) is None


def test_capture_only_keeps_all_mail_whoever_is_allowed():
    settings = Settings(capture_only=True, allowed_recipients=("qa@example.com",))
    assert captured("qa@example.com", settings) == "captured: SESGATE_CAPTURE_ONLY is on, and nothing is sent"


@pytest.mark.parametrize(
    ("address", "is_sent"),
    [
        ("qa@example.com", True),
        ("QA@Example.COM", True),
        ('"qa"@example.com', True),
        ("qa+label@example.com", False),
        ("other@example.com", False),
        ("qa@sub.example.com", False),
        ("anybody@example.net", True),
        ("anybody@EXAMPLE.net", True),
        ("anybody@sub.example.net", False),
        ("anybody@notexample.net", False),
        ("anybody@example.net.evil.test", False),
        ("anybody@example.org", True),
        ("anybody@a.b.example.org", True),
        ("anybody@notexample.org", False),
        ("example.net@evil.test", False),
        ('"qa@example.com"@evil.test', False),
        ("anybody@bücher.example", True),
    ],
)
def test_who_is_allowed(address, is_sent):
    reason = captured(address, Settings(allowed_recipients=RULES))
    assert (reason is None) is is_sent
    assert is_sent or reason.startswith("captured: SESGATE_ALLOWED_RECIPIENTS ")


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"capture_only": True}, "none of it is sent"),
        ({"capture_only": True, "allowed_recipients": RULES}, "none of it is sent"),
        ({"allowed_recipients": ("example.net",)}, "to example.net only"),
        ({"allowed_recipients": RULES}, "to qa@example.com, example.net, .Example.org and 1 more only"),
    ],
)
def test_the_guard_says_what_it_does(fields, says):
    assert says in (guard_warning(Settings(**fields)) or "")


def test_a_guard_that_is_off_says_nothing():
    assert guard_warning(Settings()) is None
