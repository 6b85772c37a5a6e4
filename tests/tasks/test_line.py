from __future__ import annotations

import itertools
import threading
from collections import Counter
from concurrent.futures import Future
from contextlib import contextmanager
from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from gateway.addresses import parse_mailbox
from gateway.settings import Settings
from gateway.store.control import CIRCUIT, PAUSE
from gateway.store.errors import StoreUnavailableError
from gateway.store.group_sending import SMALL, GroupSending
from gateway.suppression_policy import Reason
from tasks import sending as sending_module
from tasks.line import _AHEAD, _LATELY, Line, _Mean
from tasks.sending import Sender
from tasks.ses import SesError
from tasks.ses_errors import ErrorClass
from tests.support.mail import CONTENT, accept, change, column, mark, rows, status
from tests.support.ses import SesDouble
from tests.support.waiting import until

THREADS = 4


class Gated(SesDouble):
    """Answers only while it is `open`; what waits for an answer is in `asked`."""

    def __init__(self):
        super().__init__()
        self.open = threading.Event()
        self.open.set()
        self.asked = []

    def send(self, raw, address, *given, **options):
        self.asked.append(address)
        assert self.open.wait(60)
        return super().send(raw, address, *given, **options)


@pytest.fixture
def ses():
    return Gated()


def lately(mean, seconds):
    for _ in range(_LATELY):
        mean.add(seconds)


@contextmanager
def line_of(stores, ses, **options):
    made = Line(Sender(stores, ses, "gateway.example", **options), THREADS)
    try:
        yield made
    finally:
        ses.open.set()
        made.close()


@pytest.fixture
def line(stores, ses):
    with line_of(stores, ses) as made:
        yield made


@contextmanager
def task(line, ids):
    """A task that sends these; it has ended when the block ends."""
    thread = threading.Thread(target=line.send, args=(ids,))
    thread.start()
    yield thread
    thread.join(60)
    assert not thread.is_alive()


def marked(stores, *addresses, **fields):
    ids = accept(stores, *addresses, **fields)
    mark(stores, *ids)
    return ids


def many(stores, count, label="n"):
    return marked(stores, *(f"{label}{number}@example.com" for number in range(count)))


def statuses(stores):
    return dict(rows(stores, "SELECT status, count(*) FROM recipients GROUP BY status"))


def test_a_task_has_ended_when_what_became_of_each_is_written_down(stores, ses, line):
    ids = many(stores, 50)
    line.send(ids)
    assert statuses(stores) == {"SENT": 50}
    assert rows(stores, "SELECT count(*), count(DISTINCT ses_message_id) FROM attempts WHERE outcome = 'accepted'") == [
        (50, 50)
    ]
    assert set(Counter(ses.addresses).values()) == {1}
    assert {attempt for _, attempt in ses.sent} == {row[0] for row in rows(stores, "SELECT attempt_id FROM attempts")}


def test_every_acceptance_is_logged_once_it_is_written_down(stores, line):
    ids = many(stores, 10)
    with capture_logs() as lines:
        line.send(ids)
    told = [entry["recipient"] for entry in lines if entry["event"] == "send.accepted"]
    assert sorted(told) == sorted(f"n{number}@example.com" for number in range(10))


def test_tasks_wait_for_their_own_ids_only(stores, ses, line):
    ses.open.clear()
    with task(line, many(stores, 2, "slow")) as slow:
        until(lambda: len(ses.asked) == 2)
        with task(line, [12345, *accept(stores, "unmarked@example.com")]):
            pass
        assert slow.is_alive()
        ses.open.set()


@pytest.mark.parametrize("foreign", [[], [0, -5, 999], [2**62], [2**70], ["1", None, [1], {"id": 1}, 1.5, True]])
def test_ids_that_are_late_foreign_repeated_or_none_at_all_do_nothing(stores, ses, line, foreign):
    ids = many(stores, 5)
    late = accept(stores, "late@example.com")
    mark(stores, *late, seconds=-1)
    line.send([*ids, *foreign, *late, *ids])
    line.send(ids)
    assert statuses(stores) == {"SENT": 5, "QUEUED": 1}
    assert len(ses.sent) == 5


def test_two_lines_with_the_same_ids_send_each_once(stores, ses, line):
    ids = many(stores, 60)
    with line_of(stores, ses) as other, task(line, ids), task(other, ids[::-1]):
        pass
    assert statuses(stores) == {"SENT": 60}
    assert set(Counter(ses.addresses).values()) == {1}


