from __future__ import annotations

import itertools
import threading
from collections import Counter
from contextlib import contextmanager
from datetime import timedelta

import pytest

from gateway.aws.account import Account, AccountUnknownError
from gateway.dispatch import BrokerError
from gateway.store.control import ACCOUNT, CIRCUIT, PAUSE, THROTTLE
from gateway.store.errors import StoreUnavailableError
from gateway.store.sending import Sending
from tasks import dispatcher as module
from tasks.dispatcher import Dispatcher, LocalPool, Work, _Loop
from tasks.feedback import FeedbackProcessor
from tasks.housekeeping import Housekeeping
from tasks.line import Line
from tasks.pace import FIRST_WINDOW, TokenBucket
from tasks.publisher import Publisher
from tasks.sending import Sender
from tasks.ses import SesError
from tasks.ses_errors import ErrorClass
from tests.support.mail import accept, change, lease_of, rows, status
from tests.support.ses import SesDouble
from tests.support.waiting import until
from tests.tasks.test_feedback import delivery, sent, stored

PRODUCTION = Account(1000.0, -1.0, 0.0, sending_enabled=True, production_access=True, enforcement_status="HEALTHY")


class AwayDispatch:
    """A broker that takes nothing."""

    def __init__(self):
        self.offered = []

    def send(self, ids):
        self.offered.append(ids)
        raise BrokerError("away")

    feedback = send


class TakingDispatch:
    """A broker that takes everything; whether anybody works on it is the test's business."""

    def __init__(self):
        self.sends, self.feedbacks = [], []

    def send(self, ids):
        self.sends.append(ids)

    def feedback(self, ids):
        self.feedbacks.append(ids)


def make(stores, ses, dispatch, holder="test", read_account=lambda: PRODUCTION, lease=0.4):
    return Dispatcher(
        stores,
        Work(dispatch, Line(Sender(stores, ses, "gateway.example"), 8), FeedbackProcessor(stores.notifications), 8),
        Housekeeping(stores, read_account, clock := itertools.count().__next__, wall=clock, patience=0),
        holder=holder,
        lease_seconds=lease,
        rate_factor=1.0,
    )


@contextmanager
def running(*dispatchers):
    for dispatcher in dispatchers:
        dispatcher.start()
    try:
        yield
    finally:
        for dispatcher in dispatchers:
            dispatcher.stop()
            dispatcher._work.line.close()
            assert not dispatcher._thread.is_alive()


@pytest.fixture
def ses():
    return SesDouble()


@pytest.fixture
def production(stores):
    stores.control.put(ACCOUNT, PRODUCTION.as_fact())


def statuses(stores):
    return dict(rows(stores, "SELECT status, count(*) FROM recipients GROUP BY status"))


def flood(stores, count):
    addresses = [f"n{number}@example.com" for number in range(count)]
    for start in range(0, count, 50):
        accept(stores, *addresses[start : start + 50])
    return addresses


def test_without_a_broker_everything_is_sent_once_here(stores, ses, production):
    addresses = flood(stores, 150)
    with running(make(stores, ses, AwayDispatch())):
        until(lambda: statuses(stores) == {"SENT": 150})
    assert Counter(ses.addresses) == Counter(addresses)


def test_what_the_broker_took_and_nobody_did_is_done_here_when_the_mark_lapses(stores, ses, production):
    addresses = flood(stores, 20)
    dispatch = TakingDispatch()
    with running(make(stores, ses, dispatch)):
        until(lambda: statuses(stores) == {"SENT": 20})
    assert Counter(ses.addresses) == Counter(addresses)
    published = [id_ for ids in dispatch.sends for id_ in ids]
    assert len(published) == len(set(published)) == 20


def test_notifications_are_published_and_processed_here_when_nobody_else_does(stores, ses, production):
    id_ = sent(stores)
    notification = stored(stores, delivery())
    change(stores, "UPDATE notifications SET next_attempt_at = 1")
    dispatch = TakingDispatch()
    with running(make(stores, ses, dispatch)):
        until(lambda: status(stores, id_) == "DELIVERED")
    assert dispatch.feedbacks == [[notification]]


