from __future__ import annotations

import time
from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from gateway.addresses import parse_mailbox
from gateway.preflight import as_fact
from gateway.settings import Settings
from gateway.store.control import CIRCUIT, IDENTITIES, IDENTITY_REFUSED, THROTTLE
from gateway.store.errors import StoreUnavailableError
from gateway.suppression_policy import Reason
from tasks import sending as module
from tasks.pace import backoff, throttled_wait
from tasks.sending import Sender
from tasks.ses import SesError
from tasks.ses_errors import ErrorClass
from tests.support.mail import accept, change, column, lease_of, mark, rows, status
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


def test_a_mail_goes_out_with_the_set_and_the_tags_that_its_credential_has_by_then(stores, ses, sender):
    stores.credentials.add("shop", actor="ann", tags=(("team", "old"),))
    ids = [*accept(stores, credential="shop"), *accept(stores)]
    stores.credentials.change("shop", actor="ann", configuration_set="shop-set", tags=(("team", "shop"),))
    mark(stores, *ids)
    for id_ in ids:
        sender.send(id_)
    assert ses.chosen == [("shop-set", (("team", "shop"),)), (None, ())]


def test_what_a_disabled_credential_was_promised_goes_out(stores, ses, sender):
    stores.credentials.add("shop", actor="ann")
    (id_,) = accept(stores, credential="shop")
    stores.credentials.disable("shop", actor="ann")
    assert [due.recipient_id for due in stores.sending.mark_due(lease_of(stores), 10)] == [id_]
    sender.send(id_)
    assert status(stores, id_) == "SENT"


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
    ("error_class", "becomes", "outcome", "attempts"),
    [
        (ErrorClass.MESSAGE, "FAILED", "refused", 1),
        (ErrorClass.AMBIGUOUS, "AMBIGUOUS", "ambiguous", 1),
        (ErrorClass.UNKNOWN, "HELD", "not known", 1),
        (ErrorClass.TRANSIENT, "QUEUED", "not accepted", 1),
        (ErrorClass.IDENTITY, "QUEUED", "not accepted", 1),
        (ErrorClass.THROTTLED, "QUEUED", "not accepted", 0),
        (ErrorClass.QUOTA, "QUEUED", "not accepted", 0),
        (ErrorClass.ACCOUNT, "QUEUED", "not accepted", 0),
    ],
)
def test_what_becomes_of_each_class_of_failure(stores, ses, sender, error_class, becomes, outcome, attempts):
    (id_,) = marked(stores)
    ses.fail = lambda _: SesError(error_class, "so it was answered")
    sender.send(id_)
    assert status(stores, id_) == becomes
    assert column(stores, id_, "reason") == "so it was answered"
    assert column(stores, id_, "attempts") == attempts
    assert outcomes(stores) == [(outcome, "so it was answered")]
    assert rows(stores, "SELECT label, count FROM tallies WHERE name = 'ses_errors'") == [(error_class.value, 1)]


def test_a_refusal_that_is_not_known_is_not_sent_again_by_itself(stores, ses, sender):
    (id_,) = marked(stores)
    ses.fail = lambda _: SesError(ErrorClass.UNKNOWN, "SES answered SomethingNew")
    sender.send(id_)
    assert not stores.sending.outlook().due
    mark(stores, id_)
    sender.send(id_)
    assert len(ses.sent) == 1
    assert status(stores, id_) == "HELD"


def test_what_expires_after_failed_attempts_tells_the_last_reason(stores, ses, sender):
    (id_,) = marked(stores)
    for reason in ("SES answered ServiceUnavailable", "EndpointConnectionError: refused"):
        ses.fail = lambda _, reason=reason: SesError(ErrorClass.TRANSIENT, reason)
        change(stores, "UPDATE recipients SET next_attempt_at = 0 WHERE id = ?", id_)
        mark(stores, id_)
        sender.send(id_)
    change(stores, "UPDATE recipients SET expires_at = 0 WHERE id = ?", id_)
    assert stores.sweeping.expire(lease_of(stores)) == 1
    assert status(stores, id_) == "EXPIRED"
    assert column(stores, id_, "reason").endswith("EndpointConnectionError: refused")


