from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from gateway.addresses import parse_mailbox
from gateway.store.control import CIRCUIT, PAUSE, Lease, LeaseLostError
from gateway.store.sending import Due, take_turns
from gateway.store.suppression_rows import Suppression
from gateway.subjects import parse_subject
from gateway.suppression_policy import Reason
from tests.gateway.store.test_notifications import apply, complaint
from tests.support.mail import (
    CONTENT,
    accept,
    begun,
    change,
    claimed,
    column,
    lease_of,
    mark,
    rows,
    status,
)

NO_WAIT = timedelta(0)


def lapse(stores, id_):
    change(stores, "UPDATE recipients SET claimed_until = 1 WHERE id = ?", id_)


def attempts(stores, id_):
    return rows(stores, "SELECT outcome, detail, ses_message_id FROM attempts WHERE recipient_id = ? ORDER BY id", id_)


# Claims


def test_only_a_marked_recipient_can_be_claimed(stores):
    (id_,) = accept(stores)
    assert stores.sending.claim(id_) is None
    mark(stores, id_, seconds=-1)
    assert stores.sending.claim(id_) is None
    assert status(stores, id_) == "QUEUED"
    mark(stores, id_)
    claim = stores.sending.claim(id_)
    assert (claim.recipient_id, claim.address, claim.attempts) == (id_, "a@example.com", 0)
    assert len(bytes.fromhex(claim.attempt_id)) == 16
    assert claim.origin.helo == "erp.example.org"
    assert status(stores, id_) == "SENDING"
    assert stores.sending.content(claim) == CONTENT


@pytest.mark.parametrize("key", [PAUSE, CIRCUIT])
@pytest.mark.parametrize("lasting", [None, timedelta(hours=1)])
def test_nothing_is_claimed_or_marked_while_sending_is_stopped(stores, key, lasting):
    (id_,) = accept(stores)
    mark(stores, id_)
    stores.control.put(key, {}, lasting=lasting)
    assert stores.sending.claim(id_) is None
    change(stores, "UPDATE recipients SET dispatched_until = NULL")
    assert stores.sending.mark_due(lease_of(stores), 10) == []
    assert stores.sending.outlook().stopped
    stores.control.remove(key)
    assert not stores.sending.outlook().stopped
    assert stores.sending.mark_due(lease_of(stores), 10) == [Due(id_, overdue=False, credential_id=1)]
    assert stores.sending.claim(id_) is not None


def test_a_recipient_that_waits_for_its_time_is_neither_marked_nor_claimed(stores):
    (id_,) = accept(stores)
    change(stores, "UPDATE recipients SET next_attempt_at = next_attempt_at + 60000000")
    mark(stores, id_)
    assert stores.sending.claim(id_) is None
    assert not stores.sending.outlook().due
    change(stores, "UPDATE recipients SET dispatched_until = NULL")
    assert stores.sending.mark_due(lease_of(stores), 10) == []


def test_of_many_claims_at_once_one_succeeds(stores):
    (id_,) = accept(stores)
    mark(stores, id_)
    with ThreadPoolExecutor(12) as pool:
        claims = list(pool.map(stores.sending.claim, [id_] * 120))
    assert sum(claim is not None for claim in claims) == 1


@pytest.mark.parametrize("id_", [0, -1, 999, 2**62])
def test_a_forged_hint_does_nothing(stores, id_):
    accept(stores)
    assert stores.sending.claim(id_) is None


def test_a_hint_that_is_repeated_after_the_sending_does_nothing(stores):
    (id_,) = accept(stores)
    stores.sending.accepted(begun(stores, id_), "ses-1")
    mark(stores, id_)
    assert stores.sending.claim(id_) is None
    assert status(stores, id_) == "SENT"


# Attempts


def test_the_attempt_is_written_before_the_call(stores):
    (id_,) = accept(stores)
    claim = begun(stores, id_)
    assert rows(stores, "SELECT attempt_id, recipient_id, outcome, finished_at FROM attempts") == [
        (claim.attempt_id, id_, None, None)
    ]
    assert column(stores, id_, "attempts") == 1


