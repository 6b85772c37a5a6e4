from __future__ import annotations

from datetime import UTC, datetime, timedelta

from gateway.store.control import ACCOUNT, CIRCUIT, PACE
from gateway.store.notifications import NewNotification
from gateway.store.queue import Queue
from tests.support.mail import accept, begun, change, claimed, lease_of, mark, rows


def test_the_status_counts_what_waits_and_what_is_due(stores):
    due, later, sending = accept(stores, "a@example.com", "b@example.com", "c@example.com")
    claimed(stores, sending)
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    change(
        stores,
        "UPDATE recipients SET next_attempt_at = ? WHERE id = ?",
        round(tomorrow.timestamp() * 1_000_000),
        later,
    )
    found = Queue(stores.db).status()
    assert found.recipients == {"QUEUED": 2, "SENDING": 1, "AMBIGUOUS": 0, "HELD": 0}
    assert found.due == 1
    assert found.oldest_due_at is not None
    assert abs(found.next_retry_at - tomorrow) < timedelta(seconds=1)
    assert due


def test_the_oldest_is_told_by_its_acceptance(stores):
    assert Queue(stores.db).status().oldest_accepted_at is None
    (ambiguous,) = accept(stores)
    stores.sending.ambiguous(begun(stores, ambiguous), "time-out")
    change(stores, "UPDATE messages SET accepted_at = 1000000")
    change(stores, "UPDATE recipients SET expires_at = 2000000")
    accept(stores)
    assert Queue(stores.db).status().oldest_accepted_at == datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)


def test_what_is_held_is_told_by_reason_and_many_reasons_are_summed_up(stores):
    ids = accept(stores, *(f"n{number}@example.com" for number in range(16)))
    for number, id_ in enumerate(ids):
        reason = "in doubt" if number < 5 else f"reason {number:02}"
        change(
            stores, "UPDATE recipients SET status = 'HELD', reason = ?, changed_at = ? WHERE id = ?", reason, id_, id_
        )
    held = Queue(stores.db).status().held_for
    assert [(one.reason, one.recipients) for one in held] == [
        ("in doubt", 5),
        *((f"reason {number:02}", 1) for number in range(5, 13)),
        ("3 other reasons", 3),
    ]
    assert held[0].oldest_at < held[-1].oldest_at


def test_what_a_held_credential_has_is_not_due(stores):
    accept(stores)
    stores.reputation.hold("local", "careless", actor="jane")
    found = Queue(stores.db).status()
    assert (found.due, found.oldest_due_at, found.recipients["QUEUED"]) == (0, None, 1)


def test_rate_and_account_are_unknown_until_somebody_tells_them(stores):
    found = Queue(stores.db).status()
    assert (found.pace, found.account) == (None, None)
    stores.control.put(PACE, {"rate": 13.3, "factor": 0.5})
    stores.control.put(ACCOUNT, {"max_send_rate": 14.0, "max_24_hour_send": 50_000.0, "sent_last_24_hours": 7.0})
    found = Queue(stores.db).status()
    assert (found.pace.rate, found.pace.factor) == (13.3, 0.5)
    assert (found.account.max_send_rate, found.account.max_24_hour_send, found.account.sent_last_24_hours) == (
        14,
        50_000,
        7,
    )
    assert found.account.asked_at <= datetime.now(UTC)


def test_what_was_reached_is_counted_for_good(stores):
    (id_,) = accept(stores)
    stores.sending.refused(begun(stores, id_), "never")
    change(stores, "DELETE FROM messages")
    assert Queue(stores.db).status().outcomes["FAILED"] == 1


def test_the_status_names_the_dispatcher_and_its_last_beat(stores):
    queue = Queue(stores.db)
    assert queue.status().dispatcher.holder == ""
    lease = lease_of(stores, "host/1")
    stores.control.beat(lease)
    dispatcher = queue.status().dispatcher
    assert (dispatcher.holder, dispatcher.epoch) == ("host/1", 1)
    assert dispatcher.last_beat_at <= datetime.now(UTC)


