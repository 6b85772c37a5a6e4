from __future__ import annotations

from datetime import timedelta

import pytest

from gateway.addresses import parse_mailbox
from gateway.store.control import CIRCUIT, THROTTLE
from gateway.store.errors import StoreUnavailableError
from gateway.suppression_policy import Reason
from tasks import sending as module
from tasks.sending import Sender
from tasks.ses import (
    AccountError,
    AmbiguousError,
    IdentityError,
    NotAcceptedError,
    QuotaExhaustedError,
    RefusedError,
    ThrottledError,
)
from tests.support.mail import accept, change, column, mark, rows, status
from tests.support.ses import SesDouble


@pytest.fixture
def ses():
    return SesDouble()


@pytest.fixture
def sender(stores, ses):
    return Sender(stores, ses, "gateway.example")


def marked(stores, *addresses):
    ids = accept(stores, *addresses)
    mark(stores, *ids)
    return ids


def outcomes(stores):
    return rows(stores, "SELECT outcome, detail FROM attempts ORDER BY id")


def wait_of(stores, id_):
    """Seconds to the next attempt, from the change of the status."""
    return (column(stores, id_, "next_attempt_at") - column(stores, id_, "changed_at")) / 1_000_000


def test_a_marked_recipient_is_sent_and_recorded(stores, ses, sender):
    (id_,) = marked(stores, "a@example.com")
    sender.send(id_)
    assert ses.addresses == ["a@example.com"]
    assert status(stores, id_) == "SENT"
    assert rows(stores, "SELECT attempt_id, outcome, ses_message_id FROM attempts") == [
        (ses.sent[0][1], "accepted", "ses-1")
    ]


def test_sending_again_sends_nothing(stores, ses, sender):
    (id_,) = marked(stores)
    sender.send(id_)
    sender.send(id_)
    mark(stores, id_)
    sender.send(id_)
    assert len(ses.sent) == 1


def test_an_unmarked_or_unknown_recipient_is_left_alone(stores, ses, sender):
    (id_,) = accept(stores)
    sender.send(id_)
    sender.send(12345)
    assert ses.sent == []
    assert status(stores, id_) == "QUEUED"


def test_a_suppressed_recipient_is_not_sent_to(stores, ses, sender):
    (id_,) = marked(stores, "a@example.com")
    stores.suppressions.add(parse_mailbox("A@example.com"), Reason.BOUNCE, source="", detail="", actor="")
    sender.send(id_)
    assert ses.sent == []
    assert status(stores, id_) == "SUPPRESSED"


def test_a_recipient_whose_content_is_gone_has_failed(stores, ses, sender):
    (id_,) = marked(stores)
    change(stores, "DELETE FROM contents")
    sender.send(id_)
    assert ses.sent == []
    assert (status(stores, id_), column(stores, id_, "reason")) == ("FAILED", "the content is not kept any more")


@pytest.mark.parametrize(
    ("error", "becomes", "outcome", "attempts"),
    [
        (RefusedError("bad"), "FAILED", "refused", 1),
        (AmbiguousError("lost"), "AMBIGUOUS", "ambiguous", 1),
        (NotAcceptedError("away"), "QUEUED", "not accepted", 1),
        (IdentityError("not verified"), "QUEUED", "not accepted", 1),
        (ThrottledError("too fast"), "QUEUED", "not accepted", 0),
        (QuotaExhaustedError("used up"), "QUEUED", "not accepted", 0),
        (AccountError("paused"), "QUEUED", "not accepted", 0),
    ],
)
def test_what_becomes_of_each_kind_of_failure(stores, ses, sender, error, becomes, outcome, attempts):
    (id_,) = marked(stores)
    ses.fail = lambda _: error
    sender.send(id_)
    assert status(stores, id_) == becomes
    assert column(stores, id_, "reason") == str(error)
    assert column(stores, id_, "attempts") == attempts
    assert outcomes(stores) == [(outcome, str(error))]


@pytest.mark.parametrize(
    ("before", "least", "most"), [(0, 1.6, 2.4), (1, 3.2, 4.8), (11, 2880, 4320), (50, 2880, 4320)]
)
def test_what_was_not_accepted_waits_longer_each_time(stores, ses, sender, before, least, most):
    (id_,) = marked(stores)
    change(stores, "UPDATE recipients SET attempts = ?", before)
    ses.fail = lambda _: NotAcceptedError("away")
    sender.send(id_)
    assert least - 0.5 < wait_of(stores, id_) <= most


def test_throttling_is_told_to_the_dispatcher_and_waits_seconds(stores, ses, sender):
    (id_,) = marked(stores)
    ses.fail = lambda _: ThrottledError("too fast")
    sender.send(id_)
    assert set(stores.control.get(THROTTLE)) == {"at"}
    assert 0 < wait_of(stores, id_) <= 3
    assert not stores.sending.outlook().stopped


