"""nodemailer, as Node.js applications use it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.clients.front import EVERY_WAY, PLAIN, SUPPRESSED, WITH_AUTH, Front, Way
from tests.clients.mails import (
    ONE_SUPPRESSED,
    RAW,
    RECIPIENTS,
    REFUSAL,
    THE_OTHERS,
    check_content,
    check_dropped,
    check_envelope,
    job,
)
from tests.clients.programs import library, program, script


def send(order: dict[str, Any]) -> dict[str, Any]:
    node = program("node", "nodejs")
    library("nodemailer", node, "-e", "require('nodemailer')")
    return script(node, "nodemailer.js", order)


@pytest.mark.parametrize("way", EVERY_WAY, ids=str)
def test_a_mail_that_it_composes_arrives(front: Front, way: Way) -> None:
    outcome = send(job(front, way))
    stored = front.stored_one()
    assert outcome == {
        "accepted": list(RECIPIENTS),
        "rejected": [],
        "response": f"250 2.0.0 OK: queued as {stored.ulid}",
    }
    check_envelope(stored, way)
    check_content(stored)


def test_a_mail_that_it_is_given_whole_is_kept_byte_for_byte(front: Front) -> None:
    send({**job(front, PLAIN), "as_raw": True})
    assert front.stored_one().content == RAW


def test_a_refused_recipient_is_named_in_the_outcome_and_the_others_get_the_mail(front: Front) -> None:
    outcome = send(job(front, PLAIN, ONE_SUPPRESSED))
    assert (outcome["accepted"], outcome["rejected"]) == (list(THE_OTHERS), [SUPPRESSED])
    check_envelope(front.stored_one(), PLAIN, THE_OTHERS)


def test_it_rejects_when_every_recipient_is_refused(front: Front) -> None:
    outcome = send(job(front, PLAIN, (SUPPRESSED,)))
    assert (outcome["error"], outcome["code"]) == ("EENVELOPE", 550)
    assert REFUSAL in outcome["message"]
    assert front.stored() == []


def test_with_drop_nothing_is_rejected(front: Front) -> None:
    assert send(job(front, WITH_AUTH, ONE_SUPPRESSED, front.news))["rejected"] == []
    check_dropped(front.stored_one())