def test_beginning_an_attempt_extends_the_claim_to_the_claims_lease(stores):
    (id_,) = accept(stores)
    claim = claimed(stores, id_)
    before = column(stores, id_, "claimed_until") - column(stores, id_, "changed_at")
    assert before == 5_000_000
    stores.sending.begin_attempt(claim)
    (started,) = rows(stores, "SELECT started_at FROM attempts")[0]
    assert column(stores, id_, "claimed_until") - started == 120_000_000


def test_the_suppressions_are_asked_once_more_before_the_call(stores):
    (id_,) = accept(stores, "Bob@Example.com")
    claim = claimed(stores, id_)
    stores.suppressions.add(parse_mailbox("bob@example.COM"), Reason.COMPLAINT, source="test", detail="", actor="test")
    found = stores.sending.begin_attempt(claim)
    assert isinstance(found, Suppression)
    assert found.reason is Reason.COMPLAINT
    assert status(stores, id_) == "SUPPRESSED"
    assert column(stores, id_, "reason").startswith("suppressed (complaint, ")
    assert column(stores, id_, "ended_at") is not None
    assert attempts(stores, id_) == []


@pytest.mark.parametrize(
    ("text", "scope", "reason"),
    [("@example.com", "", "suppressed (manual, DATE, with its whole domain)"), ("bob@example.com", "local", None)],
)
def test_the_last_question_is_about_the_domain_and_the_credential_too(stores, text, scope, reason):
    (id_,) = accept(stores, "Bob@Example.com")
    claim = claimed(stores, id_)
    stores.suppressions.add(parse_subject(text), Reason.MANUAL, source="", detail="", actor="jane", scope=scope)
    assert isinstance(stores.sending.begin_attempt(claim), Suppression)
    spoken = re.sub(r"\d{4}-\d\d-\d\d", "DATE", column(stores, id_, "reason"))
    assert (status(stores, id_), spoken) == ("SUPPRESSED", reason or "suppressed (manual, DATE)")


def test_what_is_suppressed_for_another_credential_or_has_expired_is_sent(stores):
    stores.credentials.add("shop", application="The shop", actor="jane")
    (id_,) = accept(stores, "bob@example.com")
    claim = claimed(stores, id_)
    bob = parse_mailbox("bob@example.com")
    stores.suppressions.add(bob, Reason.COMPLAINT, source="", detail="", actor="jane", scope="shop")
    stores.suppressions.add(bob, Reason.SOFT_BOUNCE, source="", detail="", actor="jane")
    change(stores, "UPDATE suppressions SET expires_at = 1 WHERE scope = ''")
    assert stores.sending.begin_attempt(claim) is True


def test_mail_is_not_sent_when_the_complaint_is_stored_before_its_attempt(stores):
    """The worker has claimed it and read its content; the attempt is what comes next."""
    earlier, about_to_go = accept(stores, "bob@example.com"), accept(stores, "Bob@example.com")
    sent = begun(stores, *earlier)
    stores.sending.accepted(sent, "ses-1")
    claim = claimed(stores, *about_to_go)
    assert stores.sending.content(claim) is not None
    apply(stores, complaint(sent.attempt_id))
    assert isinstance(stores.sending.begin_attempt(claim), Suppression)
    assert status(stores, *about_to_go) == "SUPPRESSED"
    assert attempts(stores, *about_to_go) == []


def test_a_claim_that_was_given_to_another_cannot_begin(stores):
    (id_,) = accept(stores)
    slow = claimed(stores, id_)
    lapse(stores, id_)
    assert stores.sweeping.sweep_lapsed(lease_of(stores)) == (1, 0)
    assert stores.sending.begin_attempt(slow) is False
    quick = claimed(stores, id_)
    assert stores.sending.begin_attempt(slow) is False
    assert stores.sending.begin_attempt(quick) is True
    assert stores.sending.begin_attempt(slow) is False
    assert len(attempts(stores, id_)) == 1


# Outcomes


def test_accepted_is_sent(stores):
    (id_,) = accept(stores)
    stores.sending.accepted(begun(stores, id_), "ses-1")
    assert status(stores, id_) == "SENT"
    assert column(stores, id_, "reason") == ""
    assert column(stores, id_, "ended_at") is None
    assert attempts(stores, id_) == [("accepted", "ses-1", "ses-1")]


