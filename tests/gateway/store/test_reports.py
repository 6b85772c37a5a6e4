from __future__ import annotations

from datetime import timedelta

import pytest

from gateway.addresses import parse_mailbox
from gateway.evidence import Channel
from gateway.metrics import AccountLimits, Rate, Stops, Window
from gateway.store.ambiguity import AmbiguityOutlook
from gateway.store.control import ACCOUNT, CIRCUIT, PACE, PAUSE
from gateway.store.errors import StoreUnavailableError
from gateway.store.reports import is_silent
from gateway.suppression_policy import Reason
from tests.gateway.store.test_notifications import apply, bounce, stored
from tests.support.mail import accept, begun, change, lease_of


def test_the_gauges_of_an_empty_installation(stores):
    gauges = stores.reports.gauges()
    waiting = gauges.waiting
    assert waiting.recipients == {"QUEUED": 0, "SENDING": 0, "AMBIGUOUS": 0, "HELD": 0}
    assert (waiting.oldest_age, waiting.oldest_due_age, waiting.oldest_ambiguous_age) == (0.0, 0.0, 0.0)
    assert (gauges.counts.outcomes, gauges.counts.attempts, gauges.counts.ses_errors) == ({}, {}, {})
    assert (gauges.rate, gauges.account) == (None, None)
    assert gauges.stops == Stops(circuit=None, paused=False, held_credentials={"local": False})
    assert gauges.windows == (
        Window("local", "day", 0, 0, 0),
        Window("local", "last_thousand", 0, 0, 0),
        Window(None, "day", 0, 0, 0),
        Window(None, "last_thousand", 0, 0, 0),
    )
    assert (gauges.inbox.unprocessed, gauges.inbox.suppressions, gauges.inbox.evidence_silent) == (0, {}, False)
    assert (gauges.inbox.feedback_silent, gauges.inbox.last_event_age) == (False, float("inf"))
    dispatching = gauges.dispatching
    assert (dispatching.holder, dispatching.epoch, dispatching.beat) == ("", 0, 0)
    assert dispatching.beat_age == float("inf")
    assert gauges.database_bytes > 0


def test_the_gauges_count_what_there_is(stores):
    sent, refused, doubtful, _ = accept(stores, *(f"{name}@example.com" for name in "abcd"))
    claim = begun(stores, sent)
    stores.sending.accepted(claim, "ses-1")
    apply(stores, bounce(claim.attempt_id))
    stores.sending.refused(begun(stores, refused), "never", error="message")
    stores.sending.ambiguous(begun(stores, doubtful), "time-out", error="ambiguous")
    stores.suppressions.add(parse_mailbox("e@example.com"), Reason.COMPLAINT, source="", detail="", actor="")
    stored(stores)
    stores.notifications.park(stored(stores), "unknown kind")
    gauges = stores.reports.gauges()
    assert gauges.waiting.recipients == {"QUEUED": 1, "SENDING": 0, "AMBIGUOUS": 1, "HELD": 0}
    assert gauges.counts.outcomes == {"AMBIGUOUS": 1, "BOUNCED": 1, "FAILED": 1, "SENT": 1}
    assert sum(gauges.counts.attempts.values()) == 3
    assert gauges.counts.ses_errors == {"message": 1, "ambiguous": 1}
    assert gauges.windows[0] == Window("local", "day", sends=1, bounces=1, complaints=0)
    assert gauges.inbox.suppressions == {"bounce": 1, "complaint": 1}
    assert (gauges.inbox.unprocessed, gauges.inbox.not_understood) == (1, 1)