@pytest.mark.parametrize(
    ("before", "least", "most"), [(0, 1.6, 2.4), (1, 3.2, 4.8), (11, 2880, 4320), (50, 2880, 4320)]
)
def test_what_was_not_accepted_waits_longer_each_time(stores, ses, sender, before, least, most):
    (id_,) = marked(stores)
    change(stores, "UPDATE recipients SET attempts = ?", before)
    ses.fail = lambda _: SesError(ErrorClass.TRANSIENT, "away")
    sender.send(id_)
    assert least - 0.5 < wait_of(stores, id_) <= most + 5


def test_throttling_is_told_to_the_dispatcher_and_waits_seconds(stores, ses, sender):
    (id_,) = marked(stores)
    ses.fail = lambda _: SesError(ErrorClass.THROTTLED, "too fast")
    sender.send(id_)
    assert set(stores.control.get(THROTTLE)) == {"at"}
    assert 0.5 < wait_of(stores, id_) <= 8
    assert not stores.sending.outlook().stopped


def test_waits_are_spread_by_a_fifth_and_those_of_throttled_mail_by_a_half():
    assert [backoff(1, jitter).total_seconds() for jitter in (-1, 0, 1)] == [1.6, 2.0, 2.4]
    assert [throttled_wait(jitter).total_seconds() for jitter in (-1, 0, 1)] == [1.0, 2.0, 3.0]


@pytest.mark.parametrize(("error_class", "seconds"), [(ErrorClass.ACCOUNT, 30), (ErrorClass.QUOTA, 600)])
def test_trouble_of_the_account_opens_the_circuit_for_a_while(stores, ses, sender, error_class, seconds):
    first, second = marked(stores, "a@example.com", "b@example.com")
    expires_at = column(stores, first, "expires_at")
    ses.fail = lambda _: SesError(error_class, "no more")
    sender.send(first)
    sender.send(second)
    assert ses.addresses == ["a@example.com"]
    fact = stores.control.get(CIRCUIT)
    assert (fact["reason"], fact["kind"]) == ("no more", error_class.value)
    ((until, changed),) = rows(stores, "SELECT until, changed_at FROM control WHERE key = ?", CIRCUIT)
    assert until - changed == seconds * 1_000_000
    assert stores.sending.outlook().stopped
    assert wait_of(stores, first) < 8
    assert column(stores, first, "expires_at") == expires_at


def half_open(stores, kind="account"):
    stores.control.put(CIRCUIT, {"reason": "paused", "at": 0.0, "kind": kind}, lasting=timedelta(seconds=-1))


def test_a_probe_that_is_refused_leaves_the_probing_to_other_mail(stores, ses, sender):
    first, second = accept(stores, "a@example.com", "b@example.com")
    half_open(stores)
    mark(stores, first)
    ses.fail = lambda _: SesError(ErrorClass.ACCOUNT, "paused")
    sender.send(first)
    half_open(stores)
    assert [due.recipient_id for due in stores.sending.mark_due(lease_of(stores), 1)] == [second]


def test_a_probe_that_is_accepted_closes_the_circuit(stores, ses, sender):
    (id_,) = marked(stores)
    half_open(stores)
    with capture_logs() as lines:
        sender.send(id_)
    assert status(stores, id_) == "SENT"
    assert stores.control.get(CIRCUIT) is None
    assert [line["event"] for line in lines].count("send.circuit_closed") == 1


def test_a_worker_that_stood_still_before_the_call_makes_none(stores, ses):
    (id_,) = marked(stores)
    Sender(stores, ses, "gateway.example", call_within=-1.0).send(id_)
    assert ses.addresses == []
    assert (status(stores, id_), column(stores, id_, "attempts")) == ("QUEUED", 0)


@pytest.mark.parametrize("closed", [True, False])
def test_the_log_says_that_the_circuit_closed_when_the_store_closed_it(stores, sender, monkeypatch, closed):
    (id_,) = marked(stores)
    monkeypatch.setattr(type(stores.sending), "accepted", lambda *_: closed)
    with capture_logs() as lines:
        sender.send(id_)
    assert [line["event"] for line in lines].count("send.circuit_closed") == int(closed)