def test_refused_has_failed_with_the_reason(stores):
    (id_,) = accept(stores)
    stores.sending.refused(begun(stores, id_), "SES answered BadRequestException: Illegal address")
    assert status(stores, id_) == "FAILED"
    assert column(stores, id_, "reason") == "SES answered BadRequestException: Illegal address"
    assert column(stores, id_, "ended_at") is not None
    assert attempts(stores, id_) == [("refused", "SES answered BadRequestException: Illegal address", None)]


def test_a_message_without_content_fails_without_an_attempt(stores):
    (id_,) = accept(stores)
    claim = claimed(stores, id_)
    change(stores, "DELETE FROM contents")
    assert stores.sending.content(claim) is None
    stores.sending.refused(claim, "the content is not kept any more")
    assert status(stores, id_) == "FAILED"
    assert attempts(stores, id_) == []


def test_ambiguous_waits_with_its_reason(stores):
    (id_,) = accept(stores)
    stores.sending.ambiguous(begun(stores, id_), "ReadTimeoutError")
    assert status(stores, id_) == "AMBIGUOUS"
    assert column(stores, id_, "reason") == "ReadTimeoutError"
    mark(stores, id_)
    assert stores.sending.claim(id_) is None


@pytest.mark.parametrize(("counts", "attempted"), [(True, 1), (False, 0)])
def test_released_is_queued_again_for_its_time_and_counted_or_not(stores, counts, attempted):
    (id_,) = accept(stores)
    claim = begun(stores, id_)
    stores.sending.released(claim, "away", wait=timedelta(minutes=10), counts=counts)
    assert status(stores, id_) == "QUEUED"
    assert column(stores, id_, "attempts") == attempted
    assert column(stores, id_, "reason") == "away"
    assert column(stores, id_, "next_attempt_at") - column(stores, id_, "changed_at") > 599_000_000
    assert attempts(stores, id_) == [("not accepted", "away", None)]
    mark(stores, id_)
    assert stores.sending.claim(id_) is None


@pytest.mark.parametrize("outcome", ["accepted", "refused", "ambiguous", "released"])
def test_an_answer_that_comes_after_the_claim_lapsed_still_counts(stores, outcome):
    (id_,) = accept(stores)
    claim = begun(stores, id_)
    lapse(stores, id_)
    assert stores.sweeping.sweep_lapsed(lease_of(stores)) == (0, 1)
    assert status(stores, id_) == "AMBIGUOUS"
    _finish(stores, outcome, claim)
    assert (
        status(stores, id_)
        == {
            "accepted": "SENT",
            "refused": "FAILED",
            "ambiguous": "AMBIGUOUS",
            "released": "QUEUED",
        }[outcome]
    )


@pytest.mark.parametrize("outcome", ["refused", "ambiguous", "released"])
def test_a_late_answer_says_nothing_about_the_attempt_of_another(stores, outcome):
    (id_,) = accept(stores)
    late = begun(stores, id_)
    change(stores, "UPDATE recipients SET status = 'QUEUED', claimed_until = NULL")
    begun(stores, id_)
    _finish(stores, outcome, late)
    assert status(stores, id_) == "SENDING"
    assert column(stores, id_, "attempts") == 2
    assert attempts(stores, id_)[0][0] is not None


def test_a_late_acceptance_is_evidence_whoever_holds_the_claim(stores):
    (id_,) = accept(stores)
    late = begun(stores, id_)
    change(stores, "UPDATE recipients SET status = 'QUEUED', claimed_until = NULL")
    current = begun(stores, id_)
    stores.sending.accepted(late, "ses-1")
    assert status(stores, id_) == "SENT"
    stores.sending.released(current, "away", wait=NO_WAIT)
    assert status(stores, id_) == "SENT"


def _finish(stores, outcome, claim):
    if outcome == "accepted":
        stores.sending.accepted(claim, "ses-1")
    elif outcome == "released":
        stores.sending.released(claim, "away", wait=NO_WAIT)
    else:
        getattr(stores.sending, outcome)(claim, "a reason")


# Housekeeping