def test_several_dispatchers_send_everything_once(stores, ses, production):
    addresses = flood(stores, 100)
    with running(*(make(stores, ses, AwayDispatch(), holder=f"holder {number}") for number in range(3))):
        until(lambda: statuses(stores) == {"SENT": 100})
    assert Counter(ses.addresses) == Counter(addresses)


def test_a_standby_takes_over_from_a_holder_that_stopped_beating(stores, ses, production):
    lease_of(stores, "dead")
    (id_,) = accept(stores)
    with running(make(stores, ses, AwayDispatch(), holder="standby")):
        until(lambda: status(stores, id_) == "SENT")
        assert stores.control.read_lease().holder == "standby"
        assert stores.control.read_lease().epoch == 2


def test_a_clean_stop_gives_the_lease_back(stores, ses, production):
    dispatcher = make(stores, ses, AwayDispatch(), holder="only")
    with running(dispatcher):
        until(lambda: stores.control.read_lease().holder == "only")
    assert stores.control.read_lease().holder == ""


def test_a_dispatcher_whose_lease_was_taken_ends_its_term_and_waits(stores, ses, production):
    with running(make(stores, ses, AwayDispatch(), holder="slow", lease=4.0)):
        until(lambda: stores.control.read_lease().holder == "slow")
        other = lease_of(stores, "other")
        stop, beaten = threading.Event(), []

        def beat():
            while not stop.wait(0.05):
                beaten.append(stores.control.beat(other))

        thread = threading.Thread(target=beat)
        thread.start()
        try:
            until(lambda: len(beaten) > 20)  # more than a second: the former holder has tried to beat
            (id_,) = accept(stores)
            until(lambda: len(beaten) > 30)
            assert all(beaten)
            assert status(stores, id_) == "QUEUED"
        finally:
            stop.set()
            thread.join()
        stores.control.clear_lease(other)
        until(lambda: status(stores, id_) == "SENT")
        assert stores.control.read_lease().holder == "slow"


def test_nothing_is_sent_while_paused_and_everything_after(stores, ses, production):
    stores.control.put(PAUSE, {})
    addresses = flood(stores, 10)
    dispatcher = make(stores, ses, AwayDispatch())
    with running(dispatcher):
        before = dispatcher._ticks
        until(lambda: dispatcher._ticks > before + 10)
        assert ses.sent == []
        assert rows(stores, "SELECT count(*) FROM recipients WHERE dispatched_until IS NOT NULL") == [(0,)]
        stores.control.remove(PAUSE)
        until(lambda: statuses(stores) == {"SENT": 10})
    assert Counter(ses.addresses) == Counter(addresses)


def test_a_circuit_that_is_over_is_probed_with_one_mail(stores, ses, production):
    flood(stores, 10)
    stores.control.put(CIRCUIT, {"reason": "paused"}, lasting=timedelta(seconds=-1))
    ses.fail = lambda _: SesError(ErrorClass.ACCOUNT, "still paused")
    dispatcher = make(stores, ses, AwayDispatch())
    with running(dispatcher):
        until(lambda: len(ses.sent) == 1)
        until(lambda: stores.sending.outlook().stopped)
        before = dispatcher._ticks
        until(lambda: dispatcher._ticks > before + 10)
        assert len(ses.sent) == 1
        ses.fail = lambda _: None
        change(stores, "UPDATE control SET until = 1 WHERE key = ?", CIRCUIT)
        until(lambda: statuses(stores) == {"SENT": 10}, seconds=60)
    assert stores.control.get(CIRCUIT) is None
    assert len(ses.sent) == 11


