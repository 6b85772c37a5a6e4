from __future__ import annotations

import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from gateway.addresses import parse_mailbox
from gateway.aws.account import Account, AccountUnknownError
from gateway.evidence import Policy
from gateway.feedback import EventKind
from gateway.reputation import Limits
from gateway.store.ambiguity import Ambiguity
from gateway.store.control import ACCOUNT, CIRCUIT, LeaseLostError
from gateway.store.errors import StoreUnavailableError
from gateway.store.notifications import NewNotification
from gateway.store.reputation import Reputation
from gateway.store.retention import Retention
from gateway.store.sweeping import Sweeping
from gateway.store.times import now_micros
from gateway.suppression_policy import Reason
from tasks.housekeeping import Housekeeping
from tests.gateway.store.test_notifications import apply, feedback
from tests.gateway.store.test_suppression_imports import age, numbered, ready, staged
from tests.support.mail import accept, begun, change, column, lease_of, rows, status

ACCOUNT_FACT = Account(14.0, 50000.0, 3.0, sending_enabled=True, production_access=True, enforcement_status="HEALTHY")


class Clock:
    """It goes on by what the chores wait, and ends the run after some rounds."""

    def __init__(self, rounds, step=1.0):
        self.now, self.rounds, self.step = 0.0, rounds, step
        self.done = threading.Event()

    def __call__(self):
        return self.now

    def is_set(self):
        return self.done.is_set()

    def wait(self, _seconds):
        self.now += self.step
        self.rounds -= 1
        if self.rounds <= 0:
            self.done.set()
        return self.done.is_set()


def run(stores, read_account=lambda: ACCOUNT_FACT, rounds=1, step=1.0, **options):
    clock = Clock(rounds, step)
    Housekeeping(stores, read_account, clock, **{"wall": clock, "patience": 0, **options}).run(lease_of(stores), clock)


def test_the_account_is_asked_and_written_down(stores):
    run(stores)
    assert stores.control.get(ACCOUNT) == {
        "max_send_rate": 14.0,
        "max_24_hour_send": 50000.0,
        "sent_last_24_hours": 3.0,
        "sending_enabled": True,
        "production_access": True,
        "enforcement_status": "HEALTHY",
    }


def test_the_account_is_asked_once_a_minute_and_sooner_while_it_is_unknown(stores):
    asked = []

    def unknown():
        asked.append(True)
        raise AccountUnknownError("no credentials")

    run(stores, unknown, rounds=10)
    assert len(asked) == 5
    asked.clear()

    def known():
        asked.append(True)
        return ACCOUNT_FACT

    run(stores, known, rounds=61)
    assert len(asked) == 2


def test_what_is_too_old_expires(stores):
    (id_,) = accept(stores)
    change(stores, "UPDATE recipients SET expires_at = 1")
    run(stores)
    assert status(stores, id_) == "EXPIRED"


@pytest.mark.parametrize("error", [RuntimeError("a bug"), StoreUnavailableError("busy"), LeaseLostError("lost")])
def test_a_chore_that_fails_does_not_keep_the_others_from_being_done(stores, monkeypatch, error):
    (id_,) = accept(stores)
    change(stores, "UPDATE recipients SET expires_at = 1")

    def fail(*_):
        raise error

    monkeypatch.setattr(Sweeping, "sweep_lapsed", fail)
    run(stores)
    assert status(stores, id_) == "EXPIRED"


def test_retention_goes_on_while_something_goes_and_then_waits(stores, monkeypatch):
    gone = [{"events": 200}, {"events": 200}, {"events": 0}]
    ran, given_back = [], []

    def once(_self, _lease):
        ran.append(True)
        return gone.pop(0) if gone else {"events": 0}

    monkeypatch.setattr(Retention, "run", once)
    monkeypatch.setattr(Retention, "give_back_space", lambda _self: given_back.append(True))
    run(stores, rounds=100)
    assert len(ran) == 3
    assert len(given_back) == 2


def test_nothing_is_done_once_the_end_is_asked_for(stores):
    asked = []
    done = threading.Event()
    done.set()
    Housekeeping(stores, lambda: asked.append(True), lambda: 0.0, wall=lambda: 0.0).run(lease_of(stores), done)
    assert asked == []


def test_nothing_expires_before_this_dispatcher_had_its_time(stores):
    """A machine that learns the time after its start must not end mail that was never given a chance."""
    (id_,) = accept(stores)
    change(stores, "UPDATE recipients SET expires_at = 1")
    run(stores, rounds=5, step=10.0, patience=60)
    assert status(stores, id_) == "QUEUED"
    run(stores, rounds=9, step=10.0, patience=60)
    assert status(stores, id_) == "EXPIRED"


