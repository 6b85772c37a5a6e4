"""Mail in doubt on a real database. Times are moved by hand; nothing waits."""

from __future__ import annotations

from datetime import timedelta

import pytest

from gateway.evidence import Channel, Policy
from gateway.feedback import EventKind
from gateway.store.ambiguity import IN_DOUBT, Ambiguity, Settled
from gateway.store.control import LeaseLostError
from tests.gateway.store.test_notifications import apply, feedback, stored
from tests.support.mail import accept, begun, change, column, lease_of, rows, status

MINUTE = 60_000_000


def report(kind, attempt_id):
    return feedback(kind, attempt_id, ses_message_id=f"ses-{attempt_id}", address="a@example.com")


def ambiguity(stores, *, resend=True, has_channel=True):
    return Ambiguity(stores.db, Policy(wait=15 * MINUTE, resend=resend, has_channel=has_channel))


def in_doubt(stores, *, minutes=60):
    """A recipient whose call had no answer, so long ago."""
    (id_,) = accept(stores)
    claim = begun(stores, id_)
    stores.sending.ambiguous(claim, "SES did not answer in time")
    change(stores, "UPDATE recipients SET changed_at = changed_at - ? WHERE id = ?", minutes * MINUTE, id_)
    change(stores, "UPDATE attempts SET started_at = started_at - ? WHERE recipient_id = ?", minutes * MINUTE, id_)
    return id_, claim


def sent_later(stores, *, minutes=50, kind=None):
    """A later mail that SES took, and what it reported about it."""
    (id_,) = accept(stores, "later@example.com")
    claim = begun(stores, id_)
    stores.sending.accepted(claim, f"ses-{claim.attempt_id}")
    change(stores, "UPDATE attempts SET finished_at = finished_at - ? WHERE recipient_id = ?", minutes * MINUTE, id_)
    if kind is not None:
        reported(stores, claim, kind, minutes=minutes)
    return claim


def reported(stores, claim, kind, *, minutes):
    apply(stores, report(kind, claim.attempt_id))
    change(
        stores,
        "UPDATE events SET stored_at = stored_at - ? WHERE attempt_id = ?",
        minutes * MINUTE,
        claim.attempt_id,
    )


@pytest.mark.parametrize("kind", [EventKind.SEND, EventKind.DELIVERY])
def test_it_is_sent_again_when_later_mail_was_reported_on(stores, kind):
    id_, _ = in_doubt(stores)
    sent_later(stores, kind=kind)
    assert ambiguity(stores).outlook().channel is Channel.ALIVE
    assert ambiguity(stores).settle(lease_of(stores)) == Settled(resent=1)
    assert status(stores, id_) == "QUEUED"
    assert "sent again" in column(stores, id_, "reason")
    assert [one.recipient_id for one in stores.sending.mark_due(lease_of(stores), 5)] == [id_]


@pytest.mark.parametrize("kind", [None, EventKind.BOUNCE, EventKind.COMPLAINT])
def test_it_waits_while_nothing_says_that_every_mail_is_reported_on(stores, kind):
    id_, _ = in_doubt(stores)
    sent_later(stores, kind=kind)
    assert ambiguity(stores).settle(lease_of(stores)) == Settled()
    outlook = ambiguity(stores).outlook()
    assert (outlook.waiting, outlook.channel) == (1, Channel.SILENT)
    assert status(stores, id_) == "AMBIGUOUS"


def test_it_waits_when_nothing_was_sent_later(stores):
    sent_later(stores, kind=EventKind.SEND)
    id_, _ = in_doubt(stores)
    assert ambiguity(stores).settle(lease_of(stores)) == Settled()
    assert ambiguity(stores).outlook().channel is Channel.UNKNOWN
    assert status(stores, id_) == "AMBIGUOUS"


def test_it_waits_its_time_after_events_came_back(stores):
    id_, _ = in_doubt(stores)
    claim = sent_later(stores)
    reported(stores, claim, EventKind.SEND, minutes=14)
    assert ambiguity(stores).settle(lease_of(stores)) == Settled()
    change(stores, "UPDATE events SET stored_at = stored_at - ?", 2 * MINUTE)
    assert ambiguity(stores).settle(lease_of(stores)) == Settled(resent=1)
    assert status(stores, id_) == "QUEUED"


def test_it_waits_while_stored_reports_are_not_understood_yet(stores):
    id_, _ = in_doubt(stores)
    sent_later(stores, kind=EventKind.SEND)
    notification = stored(stores)
    change(stores, "UPDATE notifications SET received_at = received_at - ? WHERE id = ?", MINUTE, notification)
    assert ambiguity(stores).settle(lease_of(stores)) == Settled()
    change(stores, "UPDATE notifications SET error = 'it could not be processed' WHERE id = ?", notification)
    assert ambiguity(stores).settle(lease_of(stores)) == Settled(resent=1)
    assert status(stores, id_) == "QUEUED"


