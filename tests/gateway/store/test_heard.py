from __future__ import annotations

from datetime import UTC, datetime, timedelta
from threading import Thread

from gateway.store.control import HEARD
from gateway.store.heard import Record, note_heard

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
TOPIC = "arn:aws:sns:eu-west-1:123456789012:feedback"


def test_the_last_of_each_kind_is_kept_for_each_program(stores):
    note_heard(stores.db, "webhook", {"refused": Record(NOW, TOPIC, "It is old.")})
    note_heard(stores.db, "webhook", {"notification": Record(NOW + timedelta(seconds=1), TOPIC, "")})
    note_heard(stores.db, "queue", {"refused": Record(NOW, "", "It is raw.")})
    fact = stores.control.get(HEARD)
    assert fact == {
        "webhook": {
            "refused": {"at": "2026-11-22T12:00:00.000000+00:00", "topic": TOPIC, "reason": "It is old."},
            "notification": {"at": "2026-11-22T12:00:01.000000+00:00", "topic": TOPIC, "reason": ""},
        },
        "queue": {"refused": {"at": "2026-11-22T12:00:00.000000+00:00", "topic": "", "reason": "It is raw."}},
    }


def test_what_another_process_saw_later_is_not_replaced(stores):
    note_heard(stores.db, "webhook", {"refused": Record(NOW, TOPIC, "the later")})
    note_heard(stores.db, "webhook", {"refused": Record(NOW - timedelta(microseconds=1), TOPIC, "the earlier")})
    assert stores.control.get(HEARD)["webhook"]["refused"]["reason"] == "the later"


def test_several_at_once_forget_nothing_of_each_other(stores):
    kinds = [f"kind-{number}" for number in range(8)]
    threads = [Thread(target=note_heard, args=(stores.db, "queue", {kind: Record(NOW, "", "")})) for kind in kinds]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(stores.control.get(HEARD)["queue"]) == set(kinds)
