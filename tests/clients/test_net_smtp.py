"""Perl's Net::SMTP."""

from __future__ import annotations

from typing import Any

import pytest

from tests.clients.front import EVERY_WAY, PLAIN, SUPPRESSED, WITH_AUTH, Front, Way
from tests.clients.mails import ONE_SUPPRESSED, RAW, REFUSAL, THE_OTHERS, check_dropped, check_envelope, job
from tests.clients.programs import library, program, script


def send(order: dict[str, Any]) -> dict[str, Any]:
    perl = program("perl")
    library("Net::SMTP with TLS and AUTH", perl, "-MNet::SMTP", "-MIO::Socket::SSL", "-MAuthen::SASL", "-e1")
    return script(perl, "net_smtp.pl", order)


@pytest.mark.parametrize("way", EVERY_WAY, ids=str)
def test_a_mail_is_kept_byte_for_byte(front: Front, way: Way) -> None:
    outcome = send(job(front, way))
    stored = front.stored_one()
    assert outcome["response"].rstrip() == f"2.0.0 OK: queued as {stored.ulid}"
    check_envelope(stored, way)
    assert stored.content == RAW


def test_a_refused_recipient_makes_recipient_return_false(front: Front) -> None:
    """So the usual `or die` gives up the whole mail."""
    outcome = send(job(front, PLAIN, ONE_SUPPRESSED))
    assert (outcome["accepted"], outcome["code"]) == ([0], "550")
    assert REFUSAL in outcome["message"]
    assert front.stored() == []


def test_with_skip_bad_the_others_get_the_mail(front: Front) -> None:
    outcome = send({**job(front, PLAIN, ONE_SUPPRESSED), "skip_bad": True})
    assert outcome["accepted"] == list(THE_OTHERS)
    check_envelope(front.stored_one(), PLAIN, THE_OTHERS)


def test_with_skip_bad_nobody_is_returned_when_every_recipient_is_refused(front: Front) -> None:
    assert send({**job(front, PLAIN, (SUPPRESSED,)), "skip_bad": True})["accepted"] == []
    assert front.stored() == []


def test_with_drop_nothing_is_refused(front: Front) -> None:
    send(job(front, WITH_AUTH, ONE_SUPPRESSED, front.news))
    check_dropped(front.stored_one())