def test_a_loop_that_crashes_comes_back(stores, ses, production, monkeypatch):
    monkeypatch.setattr(module, "_CRASH_WAITS", (0.01, 0.01, 0.01))
    failures = [RuntimeError("a bug"), RuntimeError("again"), StoreUnavailableError("busy")]
    outlook = Sending.outlook

    def failing(self):
        if failures:
            raise failures.pop()
        return outlook(self)

    monkeypatch.setattr(Sending, "outlook", failing)
    (id_,) = accept(stores)
    with running(make(stores, ses, AwayDispatch())):
        until(lambda: status(stores, id_) == "SENT")
    assert len(ses.sent) == 1


def test_an_account_that_cannot_be_asked_still_sends(stores, ses):
    def away():
        raise AccountUnknownError("no credentials")

    (id_,) = accept(stores)
    with running(make(stores, ses, AwayDispatch(), read_account=away)):
        until(lambda: status(stores, id_) == "SENT")


def test_claims_of_workers_that_died_are_settled(stores, ses, production):
    lost, begun_id = accept(stores, "a@example.com", "b@example.com")
    change(stores, "UPDATE recipients SET status = 'SENDING', attempt_id = 'x' || id, claimed_until = 1")
    change(
        stores,
        "INSERT INTO attempts (attempt_id, recipient_id, started_at, detail) VALUES (?, ?, 1, '')",
        f"x{begun_id}",
        begun_id,
    )
    with running(make(stores, ses, AwayDispatch())):
        until(lambda: (status(stores, lost), status(stores, begun_id)) == ("SENT", "AMBIGUOUS"))
    assert ses.addresses == ["a@example.com"]


class FullLine:
    """The line of a process that has so many places left; what it was given is in `taken`."""

    def __init__(self, room=0):
        self.room, self.taken = room, []

    def offer(self, ids, room):
        taken = ids[: min(room, self.room)]
        self.room -= len(taken)
        self.taken += taken
        return ids[len(taken) :]


def loop(stores, dispatch, line, threads=8):
    pool, publisher = LocalPool(threads), Publisher()
    work = Work(dispatch, line, FeedbackProcessor(stores.notifications), threads)
    return _Loop(stores, work, lease_of(stores), pool, publisher, 1.0), pool, publisher


class Clock:
    """In the place of `time` in the dispatcher: it goes only when the test says."""

    def __init__(self):
        self.now = 1000.0

    def monotonic(self):
        return self.now

    def time(self):
        return self.now


@pytest.fixture
def stepped(stores, monkeypatch):
    """A loop on a clock of its own; `step(seconds)` is one tick, `published` what went out, `line` what stayed here."""
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    dispatch, full = TakingDispatch(), FullLine()
    made, pool, publisher = loop(stores, dispatch, full)

    class Stepped:
        published = dispatch.sends
        line = full
        window = made._window

        def step(self, seconds):
            clock.now += seconds
            ticks = iter([True, False])
            made.run(lambda: next(ticks))

        def marked(self):
            return rows(stores, "SELECT count(*) FROM recipients WHERE dispatched_until IS NOT NULL")[0][0]

    yield Stepped()
    publisher.stop()
    pool.stop()


def test_no_more_is_marked_than_the_rate_allows(stores, stepped):
    stores.control.put(ACCOUNT, PRODUCTION.as_fact() | {"max_send_rate": 20.0})
    flood(stores, 60)
    marked = []
    for _ in range(6):
        stepped.step(0.25)
        marked.append(stepped.marked())
    assert marked == [5, 10, 15, 20, 25, 30]


def test_no_more_than_two_seconds_of_the_rate_are_marked_and_unclaimed(stores, stepped):
    change(stores, "UPDATE credentials SET created_at = 0")
    stores.control.put(ACCOUNT, PRODUCTION.as_fact() | {"max_send_rate": 10.0})
    flood(stores, 60)
    stores.sending._dispatch_timeout = 60_000_000
    for _ in range(30):
        stepped.step(0.25)
    assert stepped.marked() == 20


def lapse(stores):
    change(stores, "UPDATE recipients SET dispatched_until = 1 WHERE dispatched_until IS NOT NULL")


