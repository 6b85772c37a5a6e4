"""PHPMailer, which WordPress, Joomla and countless PHP shops send with."""

from __future__ import annotations

from base64 import b64decode
from typing import Any

import pytest

from tests.clients.front import EVERY_WAY, PLAIN, SUPPRESSED, WITH_AUTH, Front, Way
from tests.clients.mails import (
    ONE_SUPPRESSED,
    REFUSAL,
    THE_OTHERS,
    check_content,
    check_dropped,
    check_envelope,
    job,
)
from tests.clients.programs import library, program, script


def send(order: dict[str, Any]) -> dict[str, Any]:
    php = program("php")
    library("PHPMailer", php, "-r", "require 'libphp-phpmailer/autoload.php';")
    return script(php, "phpmailer.php", order)


@pytest.mark.parametrize("way", EVERY_WAY, ids=str)
def test_a_mail_arrives_byte_for_byte(front: Front, way: Way) -> None:
    outcome = send(job(front, way))
    assert (outcome["thrown"], outcome["sent"]) == (None, True)
    stored = front.stored_one()
    check_envelope(stored, way)
    check_content(stored)
    # It sends an empty line more than it says.
    assert stored.content == b64decode(outcome["wire"]) + b"\r\n"


def test_a_refused_recipient_makes_it_throw_although_the_others_get_the_mail(front: Front) -> None:
    """Whoever sends again after that mails the others twice: `drop` is for such applications."""
    outcome = send(job(front, PLAIN, ONE_SUPPRESSED))
    assert SUPPRESSED in outcome["thrown"]
    assert REFUSAL in outcome["thrown"]
    check_envelope(front.stored_one(), PLAIN, THE_OTHERS)


def test_it_throws_when_every_recipient_is_refused(front: Front) -> None:
    assert REFUSAL in send(job(front, PLAIN, (SUPPRESSED,)))["thrown"]
    assert front.stored() == []


def test_with_drop_it_does_not_throw(front: Front) -> None:
    outcome = send(job(front, WITH_AUTH, ONE_SUPPRESSED, front.news))
    assert (outcome["thrown"], outcome["sent"]) == (None, True)
    check_dropped(front.stored_one())