def test_the_second_doubt_waits_twice_as_long(stores):
    id_, _ = in_doubt(stores)
    sent_later(stores, kind=EventKind.SEND)
    ambiguity(stores).settle(lease_of(stores))
    again = begun(stores, id_)
    stores.sending.ambiguous(again, "SES did not answer in time")
    change(stores, "UPDATE attempts SET started_at = started_at - ? WHERE recipient_id = ?", 60 * MINUTE, id_)
    sent_later(stores, kind=EventKind.SEND)
    change(stores, "UPDATE recipients SET changed_at = changed_at - ? WHERE id = ?", 20 * MINUTE, id_)
    assert ambiguity(stores).settle(lease_of(stores)) == Settled()
    change(stores, "UPDATE recipients SET changed_at = changed_at - ? WHERE id = ?", 15 * MINUTE, id_)
    assert ambiguity(stores).settle(lease_of(stores)) == Settled(resent=1)


@pytest.mark.parametrize("has_channel", [True, False])
def test_hold_leaves_it_to_a_person(stores, has_channel):
    id_, _ = in_doubt(stores)
    sent_later(stores, kind=EventKind.SEND)
    judge = ambiguity(stores, resend=False, has_channel=has_channel)
    assert judge.settle(lease_of(stores)) == Settled(held=1)
    assert status(stores, id_) == "HELD"
    assert column(stores, id_, "reason").startswith(IN_DOUBT)


def test_without_a_channel_the_setting_decides_when_the_time_is_over(stores):
    id_, _ = in_doubt(stores, minutes=14)
    judge = ambiguity(stores, has_channel=False)
    assert judge.outlook().channel is Channel.NONE
    assert judge.settle(lease_of(stores)) == Settled()
    change(stores, "UPDATE recipients SET changed_at = changed_at - ?", 2 * MINUTE)
    assert judge.settle(lease_of(stores)) == Settled(resent=1)
    assert status(stores, id_) == "QUEUED"


@pytest.mark.parametrize("kind", [EventKind.SEND, EventKind.DELIVERY, EventKind.BOUNCE, EventKind.COMPLAINT])
def test_an_event_of_the_first_attempt_settles_what_is_to_be_sent_again(stores, kind):
    id_, claim = in_doubt(stores)
    sent_later(stores, kind=EventKind.SEND)
    ambiguity(stores).settle(lease_of(stores))
    apply(stores, report(kind, claim.attempt_id))
    assert status(stores, id_) not in {"QUEUED", "AMBIGUOUS"}
    assert stores.sending.mark_due(lease_of(stores), 5) == []


def test_a_late_acceptance_settles_it_too_and_is_no_second_attempt(stores):
    id_, claim = in_doubt(stores)
    sent_later(stores, kind=EventKind.SEND)
    ambiguity(stores).settle(lease_of(stores))
    stores.sending.accepted(claim, "ses-late")
    assert status(stores, id_) == "SENT"
    assert rows(stores, "SELECT outcome FROM attempts WHERE recipient_id = ?", id_) == [("accepted",)]


def test_a_dispatcher_without_the_lease_settles_nothing(stores):
    id_, _ = in_doubt(stores)
    sent_later(stores, kind=EventKind.SEND)
    stale = lease_of(stores)
    lease_of(stores, "another")
    with pytest.raises(LeaseLostError):
        ambiguity(stores).settle(stale)
    assert status(stores, id_) == "AMBIGUOUS"


def test_one_batch_at_a_time_the_oldest_first(stores):
    ids = [in_doubt(stores, minutes=60 - number)[0] for number in range(3)]
    sent_later(stores, kind=EventKind.SEND)
    assert ambiguity(stores).settle(lease_of(stores), limit=2) == Settled(resent=2)
    assert [status(stores, id_) for id_ in ids] == ["QUEUED", "QUEUED", "AMBIGUOUS"]


def test_an_outlook_on_nothing(stores):
    outlook = ambiguity(stores).outlook()
    assert (outlook.waiting, outlook.oldest_at) == (0, None)
    assert ambiguity(stores).wait == timedelta(minutes=15).total_seconds()


def test_another_configuration_set_is_another_channel(stores):
    id_, _ = in_doubt(stores)
    change(stores, "INSERT INTO credentials (name, created_at, configuration_set) VALUES ('shop', 1, 'of-the-shop')")
    (later,) = accept(stores, "later@example.com", credential="shop")
    claim = begun(stores, later)
    stores.sending.accepted(claim, "ses-shop")
    reported(stores, claim, EventKind.SEND, minutes=50)
    assert ambiguity(stores).settle(lease_of(stores)) == Settled()
    assert ambiguity(stores).outlook().channel is Channel.UNKNOWN
    sent_later(stores)
    assert ambiguity(stores).outlook().channel is Channel.SILENT
    sent_later(stores, kind=EventKind.SEND)
    assert ambiguity(stores).settle(lease_of(stores)) == Settled(resent=1)
    assert status(stores, id_) == "QUEUED"


def test_mail_that_must_wait_longer_does_not_keep_other_mail_waiting(stores):
    patient = [in_doubt(stores, minutes=100)[0] for _ in range(3)]
    for id_ in patient:
        for number in range(4):
            change(
                stores,
                "INSERT INTO attempts (attempt_id, recipient_id, started_at, outcome, detail) VALUES (?, ?, 1, ?, '')",
                f"{id_}-{number}",
                id_,
                "ambiguous",
            )
    ripe, _ = in_doubt(stores, minutes=20)
    sent_later(stores, minutes=16, kind=EventKind.SEND)
    assert ambiguity(stores).settle(lease_of(stores), limit=3) == Settled(resent=1)
    assert status(stores, ripe) == "QUEUED"