def claim_all(stores):
    change(stores, "UPDATE recipients SET status = 'SENT', dispatched_until = NULL WHERE dispatched_until IS NOT NULL")


def test_what_lapsed_and_finds_no_room_here_is_published_again(stores, stepped):
    stores.control.put(ACCOUNT, PRODUCTION.as_fact() | {"max_send_rate": 40.0})
    ids = {row[0] for row in (flood(stores, 20), rows(stores, "SELECT id FROM recipients"))[1]}
    stepped.step(0.5)
    until(lambda: sum(map(len, stepped.published)) == 20)
    stepped.published.clear()
    lapse(stores)
    stepped.line.room = 5
    stepped.step(0.5)
    until(lambda: sum(map(len, stepped.published)) == 15)
    assert {id_ for some in stepped.published for id_ in some} | set(stepped.line.taken) == ids
    assert len(stepped.line.taken) == 5


def test_the_window_shrinks_while_nobody_claims_and_grows_when_everything_is_claimed_at_once(stores, stepped):
    stores.control.put(ACCOUNT, PRODUCTION.as_fact() | {"max_send_rate": 5000.0})
    flood(stores, 1300)
    stores.sending._dispatch_timeout = 10_000_000
    stepped.step(0.5)
    assert stepped.marked() == FIRST_WINDOW
    change(stores, "UPDATE recipients SET dispatched_until = dispatched_until - 6000000")  # it was six seconds ago
    stepped.step(3.0)
    assert stepped.window.size == FIRST_WINDOW // 2
    assert stepped.marked() == FIRST_WINDOW
    flood(stores, 1800)
    claim_all(stores)
    stepped.step(0.5)
    assert stepped.marked() == FIRST_WINDOW // 2
    claim_all(stores)
    stepped.step(0.5)
    assert stepped.marked() == stepped.window.size == FIRST_WINDOW


def test_tasks_are_filled_up_while_there_is_enough_on_its_way(stores, stepped):
    stores.control.put(ACCOUNT, PRODUCTION.as_fact() | {"max_send_rate": 500.0})
    flood(stores, 900)
    for _ in range(5):
        stepped.step(0.25)
    before = stepped.marked()
    assert before > 500
    stepped.step(0.05)
    assert stepped.marked() == before
    stepped.step(0.1)
    assert stepped.marked() > before


def test_a_throttling_answer_halves_the_rate(stores, stepped):
    stores.control.put(ACCOUNT, PRODUCTION.as_fact() | {"max_send_rate": 40.0})
    flood(stores, 100)
    stepped.step(0.25)
    assert stepped.marked() == 10
    stores.control.put(THROTTLE, {"at": 1_000_000.0})
    stepped.step(1.0)
    before = stepped.marked()
    stepped.step(0.25)
    assert stepped.marked() - before == 5


def test_a_tick_without_tokens_or_work_marks_nothing(stores, stepped):
    stores.control.put(ACCOUNT, PRODUCTION.as_fact())
    stepped.step(1.0)
    assert stepped.marked() == 0
    assert stepped.published == []


def test_the_pool_takes_no_more_than_it_can_hold_and_frees_what_fails():
    pool, go_on, ran = LocalPool(1), threading.Event(), []

    def run(id_):
        assert go_on.wait(60)
        ran.append(id_)
        raise RuntimeError("a bug")

    submit = pool.each(run)
    submit(list(range(50)))
    go_on.set()
    until(lambda: len(ran) == 4)
    submit([99])
    until(lambda: 99 in ran)
    pool.stop()
    submit([100])
    assert sorted(ran) == [0, 1, 2, 3, 99]


def test_a_bucket_of_a_new_term_starts_empty(stores):
    made, pool, publisher = loop(stores, TakingDispatch(), FullLine())
    assert isinstance(made._bucket, TokenBucket)
    assert made._bucket._tokens == 0.0
    publisher.stop()
    pool.stop()