def test_one_bad_mail_harms_no_other_of_its_group(stores, ses, monkeypatch):
    prepare = sending_module.prepare

    def failing(content, *given):
        return prepare(content, *given) if b"poison" not in content else 1 / 0

    monkeypatch.setattr(sending_module, "prepare", failing)
    settings = Settings(allowed_recipients=("example.com",))
    plain = many(stores, 10)
    poison = marked(stores, "poison@example.com", content=CONTENT + b"poison\r\n")
    gone = marked(stores, "gone@example.com")
    change(stores, "DELETE FROM contents WHERE message_id = (SELECT message_id FROM recipients WHERE id = ?)", *gone)
    suppressed = marked(stores, "suppressed@example.com")
    stores.suppressions.add(parse_mailbox("suppressed@example.com"), Reason.BOUNCE, source="", detail="", actor="")
    captured = marked(stores, "a@elsewhere.example")
    refused = marked(stores, "refused@example.com")
    ses.fail = lambda address: SesError(ErrorClass.MESSAGE, "bad") if address.startswith("refused") else None
    with line_of(stores, ses, settings=settings) as line:
        line.send([*poison, *gone, *suppressed, *captured, *refused, *plain])
    found = [status(stores, *ids) for ids in (poison, gone, suppressed, captured, refused)]
    assert found == ["QUEUED", "FAILED", "SUPPRESSED", "CANCELLED", "FAILED"]
    assert "could not be prepared" in column(stores, *poison, "reason")
    assert statuses(stores)["SENT"] == 10


def test_large_mail_goes_by_itself_beside_the_rest(stores, ses, line):
    plain, large = many(stores, 5), marked(stores, "large@example.com", content=CONTENT + b"x" * 70 + b"\r\n")
    change(
        stores,
        "UPDATE messages SET size = ? WHERE id = (SELECT message_id FROM recipients WHERE id = ?)",
        SMALL + 1,
        *large,
    )
    line.send([*large, *plain])
    assert statuses(stores) == {"SENT": 6}


@pytest.mark.parametrize(
    ("error_class", "becomes"),
    [
        (ErrorClass.AMBIGUOUS, "AMBIGUOUS"),
        (ErrorClass.UNKNOWN, "HELD"),
        (ErrorClass.TRANSIENT, "QUEUED"),
        (ErrorClass.THROTTLED, "QUEUED"),
    ],
)
def test_each_call_of_a_group_has_its_own_outcome(stores, ses, line, error_class, becomes):
    ids = many(stores, 8)
    ses.fail = lambda address: SesError(error_class, "so it was") if address == "n3@example.com" else None
    line.send(ids)
    assert statuses(stores) == {"SENT": 7, becomes: 1}
    assert column(stores, ids[3], "reason") == "so it was"


def test_no_more_is_begun_than_threads_are_there_and_some_ahead(stores, ses, line):
    """What a killed process leaves in doubt."""
    ids = many(stores, 200)
    line.send(ids[:100])
    ses.open.clear()
    ses.asked.clear()
    with task(line, ids[100:]):
        until(lambda: len(ses.asked) == THREADS)
        assert statuses(stores)["SENDING"] <= THREADS + _AHEAD
        ses.open.set()
    assert statuses(stores) == {"SENT": 200}


def test_where_ses_is_slow_nothing_is_begun_ahead(stores, ses, line):
    lately(line._calls, 1000.0)
    ids = many(stores, 50)
    ses.open.clear()
    with task(line, ids):
        until(lambda: len(ses.asked) == THREADS)
        assert statuses(stores) == {"SENDING": THREADS, "QUEUED": 50 - THREADS}
        ses.open.set()


def test_where_the_database_is_slow_no_more_is_begun_ahead_than_is_called_in_two_seconds(line):
    lately(line._turns, 100.0)
    lately(line._calls, 1.0)
    assert line._ahead() == 2 * THREADS


def test_a_mean_follows_the_first_at_once_and_forgets_what_is_long_ago():
    mean = _Mean(0.1)
    mean.add(0.01)
    assert mean.seconds == pytest.approx(0.01), "what is usual counts no more"
    mean.add(0.03)
    assert mean.seconds == pytest.approx(0.02)
    for _ in range(10 * _LATELY):
        mean.add(1.0)
    assert mean.seconds == pytest.approx(1.0, abs=0.01)


