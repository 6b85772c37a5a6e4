"""Django's mail, which stands on smtplib and hides what it says of single recipients."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from tests.clients.front import EVERY_WAY, PLAIN, SUPPRESSED, WITH_AUTH, Front, Way
from tests.clients.mails import ONE_SUPPRESSED, THE_OTHERS, check_content, check_dropped, check_envelope, job
from tests.clients.programs import script


def send(order: dict[str, Any]) -> dict[str, Any]:
    return script(sys.executable, "django_mail.py", order)


@pytest.mark.parametrize("way", EVERY_WAY, ids=str)
def test_a_mail_arrives(front: Front, way: Way) -> None:
    assert send(job(front, way)) == {"sent": 1}
    stored = front.stored_one()
    check_envelope(stored, way)
    check_content(stored)


def test_a_refused_recipient_goes_unnoticed_and_the_others_get_the_mail(front: Front) -> None:
    assert send(job(front, PLAIN, ONE_SUPPRESSED)) == {"sent": 1}
    check_envelope(front.stored_one(), PLAIN, THE_OTHERS)


def test_it_raises_when_every_recipient_is_refused(front: Front) -> None:
    assert send(job(front, PLAIN, (SUPPRESSED,))) == {"refused": {SUPPRESSED: 550}}
    assert front.stored() == []


def test_with_drop_it_does_not_raise(front: Front) -> None:
    assert send(job(front, WITH_AUTH, (SUPPRESSED,), front.news)) == {"sent": 1}
    assert front.stored_one().recipients == (SUPPRESSED,)


def test_with_drop_the_others_get_the_mail(front: Front) -> None:
    assert send(job(front, WITH_AUTH, ONE_SUPPRESSED, front.news)) == {"sent": 1}
    check_dropped(front.stored_one())
