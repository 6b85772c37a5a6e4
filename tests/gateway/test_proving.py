from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.feedback import EventKind
from gateway.lifecycle import Status
from gateway.proving import TRIALS, Link, Seen, is_settled, missing
from gateway.suppression_policy import Reason

BOUNCE = next(trial for trial in TRIALS if trial.local_part == "bounce")
SUCCESS = next(trial for trial in TRIALS if trial.local_part == "success")
WHOLE = Seen(
    accepted=0.1,
    taken=0.2,
    status=Status.BOUNCED,
    reports=frozenset({EventKind.SEND, EventKind.BOUNCE}),
    reported=0.3,
    suppression=Reason.BOUNCE,
    refused=True,
)


@pytest.mark.parametrize(
    ("changes", "link"),
    [
        ({}, None),
        ({"accepted": None, "reply": "550 5.7.1 no"}, Link.DOOR),
        ({"taken": None, "status": Status.QUEUED, "reports": frozenset()}, Link.SENDING),
        ({"taken": None, "status": Status.AMBIGUOUS, "reports": frozenset()}, Link.SENDING),
        # A report proves that SES has it, whatever became of the answer to our call.
        ({"taken": None}, None),
        ({"status": Status.SENT, "reports": frozenset({EventKind.SEND})}, Link.REPORT),
        ({"status": Status.DELIVERED}, Link.STATUS),
        ({"suppression": None}, Link.SUPPRESSION),
        ({"suppression": Reason.COMPLAINT}, Link.SUPPRESSION),
        ({"refused": False}, Link.REFUSAL),
        ({"refused": None}, Link.REFUSAL),
    ],
)
def test_the_first_link_that_did_not_hold_is_named(changes, link):
    assert missing(BOUNCE, replace(WHOLE, **changes), refuses=True) is link


def test_a_gateway_that_drops_suppressed_mail_need_not_refuse_it():
    assert missing(BOUNCE, replace(WHOLE, refused=None), refuses=False) is None


def test_an_address_that_is_fine_must_not_be_suppressed():
    seen = replace(WHOLE, status=Status.DELIVERED, reports=frozenset({EventKind.DELIVERY}))
    assert missing(SUCCESS, seen, refuses=True) is Link.SUPPRESSION
    assert missing(SUCCESS, replace(seen, suppression=None, refused=None), refuses=True) is None


def test_waiting_ends_before_the_recipient_is_tried_again():
    assert is_settled(BOUNCE, replace(WHOLE, refused=None))
    assert not is_settled(BOUNCE, replace(WHOLE, suppression=None))


def test_each_proof_has_addresses_of_its_own():
    assert BOUNCE.address("p1") == "bounce+p1@simulator.amazonses.com"
    assert len({trial.address("x") for trial in TRIALS}) == len(TRIALS)