def test_the_status_tells_reports_to_process_from_those_not_understood(stores):
    for number in range(3):
        stores.notifications.store(NewNotification(str(number), "arn", "{}", datetime.now(UTC)))
    (first, *_) = rows(stores, "SELECT id FROM notifications ORDER BY id")
    stores.notifications.park(first[0], "unknown kind")
    found = Queue(stores.db).status()
    assert (found.unprocessed_notifications, found.notifications_not_understood) == (2, 1)


def test_the_status_says_why_the_circuit_is_open(stores):
    stores.control.put(CIRCUIT, {"reason": "the account is paused"}, lasting=timedelta(minutes=1))
    circuit = Queue(stores.db).status().circuit
    assert (circuit.kind, circuit.reason) == ("account", "the account is paused")
    assert circuit.probe_at > circuit.since


def test_a_pause_stops_marks_and_claims_until_it_is_lifted(stores):
    (recipient,) = accept(stores)
    queue, lease = Queue(stores.db), lease_of(stores)
    assert queue.pause("templates are checked", actor="jane") is None
    assert stores.sending.mark_due(lease, 10) == []
    mark(stores, recipient)
    assert stores.sending.claim(recipient) is None

    assert queue.resume(actor="jane").reason == "templates are checked"
    assert stores.sending.claim(recipient) is not None


def test_a_second_pause_leaves_the_first_one_alone(stores):
    queue = Queue(stores.db)
    queue.pause("first", actor="jane")
    assert queue.pause("second", actor="john").reason == "first"
    assert queue.status().pause.reason == "first"
    assert queue.status().pause.actor == "jane"


def test_lifting_no_pause_changes_nothing(stores):
    assert Queue(stores.db).resume(actor="jane") is None
    assert rows(stores, "SELECT count(*) FROM audit") == [(0,)]


def test_pausing_and_resuming_are_in_the_audit_once_each(stores):
    queue = Queue(stores.db)
    for _ in range(2):
        queue.pause("why", actor="jane")
    for _ in range(2):
        queue.resume(actor="john")
    assert rows(stores, "SELECT actor, action, detail FROM audit ORDER BY id") == [
        ("jane", "queue.pause", "why"),
        ("john", "queue.resume", "was paused: why"),
    ]


def test_a_restored_database_takes_the_last_thing_that_happened_for_the_moment_of_the_backup(stores):
    accept(stores)
    last = max(
        rows(stores, "SELECT max(changed_at) FROM control"), rows(stores, "SELECT max(accepted_at) FROM messages")
    )[0][0]
    pause = Queue(stores.db).pause_restored(None, actor="jane")
    assert round(pause.backup_at.timestamp() * 1_000_000) == last
    assert Queue(stores.db).find_pause() == pause


def test_what_was_accepted_after_the_backup_is_no_risk(stores):
    queued, sending, in_doubt = accept(stores, "a@example.com", "b@example.com", "c@example.com")
    claimed(stores, sending)
    stores.sending.ambiguous(begun(stores, in_doubt), "time-out")
    queue = Queue(stores.db)
    made_at = queue.pause_restored(None, actor="jane").backup_at
    queue.resume(actor="jane")
    accept(stores, "d@example.com")
    waiting = {one.status: one.recipients for one in queue.waiting_since_backup(made_at)}
    assert waiting == {"AMBIGUOUS": 1, "QUEUED": 1, "SENDING": 1}
    assert queued


def test_a_pause_by_hand_in_a_dump_becomes_that_of_a_restored_database(stores):
    queue = Queue(stores.db)
    queue.pause("maintenance", actor="jane")
    made_at = datetime(2026, 11, 21, 3, tzinfo=UTC)
    assert queue.pause_restored(made_at, actor="john").backup_at == made_at
    # Said twice, the first one stays.
    assert queue.pause_restored(None, actor="john").backup_at == made_at
    assert queue.find_pause().reason == "restored from a backup made at 2026-11-21 03:00:00 UTC"