def test_what_is_written_down_is_called_before_what_goes_by_itself(stores, line, monkeypatch):
    lately(line._calls, 1000.0)
    plain, (large,) = many(stores, THREADS - 1), marked(stores, "large@example.com")
    change(
        stores,
        "UPDATE messages SET size = ? WHERE id = (SELECT message_id FROM recipients WHERE id = ?)",
        SMALL + 1,
        large,
    )
    given, give = [], line._give

    def noted(jobs):
        given.extend(job.item.recipient_id for job in jobs)
        give(jobs)

    monkeypatch.setattr(line, "_give", noted)
    monkeypatch.setattr(line, "_read", backwards(line._read))
    line.send([*plain, large])
    assert sorted(given) == [*plain, large]
    assert given[-1] == large


def backwards(read):
    """What goes by itself is read last; here it stands first in its group."""
    return lambda items: list(reversed(read(items)))


def test_what_was_begun_ahead_and_waited_too_long_for_calls_that_hang_is_not_called(stores, ses, line, monkeypatch):
    """Its address may have been suppressed meanwhile, or sending stopped."""
    lately(line._turns, 10.0)
    lately(line._calls, 0.001)
    ids = many(stores, 50)
    ses.open.clear()
    with task(line, ids):
        until(lambda: len(ses.asked) == THREADS and statuses(stores)["SENDING"] > THREADS)
        monkeypatch.setattr(sending_module, "_TURN_PATIENCE", 0.0)
        ses.open.set()
    assert len(ses.sent) == THREADS
    assert statuses(stores) == {"SENT": THREADS, "QUEUED": 50 - THREADS}
    assert rows(
        stores, "SELECT DISTINCT attempts, reason FROM recipients WHERE status = 'QUEUED' AND reason <> ''"
    ) == [(0, "it waited too long for other calls to SES")]


def test_what_goes_by_itself_takes_no_more_room_than_the_rest(stores, ses, line):
    lately(line._calls, 1000.0)
    ids = many(stores, 50)
    change(stores, "UPDATE messages SET size = ?", SMALL + 1)
    ses.open.clear()
    with task(line, ids):
        until(lambda: len(ses.asked) == THREADS and len(line._ready) == THREADS)
        assert line._under_way == THREADS
        ses.open.set()
    assert statuses(stores) == {"SENT": 50}


@pytest.mark.parametrize("key", [PAUSE, CIRCUIT])
def test_what_is_stopped_in_the_middle_of_a_task_begins_no_more(stores, ses, line, key):
    lately(line._calls, 1000.0)
    ids = many(stores, 50)
    ses.open.clear()
    with task(line, ids):
        until(lambda: len(ses.asked) == THREADS)
        stores.control.put(key, {})
        ses.open.set()
    assert statuses(stores) == {"SENT": THREADS, "QUEUED": 50 - THREADS}
    assert len(ses.sent) == THREADS


def test_a_probe_that_is_accepted_is_told_to_have_closed_the_circuit(stores, line):
    ids = many(stores, 1)
    stores.control.put(CIRCUIT, {"reason": "paused", "kind": "account"}, lasting=timedelta(seconds=-1))
    with capture_logs() as lines:
        line.send(ids)
    assert stores.control.get(CIRCUIT) is None
    assert [entry["event"] for entry in lines].count("send.circuit_closed") == 1


def test_a_worker_that_stood_still_calls_for_none_of_a_group(stores, ses):
    ids = many(stores, 10)
    with line_of(stores, ses, call_within=-1.0) as line:
        line.send(ids)
    assert ses.sent == []
    assert rows(stores, "SELECT DISTINCT status, attempts FROM recipients") == [("QUEUED", 0)]


class Failing:
    """A step of the groups that fails so many times."""

    def __init__(self, monkeypatch, step, error, times):
        self.left = times
        real = getattr(GroupSending, step)

        def called(groups, given):
            if not self.left:
                return real(groups, given)
            self.left -= 1
            if step == "look":
                raise error
            failed = Future()
            failed.set_exception(error)
            return failed

        monkeypatch.setattr(GroupSending, step, called)


@pytest.mark.parametrize("step", ["look", "begin"])
def test_a_database_that_is_away_before_the_call_sends_nothing(stores, ses, line, monkeypatch, step):
    ids = many(stores, 5)
    Failing(monkeypatch, step, StoreUnavailableError("busy"), 99)
    line.send(ids)
    assert ses.sent == []
    assert statuses(stores) == {"QUEUED": 5}