def test_lapsed_claims_go_back_or_become_ambiguous_by_whether_the_call_was_begun(stores):
    before, during, alive = accept(stores, "before@example.com", "during@example.com", "alive@example.com")
    claimed(stores, before)
    begun(stores, during)
    begun(stores, alive)
    lapse(stores, before)
    lapse(stores, during)
    assert stores.sweeping.sweep_lapsed(lease_of(stores)) == (1, 1)
    assert [status(stores, id_) for id_ in (before, during, alive)] == ["QUEUED", "AMBIGUOUS", "SENDING"]
    assert column(stores, before, "reason") == "the call to SES was not begun in time"
    assert column(stores, during, "reason") == "no outcome of the call to SES was recorded in time"
    assert stores.sweeping.sweep_lapsed(lease_of(stores)) == (0, 0)


@pytest.mark.parametrize("state", ["QUEUED", "AMBIGUOUS", "HELD"])
def test_what_is_too_old_expires_and_keeps_its_last_reason(stores, state):
    (id_,) = accept(stores)
    change(stores, "UPDATE recipients SET status = ?, reason = 'SES was away'", state)
    assert stores.sweeping.expire(lease_of(stores)) == 0
    change(stores, "UPDATE recipients SET expires_at = 1")
    assert stores.sweeping.expire(lease_of(stores)) == 1
    assert status(stores, id_) == "EXPIRED"
    assert column(stores, id_, "reason") == "gave up after the maximum age; SES was away"
    assert column(stores, id_, "ended_at") is not None


def test_what_was_never_tried_says_so_when_it_expires(stores):
    (id_,) = accept(stores)
    change(stores, "UPDATE recipients SET expires_at = 1")
    stores.sweeping.expire(lease_of(stores))
    assert column(stores, id_, "reason") == "gave up after the maximum age; never tried"


@pytest.mark.parametrize("state", ["SENDING", "SENT", "DELIVERED", "FAILED", "CANCELLED"])
def test_what_is_being_sent_or_has_ended_does_not_expire(stores, state):
    (id_,) = accept(stores)
    change(stores, "UPDATE recipients SET status = ?, expires_at = 1", state)
    assert stores.sweeping.expire(lease_of(stores)) == 0
    assert status(stores, id_) == state


# The dispatcher


def test_due_recipients_are_marked_once_until_the_mark_lapses(stores):
    first, second = accept(stores, "a@example.com", "b@example.com")
    lease = lease_of(stores)
    assert stores.sending.mark_due(lease, 1) == [Due(first, overdue=False, credential_id=1)]
    assert stores.sending.mark_due(lease, 10) == [Due(second, overdue=False, credential_id=1)]
    assert stores.sending.mark_due(lease, 10) == []
    outlook = stores.sending.outlook()
    assert (outlook.due, outlook.marked) == (False, 2)
    mark(stores, first, seconds=-1)
    outlook = stores.sending.outlook()
    assert (outlook.due, outlook.marked) == (True, 1)
    assert stores.sending.mark_due(lease, 10) == [Due(first, overdue=True, credential_id=1)]


def test_a_mark_leaves_the_status_alone(stores):
    (id_,) = accept(stores)
    stores.sending.mark_due(lease_of(stores), 10)
    assert status(stores, id_) == "QUEUED"
    assert column(stores, id_, "dispatched_until") is not None


def test_a_dispatcher_of_an_earlier_epoch_marks_nothing(stores):
    (id_,) = accept(stores)
    stale = lease_of(stores, "first")
    lease_of(stores, "second")
    begun(stores, id_)
    lapse(stores, id_)
    for act in (
        lambda: stores.sending.mark_due(stale, 10),
        lambda: stores.notifications.mark_due(stale, 10),
        lambda: stores.sweeping.sweep_lapsed(stale),
        lambda: stores.retention.run(stale),
    ):
        with pytest.raises(LeaseLostError):
            act()
    change(stores, "UPDATE recipients SET status = 'QUEUED', expires_at = 1, dispatched_until = NULL")
    with pytest.raises(LeaseLostError):
        stores.sweeping.expire(stale)
    assert status(stores, id_) == "QUEUED"
    assert column(stores, id_, "dispatched_until") is None


def test_a_lease_that_was_never_taken_marks_nothing(stores):
    accept(stores)
    with pytest.raises(LeaseLostError):
        stores.sending.mark_due(Lease("nobody", 1, 0), 10)