class Jumping:
    """A wall clock that goes with the steady one, and is set once at a given moment of it."""

    def __init__(self, clock, at, by):
        self.clock, self.at, self.by = clock, at, by

    def __call__(self):
        return self.clock() + (self.by if self.clock() >= self.at else 0.0)


def test_nothing_expires_or_is_deleted_after_a_jump_of_the_clock(stores, monkeypatch):
    retained = []
    monkeypatch.setattr(Retention, "run", lambda *_: retained.append(True) or {})
    clock = Clock(rounds=12, step=100.0)
    house = Housekeeping(stores, lambda: ACCOUNT_FACT, clock, wall=Jumping(clock, 500.0, 86400.0), patience=550)
    (id_,) = accept(stores)
    change(stores, "UPDATE recipients SET expires_at = 1")
    house.run(lease_of(stores), clock)
    assert status(stores, id_) == "EXPIRED"  # 550 seconds after the jump, at 1100
    assert len(retained) == 1, "550 seconds after the jump, and not before"


def test_times_that_a_clock_set_back_has_left_far_ahead_are_corrected_when_it_jumps(stores):
    clock = Clock(rounds=3, step=10.0)
    house = Housekeeping(stores, lambda: ACCOUNT_FACT, clock, wall=Jumping(clock, 10.0, -7200.0), patience=0)
    (id_,) = accept(stores)
    lease = lease_of(stores)
    ahead = now_micros() + 7_000_000_000

    class Setting(Clock):
        def wait(self, seconds):
            if self.now == 0:
                change(stores, "UPDATE recipients SET next_attempt_at = ?", ahead)
            return super().wait(seconds)

    clock.__class__ = Setting
    house.run(lease, clock)
    assert column(stores, id_, "next_attempt_at") < ahead


@pytest.mark.parametrize("table", ["recipients", "notifications"])
def test_times_that_the_fast_clock_of_another_machine_puts_far_ahead_are_corrected_within_seconds(stores, table):
    clock = Clock(rounds=3, step=10.0)
    accept(stores)
    stores.notifications.store(NewNotification("sns-1", "arn:aws:sns:us-east-1:1:t", "{}", datetime.now(UTC)))
    ahead = now_micros() + 7_000_000_000

    class Accepting(Clock):
        def wait(self, seconds):
            if self.now == 0:
                change(stores, f"UPDATE {table} SET next_attempt_at = ?", ahead)
            return super().wait(seconds)

    clock.__class__ = Accepting
    Housekeeping(stores, lambda: ACCOUNT_FACT, clock, wall=clock, patience=0).run(lease_of(stores), clock)
    assert rows(stores, f"SELECT next_attempt_at < ? FROM {table}", ahead) == [(1,)]


def in_doubt(stores):
    (id_,) = accept(stores)
    stores.sending.ambiguous(begun(stores, id_), "SES did not answer in time")
    change(stores, "UPDATE recipients SET changed_at = 1")
    return id_


@pytest.fixture
def without_channel(stores):
    policy = Policy(wait=15 * 60 * 1_000_000, resend=True, has_channel=False)
    return replace(stores, ambiguity=Ambiguity(stores.db, policy))


def test_mail_in_doubt_is_settled_once_this_dispatcher_has_had_the_patience(without_channel):
    id_ = in_doubt(without_channel)
    run(without_channel, rounds=5, step=10.0, patience=60)
    assert status(without_channel, id_) == "AMBIGUOUS"
    run(without_channel, rounds=9, step=10.0, patience=60)
    assert status(without_channel, id_) == "QUEUED"


def test_mail_in_doubt_is_not_sent_again_early_by_a_jump_of_the_clock(without_channel):
    clock = Clock(rounds=9, step=100.0)
    wall = Jumping(clock, 500.0, 86400.0)
    house = Housekeeping(without_channel, lambda: ACCOUNT_FACT, clock, wall=wall, patience=450)
    id_ = in_doubt(without_channel)
    house.run(lease_of(without_channel), clock)
    assert status(without_channel, id_) == "AMBIGUOUS", "450 seconds after the jump is at 950"


def test_evidence_that_stays_away_is_an_alarm(stores, capsys):
    in_doubt(stores)
    (later,) = accept(stores)
    stores.sending.accepted(begun(stores, later), "ses-1")
    change(stores, "UPDATE attempts SET finished_at = 1 WHERE outcome = 'accepted'")
    run(stores)
    assert "housekeeping.evidence_silent" in capsys.readouterr().out