@pytest.mark.parametrize(("error", "seconds"), [(AccountError("paused"), 60), (QuotaExhaustedError("used up"), 600)])
def test_trouble_of_the_account_opens_the_circuit_for_a_while(stores, ses, sender, error, seconds):
    first, second = marked(stores, "a@example.com", "b@example.com")
    ses.fail = lambda _: error
    sender.send(first)
    sender.send(second)
    assert ses.addresses == ["a@example.com"]
    assert stores.control.get(CIRCUIT)["reason"] == str(error)
    ((until, changed),) = rows(stores, "SELECT until, changed_at FROM control WHERE key = ?", CIRCUIT)
    assert until - changed == seconds * 1_000_000
    assert stores.sending.outlook().stopped
    assert wait_of(stores, first) < 1


def test_a_probe_that_is_accepted_closes_the_circuit(stores, ses, sender):
    (id_,) = marked(stores)
    stores.control.put(CIRCUIT, {"reason": "paused"}, lasting=timedelta(seconds=-1))
    sender.send(id_)
    assert status(stores, id_) == "SENT"
    assert stores.control.get(CIRCUIT) is None


class Flaky:
    """A store that is not to be had for a while, whatever it is asked."""

    def __init__(self, target, name, failures, monkeypatch):
        self.failures, self.calls = failures, 0
        method = getattr(target, name)

        def called(*args, **kwargs):
            self.calls += 1
            if self.calls <= self.failures:
                raise StoreUnavailableError("busy")
            return method(*args, **kwargs)

        monkeypatch.setattr(type(target), name, lambda _self, *args, **kwargs: called(*args, **kwargs))


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(module.time, "sleep", lambda _seconds: None)
    return monkeypatch


@pytest.mark.parametrize(
    ("method", "error", "becomes"),
    [
        ("accepted", None, "SENT"),
        ("refused", RefusedError("bad"), "FAILED"),
        ("ambiguous", AmbiguousError("lost"), "AMBIGUOUS"),
        ("released", NotAcceptedError("away"), "QUEUED"),
    ],
)
def test_an_outcome_that_the_database_does_not_take_is_recorded_later(
    stores, ses, sender, quick, method, error, becomes
):
    (id_,) = marked(stores)
    ses.fail = lambda _: error
    flaky = Flaky(stores.sending, method, 3, quick)
    sender.send(id_)
    assert flaky.calls == 4
    assert status(stores, id_) == becomes
    assert len(ses.sent) == 1


def test_a_fact_for_the_dispatcher_that_the_database_does_not_take_is_told_later(stores, ses, sender, quick):
    (id_,) = marked(stores)
    ses.fail = lambda _: AccountError("paused")
    Flaky(stores.control, "put", 2, quick)
    sender.send(id_)
    assert stores.control.get(CIRCUIT) is not None
    assert status(stores, id_) == "QUEUED"


def test_recording_is_given_up_after_a_while_and_the_claim_stays_to_lapse(stores, ses, sender, quick):
    (id_,) = marked(stores)
    quick.setattr(module, "_RECORD_PATIENCE", -1.0)
    Flaky(stores.sending, "accepted", 99, quick)
    sender.send(id_)
    assert status(stores, id_) == "SENDING"
    assert len(ses.sent) == 1


@pytest.mark.parametrize("method", ["claim", "content", "begin_attempt"])
def test_a_database_that_is_away_before_the_call_sends_nothing(stores, ses, sender, quick, method):
    (id_,) = marked(stores)
    Flaky(stores.sending, method, 1, quick)
    sender.send(id_)
    assert ses.sent == []
    assert status(stores, id_) in {"QUEUED", "SENDING"}
    assert outcomes(stores) == []


def test_a_suppression_that_cannot_be_asked_is_not_the_absence_of_one(stores, ses, sender):
    (id_,) = marked(stores)
    change(stores, "ALTER TABLE suppressions RENAME TO elsewhere")
    sender.send(id_)
    assert ses.sent == []
    assert outcomes(stores) == []


def test_large_mails_wait_for_their_place_and_are_no_attempt(stores, ses, sender, monkeypatch):
    monkeypatch.setattr(module, "_LARGE", 10)
    monkeypatch.setattr(module, "_PLACE_PATIENCE", 0.0)
    for _ in range(module._LARGE_AT_ONCE):
        assert sender._places.acquire(blocking=False)
    (id_,) = marked(stores, "a@example.com")
    sender.send(id_)
    assert ses.sent == []
    assert (status(stores, id_), column(stores, id_, "attempts")) == ("QUEUED", 0)
    assert wait_of(stores, id_) > 0
    sender._places.release()
    change(stores, "UPDATE recipients SET next_attempt_at = 0 WHERE id = ?", id_)
    mark(stores, id_)
    sender.send(id_)
    assert status(stores, id_) == "SENT"
    assert sender._places.acquire(blocking=False), "the place was not given back"


def test_a_mail_that_cannot_be_prepared_does_not_come_back_at_once(stores, ses, sender, monkeypatch):
    monkeypatch.setattr(module, "prepare", lambda *_: 1 / 0)
    (id_,) = marked(stores, "a@example.com")
    sender.send(id_)
    assert ses.sent == []
    assert status(stores, id_) == "QUEUED"
    assert wait_of(stores, id_) > 600
    assert "could not be prepared" in column(stores, id_, "reason")