def test_the_gauges_tell_what_sets_the_pace_and_what_stops_it(stores):
    stores.control.beat(lease_of(stores, "host/1"))
    stores.control.put(PAUSE, {})
    stores.control.put(CIRCUIT, {"kind": "quota", "reason": "used up"})
    stores.control.put(PACE, {"rate": 13.3, "factor": 1.0})
    stores.control.put(ACCOUNT, {"max_send_rate": 14.0, "max_24_hour_send": 50_000.0, "sent_last_24_hours": 7.0})
    stores.reputation.hold("local", "careless", actor="jane")
    gauges = stores.reports.gauges()
    assert gauges.rate == Rate(13.3, 1.0)
    assert gauges.account == AccountLimits(14.0, 50_000.0, 7.0)
    assert gauges.stops == Stops(circuit="quota", paused=True, held_credentials={"local": True})
    dispatching = gauges.dispatching
    assert (dispatching.holder, dispatching.epoch, dispatching.beat) == ("host/1", 1, 1)
    assert 0 <= dispatching.beat_age < 600


def test_a_pause_whose_time_is_over_is_none(stores):
    stores.control.put(PAUSE, {}, lasting=timedelta(0))
    assert not stores.reports.gauges().stops.paused


def test_the_age_is_that_of_the_recipient_that_is_due_longest(stores):
    first, second, later = accept(stores, "a@example.com", "b@example.com", "c@example.com")
    change(stores, "UPDATE recipients SET next_attempt_at = next_attempt_at - 100000000 WHERE id = ?", first)
    change(stores, "UPDATE recipients SET next_attempt_at = next_attempt_at - 50000000 WHERE id = ?", second)
    change(stores, "UPDATE recipients SET next_attempt_at = next_attempt_at + 90000000 WHERE id = ?", later)
    assert 100 <= stores.reports.gauges().waiting.oldest_due_age < 400
    change(stores, "UPDATE recipients SET status = 'SENT' WHERE id <> ?", later)
    assert stores.reports.gauges().waiting.oldest_due_age == 0.0


def test_the_age_since_acceptance_goes_on_through_retries_and_doubt(stores):
    retried, doubtful = accept(stores), accept(stores)
    stores.sending.released(begun(stores, *retried), "away", wait=timedelta(hours=1))
    stores.sending.ambiguous(begun(stores, *doubtful), "time-out")
    change(stores, "UPDATE messages SET accepted_at = accepted_at - 300000000 WHERE id = 1")
    change(stores, "UPDATE recipients SET changed_at = changed_at - 100000000 WHERE id = ?", *doubtful)
    waiting = stores.reports.gauges().waiting
    assert 300 <= waiting.oldest_age < 600
    assert 100 <= waiting.oldest_ambiguous_age < 300


def test_suppressions_are_counted_as_they_begin_and_end(stores):
    def gauge():
        return stores.reports.gauges().inbox.suppressions

    one, other = parse_mailbox("a@example.com"), parse_mailbox("b@example.com")
    for mailbox in (one, other, one):
        stores.suppressions.add(mailbox, Reason.MANUAL, source="", detail="", actor="")
    assert gauge() == {"manual": 2}
    stores.suppressions.add(one, Reason.COMPLAINT, source="", detail="", actor="")
    stores.suppressions.remove(other, why="asked for mail", actor="jane")
    assert gauge() == {"manual": 0, "complaint": 1}
    change(stores, "DELETE FROM suppressions")
    assert gauge() == {"manual": 0, "complaint": 1}, "nothing counts the table"


def test_what_another_release_ended_uncounted_makes_no_number_negative(stores):
    change(stores, "INSERT INTO tallies (name, label, count) VALUES ('suppressions_begun', 'bounce', 1)")
    change(stores, "INSERT INTO tallies (name, label, count) VALUES ('suppressions_ended', 'bounce', 2)")
    assert stores.reports.gauges().inbox.suppressions == {"bounce": 0}


@pytest.mark.parametrize("channel", Channel)
def test_silence_matters_only_while_mail_is_in_doubt(channel):
    assert not is_silent(AmbiguityOutlook(0, None, channel))
    assert is_silent(AmbiguityOutlook(1, None, channel)) == (channel is Channel.SILENT)


def test_gauges_that_cannot_be_read_are_unavailable(stores):
    change(stores, "ALTER TABLE notifications RENAME TO elsewhere")
    with pytest.raises(StoreUnavailableError):
        stores.reports.gauges()