def test_what_was_accepted_while_the_circuit_is_open_does_not_close_it(stores, ses, sender):
    first, second = marked(stores, "a@example.com", "b@example.com")
    ses.fail = lambda address: sender.send(second) if address == "a@example.com" else SesError(ErrorClass.ACCOUNT, "no")
    with capture_logs() as lines:
        sender.send(first)
    assert ses.addresses == ["b@example.com", "a@example.com"]
    assert status(stores, first) == "SENT"
    assert stores.sending.outlook().stopped
    assert "send.circuit_closed" not in [line["event"] for line in lines]


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
        ("refused", SesError(ErrorClass.MESSAGE, "bad"), "FAILED"),
        ("ambiguous", SesError(ErrorClass.AMBIGUOUS, "lost"), "AMBIGUOUS"),
        ("released", SesError(ErrorClass.TRANSIENT, "away"), "QUEUED"),
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
    ses.fail = lambda _: SesError(ErrorClass.ACCOUNT, "paused")
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


# The staging guard, and senders that SES would refuse


@pytest.mark.parametrize(
    ("fields", "address", "becomes", "reason"),
    [
        ({"capture_only": True}, "a@example.com", "CANCELLED", "captured: SESGATE_CAPTURE_ONLY is on"),
        (
            {"allowed_recipients": (".example.net",)},
            "a@example.com",
            "CANCELLED",
            "captured: SESGATE_ALLOWED_RECIPIENTS",
        ),
        ({"allowed_recipients": (".example.com",)}, "a@example.com", "SENT", ""),
    ],
)
def test_the_guard_of_the_worker_is_asked_before_the_attempt(stores, ses, fields, address, becomes, reason):
    (id_,) = marked(stores, address)  # accepted where no guard was set
    Sender(stores, ses, "gateway.example", settings=Settings(**fields)).send(id_)
    assert status(stores, id_) == becomes
    assert column(stores, id_, "reason").startswith(reason)
    assert (ses.sent == []) is (becomes == "CANCELLED")
    assert (outcomes(stores) == []) is (becomes == "CANCELLED")


def know(stores, *names):
    stores.control.put(IDENTITIES, as_fact(names, others=0, region="eu-west-1", at=time.time()))


class Keeping(SesDouble):
    """Keeps the octets of the last mail."""

    raw = b""

    def send(self, raw, *given, **options):
        self.raw = raw
        return super().send(raw, *given, **options)


def sent_raw(stores, **fields):
    (id_,) = marked(stores)
    ses = Keeping()
    Sender(stores, ses, "gateway.example", settings=Settings(**fields)).send(id_)
    assert status(stores, id_) == "SENT"
    return ses.raw


def test_an_unverified_sender_is_rewritten_and_the_log_has_both_addresses(stores):
    know(stores, "example.com")
    with capture_logs() as logs:
        raw = sent_raw(stores, rewrite_from="mail@example.com")
    assert b"\r\nFrom: mail@example.com\r\n" in raw
    assert b"\r\nReply-To: shop@example.org\r\n" in raw
    (told,) = [entry for entry in logs if entry["event"] == "send.sender_rewritten"]
    assert (told["unverified"], told["verified"]) == ("shop@example.org", "mail@example.com")


@pytest.mark.parametrize(
    ("names", "fields"),
    [
        (("example.org", "example.com"), {"rewrite_from": "mail@example.com"}),
        (("example.com",), {}),
        (("example.net",), {"rewrite_from": "mail@example.com"}),
        ((), {"rewrite_from": "mail@example.com"}),
    ],
    ids=["it is verified", "no rule", "the other is not verified", "the simulation takes every sender"],
)
def test_a_sender_is_not_rewritten_when(stores, names, fields):
    know(stores, *names)
    raw = sent_raw(stores, **fields)
    assert b"\r\nFrom: shop@example.org\r\n" in raw
    assert b"Reply-To" not in raw


def test_a_refused_sender_makes_the_list_be_read_anew(stores, ses, sender):
    (id_,) = marked(stores)
    ses.fail = lambda _: SesError(ErrorClass.IDENTITY, "not verified")
    sender.send(id_)
    assert stores.control.get(IDENTITY_REFUSED)["at"] > 0