def test_a_careless_credential_is_held_and_that_is_an_alarm(stores, capsys):
    strict = replace(stores, reputation=Reputation(stores.db, Limits(0.04, 0.0008, min_sends=5)))
    for id_ in accept(stores, *(f"n{number}@example.com" for number in range(5))):
        change(stores, "UPDATE recipients SET status = 'BOUNCED', counted_at = ? WHERE id = ?", now_micros(), id_)
    run(strict)
    assert strict.reputation.standings()[0].held_by == "the dispatcher"
    assert "housekeeping.credential_held" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("kind", "sent", "is_open"), [("quota", 3.0, False), ("quota", 50000.0, True), ("account", 3.0, True)]
)
def test_room_in_the_quota_lets_one_mail_try(stores, kind, sent, is_open):
    stores.control.put(CIRCUIT, {"reason": "used up", "kind": kind}, lasting=timedelta(minutes=10))
    run(stores, lambda: replace(ACCOUNT_FACT, sent_last_24_hours=sent))
    outlook = stores.sending.outlook()
    assert (outlook.stopped, outlook.probing) == (is_open, not is_open)


def test_the_account_is_asked_more_often_while_nothing_may_be_sent(stores):
    asked = []
    stores.control.put(CIRCUIT, {"reason": "paused", "kind": "account"}, lasting=timedelta(minutes=10))
    run(stores, lambda: asked.append(True) or ACCOUNT_FACT, rounds=60)
    assert len(asked) == 3


def taken_an_hour_ago(stores):
    (id_,) = accept(stores)
    claim = begun(stores, id_)
    stores.sending.accepted(claim, "ses-1")
    change(stores, "UPDATE attempts SET started_at = ?", now_micros() - 3_600_000_000)
    return claim.attempt_id


def test_silence_is_told_when_it_begins_and_each_hour_and_when_it_ends(stores, capsys):
    attempt_id = taken_an_hour_ago(stores)
    clock = Clock(rounds=90, step=60.0)
    house = Housekeeping(stores, lambda: ACCOUNT_FACT, clock, wall=clock, patience=0)
    house.run(lease_of(stores), clock)
    output = capsys.readouterr().out
    assert output.count("housekeeping.feedback_silent") == 2
    assert "no report has ever come" in output
    assert "event destination" in output
    apply(stores, feedback(EventKind.SEND, attempt_id))
    clock.rounds = 70
    clock.done.clear()
    house.run(lease_of(stores), clock)
    output = capsys.readouterr().out
    assert (output.count("housekeeping.feedback_silent"), output.count("housekeeping.feedback_back")) == (0, 1)


def test_after_a_start_sns_has_time_to_repeat_what_was_missed(stores, capsys):
    taken_an_hour_ago(stores)
    run(stores, rounds=9, step=60.0, patience=600)
    assert "housekeeping.feedback_silent" not in capsys.readouterr().out
    run(stores, rounds=12, step=60.0, patience=600)
    assert "housekeeping.feedback_silent" in capsys.readouterr().out


def test_suppressions_whose_time_is_over_are_put_away_once_the_clock_can_be_trusted(stores):
    bob = parse_mailbox("bob@example.com")
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    stores.suppressions.add(bob, Reason.MANUAL, source="", detail="", actor="jane", expires_at=tomorrow)
    change(stores, "UPDATE suppressions SET expires_at = ?", now_micros() - 1)
    run(stores, rounds=3, patience=600.0)
    assert len(stores.suppressions.of(bob)) == 1
    run(stores)
    assert stores.suppressions.of(bob) == []
    assert [past.ended_why for past in stores.suppressions.history(bob)] == ["expired"]


def test_a_list_whose_command_is_gone_is_imported_without_a_pause_between_its_batches(stores, capsys):
    ready(stores, numbered(2500))
    run(stores, rounds=10)
    assert rows(stores, "SELECT count(*) FROM suppressions") == [(0,)]  # its command may be at it
    age(stores)
    run(stores, rounds=10)
    assert rows(stores, "SELECT count(*) FROM suppressions") == [(2500,)]
    assert capsys.readouterr().out.count("import_left") == 1


def test_a_list_that_never_got_ready_is_cleared_away_but_not_by_a_clock_that_jumps(stores):
    staged(stores, numbered(10))
    age(stores)
    run(stores, rounds=10, patience=100)
    assert rows(stores, "SELECT count(*) FROM suppression_import_rows") == [(10,)]
    run(stores, rounds=10)
    assert rows(stores, "SELECT count(*) FROM suppression_import_rows") == [(0,)]