def test_at_one_turn_a_time_every_credential_has_its_own(stores):
    """Below twenty mails a second a dispatcher marks one at a time."""
    for name in ("shop", "erp"):
        change(stores, "INSERT INTO credentials (name, created_at) VALUES (?, 1)", name)
    for credential in ("local", "shop", "erp"):
        accept(stores, *(f"{credential}{number}@example.com" for number in range(4)), credential=credential)
    lease, behind, turns = lease_of(stores), 0, []
    for _ in range(7):
        (due,) = stores.sending.mark_due(lease, 1, behind)
        behind = due.credential_id
        turns.append(behind)
    assert turns == [1, 2, 3, 1, 2, 3, 1]


def test_credentials_take_turns(stores):
    change(stores, "INSERT INTO credentials (name, created_at) VALUES ('shop', 0)")
    flood = accept(stores, *(f"n{number}@example.com" for number in range(50)))
    late = accept(stores, "otp@example.com", "otp2@example.com", credential="shop")
    marked = [due.recipient_id for due in stores.sending.mark_due(lease_of(stores), 6)]
    assert marked == [flood[0], late[0], flood[1], late[1], flood[2], flood[3]]


@pytest.mark.parametrize(
    ("queues", "limit", "taken"),
    [
        ([], 5, []),
        ([[], []], 5, []),
        ([[1, 2, 3]], 2, [1, 2]),
        ([[1, 2, 3, 4], [11]], 4, [1, 11, 2, 3]),
        ([[1, 2], [11, 12], [21]], 9, [1, 11, 21, 2, 12]),
        ([[1, 2], [11, 12]], 1, [1]),
    ],
)
def test_taking_turns(queues, limit, taken):
    made = [[Due(id_, overdue=False, credential_id=1) for id_ in queue] for queue in queues]
    assert [due.recipient_id for due in take_turns(made, limit)] == taken


# The circuit


def test_a_circuit_whose_time_is_over_is_probed_and_an_acceptance_closes_it(stores):
    (id_, other) = accept(stores, "a@example.com", "b@example.com")
    stores.control.put(CIRCUIT, {"reason": "paused"}, lasting=timedelta(hours=1))
    outlook = stores.sending.outlook()
    assert (outlook.stopped, outlook.probing) == (True, False)
    change(stores, "UPDATE control SET until = 1 WHERE key = ?", CIRCUIT)
    outlook = stores.sending.outlook()
    assert (outlook.stopped, outlook.probing) == (False, True)
    probe = begun(stores, id_)
    stores.sending.released(probe, "still paused", wait=NO_WAIT, counts=False)
    assert stores.sending.outlook().probing
    stores.sending.accepted(begun(stores, other), "ses-1")
    assert stores.control.get(CIRCUIT) is None
    assert not stores.sending.outlook().probing


def test_an_acceptance_from_before_does_not_close_a_circuit_that_is_open(stores):
    (id_,) = accept(stores)
    claim = begun(stores, id_)
    stores.control.put(CIRCUIT, {"reason": "paused"}, lasting=timedelta(hours=1))
    stores.sending.accepted(claim, "ses-1")
    assert stores.sending.outlook().stopped


def test_the_accepted_time_is_that_of_the_acceptance(stores):
    (id_,) = accept(stores)
    assert abs(claimed(stores, id_).accepted_at - datetime.now(UTC)) < timedelta(minutes=5)


def test_an_attempt_is_not_begun_after_the_claim_has_lapsed(stores):
    (id_,) = accept(stores)
    claim = claimed(stores, id_)
    change(stores, "UPDATE recipients SET claimed_until = 1")
    assert stores.sending.begin_attempt(claim) is False
    assert stores.sweeping.sweep_lapsed(lease_of(stores)) == (1, 0)


def test_a_pause_stops_what_is_claimed_and_not_begun(stores):
    (id_,) = accept(stores)
    claim = claimed(stores, id_)
    stores.control.put(PAUSE, {})
    assert stores.sending.begin_attempt(claim) is False
    assert status(stores, id_) == "QUEUED"


def test_an_answer_for_a_recipient_that_was_erased_changes_nobody_else(stores):
    (id_,) = accept(stores)
    claim = begun(stores, id_)
    change(stores, "DELETE FROM attempts")
    change(stores, "UPDATE recipients SET status = 'QUEUED', attempt_id = NULL")
    stores.sending.accepted(claim, "ses-1")
    assert status(stores, id_) == "QUEUED"