def test_what_is_begun_is_called_although_the_next_ones_cannot_be_read_meanwhile(stores, ses, line, monkeypatch):
    times, prepare = itertools.count(), Sender.prepare

    def failing(sender, ids):
        return prepare(sender, ids) if next(times) != 1 else 1 / 0

    monkeypatch.setattr(Sender, "prepare", failing)
    line.send(many(stores, 50))
    assert set(statuses(stores)) == {"SENT", "QUEUED"}
    assert rows(stores, "SELECT count(*) FROM attempts WHERE outcome IS NULL") == [(0,)]


def test_a_system_that_gives_no_thread_fails_the_task_and_not_those_after_it(stores, line, monkeypatch):
    times, start = itertools.count(), threading.Thread.start

    def failing(thread):
        if next(times) == 2:
            raise RuntimeError("can't start new thread")
        start(thread)

    ids = many(stores, 5)
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", failing)
        with pytest.raises(RuntimeError, match="new thread"):
            line.send(ids)
    line.send(ids)
    assert statuses(stores) == {"SENT": 5}


@pytest.mark.parametrize("step", ["look", "begin", "accepted"])
def test_a_step_that_fails_for_a_group_is_done_for_each_by_itself(stores, ses, line, monkeypatch, step):
    ids = many(stores, 5)
    Failing(monkeypatch, step, TypeError("one of them"), 99)
    line.send(ids)
    assert statuses(stores) == {"SENT": 5}
    assert len(ses.sent) == 5


def test_acceptances_that_the_database_does_not_take_are_recorded_later(stores, ses, line, monkeypatch):
    monkeypatch.setattr(sending_module.time, "sleep", lambda _seconds: None)
    ids = many(stores, 5)
    failing = Failing(monkeypatch, "accepted", StoreUnavailableError("busy"), 3)
    line.send(ids)
    assert failing.left == 0
    assert statuses(stores) == {"SENT": 5}
    assert len(ses.sent) == 5


def test_recording_is_given_up_after_a_while_and_the_line_goes_on(stores, ses, line, monkeypatch):
    monkeypatch.setattr(sending_module, "_RECORD_PATIENCE", -1.0)
    ids = many(stores, 1)
    failing = Failing(monkeypatch, "accepted", StoreUnavailableError("busy"), 99)
    line.send(ids)
    assert statuses(stores) == {"SENDING": 1}
    failing.left = 0
    line.send(many(stores, 3, "next"))
    assert statuses(stores) == {"SENDING": 1, "SENT": 3}


def test_closing_waits_for_the_calls_and_their_outcomes_and_leaves_the_rest(stores, ses):
    ids = many(stores, 100)
    ses.open.clear()
    line = Line(Sender(stores, ses, "gateway.example"), THREADS)
    with task(line, ids):
        until(lambda: len(ses.asked) == THREADS)
        closing = threading.Thread(target=line.close)
        closing.start()
        until(lambda: line._closing)
        assert closing.is_alive()
        ses.open.set()
        closing.join(60)
        assert not closing.is_alive()
    found = statuses(stores)
    assert set(found) == {"SENT", "QUEUED"}
    assert found["SENT"] == len(ses.sent) <= THREADS + _AHEAD
    line.send(ids)
    assert statuses(stores) == found


def test_draining_begins_nothing_more_and_ends_the_tasks(stores, ses, line):
    ids = many(stores, 100)
    ses.open.clear()
    with task(line, ids):
        until(lambda: len(ses.asked) == THREADS)
        line.drain()
        ses.open.set()
    assert statuses(stores)["QUEUED"] >= 100 - THREADS - _AHEAD


def test_what_is_offered_is_sent_as_far_as_there_is_room(stores, ses, line):
    ids = many(stores, 20)
    assert line.offer(ids, 15) == ids[15:]
    until(lambda: statuses(stores) == {"SENT": 15, "QUEUED": 5})
    assert line.offer(ids[15:], 15) == []
    until(lambda: statuses(stores) == {"SENT": 20})


def test_a_line_that_was_never_used_has_no_threads(stores, ses):
    before = threading.active_count()
    line = Line(Sender(stores, ses, "gateway.example"), THREADS)
    line.send([])
    assert threading.active_count() == before
    line.close()
