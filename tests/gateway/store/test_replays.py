from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta

import pytest

from gateway.lifecycle import Status
from gateway.store.notifications import NewNotification
from gateway.store.replays import BATCH, Progress, Replays
from gateway.store.times import to_micros
from tasks.feedback import FeedbackProcessor
from tests.support.mail import accept, begun, change, rows, status
from tests.support.payloads import ses

AT = datetime(2026, 11, 21, 22, 0, tzinfo=UTC)
TOPIC = "arn:aws:sns:us-east-1:1:t"


def arrived(stores, message="{}", number=1, at=AT):
    text = message if isinstance(message, str) else json.dumps(message)
    id_ = stores.notifications.store(NewNotification(f"sns-{number}", TOPIC, text, AT))
    change(stores, "UPDATE notifications SET received_at = ? WHERE id = ?", to_micros(at), id_)
    return id_


def process(stores, *ids):
    for id_ in ids:
        FeedbackProcessor(stores.notifications).process(id_)


def many(stores, count, *, at=AT):
    """Notifications that were processed, in one statement."""
    change(
        stores,
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)"
        " INSERT INTO notifications (sns_message_id, topic_arn, message, sent_at, received_at, processed_at, error)"
        " SELECT 'many-' || i, 't', ?, ?, ?, ?, '' FROM n",
        count,
        ses.CONFIRMED_TOPIC_TEXT,
        *[to_micros(at)] * 3,
    )


@pytest.fixture
def replays(stores):
    return Replays(stores.db)


def test_the_newest_is_listed_first_and_each_page_goes_on_behind_the_one_before(stores, replays):
    ids = [arrived(stores, number=number) for number in range(5)]
    assert [one.id for one in replays.list(limit=2)] == [ids[4], ids[3]]
    assert [one.id for one in replays.list(limit=3, before=ids[3])] == [ids[2], ids[1], ids[0]]


def test_a_notification_is_processed_or_waits_or_is_not_understood(stores, replays):
    done, unknown, waiting = arrived(stores, ses.CONFIRMED_TOPIC_TEXT), arrived(stores, "x", 2), arrived(stores, "y", 3)
    process(stores, done, unknown)
    listed = {one.id: (one.state, one.error) for one in replays.list()}
    assert listed[done] == ("processed", "")
    assert listed[waiting] == ("waiting", "")
    assert listed[unknown][0] == "not understood"
    assert listed[unknown][1]
    assert [one.id for one in replays.list(not_understood=True)] == [unknown]
    assert replays.progress([done, unknown, waiting]) == Progress(1, 1, 1)


def test_a_day_is_one_of_utc(stores, replays):
    midnight = datetime(2026, 11, 21, tzinfo=UTC)
    moments = [midnight - timedelta(microseconds=1), midnight, midnight + timedelta(days=1, microseconds=-1)]
    ids = [arrived(stores, number=number, at=at) for number, at in enumerate([*moments, midnight + timedelta(days=1)])]
    assert [one.id for one in replays.list(day=date(2026, 11, 21))] == [ids[2], ids[1]]
    change(stores, "UPDATE notifications SET next_attempt_at = NULL, processed_at = 1")
    assert list(replays.find(day=date(2026, 11, 21))) == [ids[1], ids[2]]


def test_a_notification_is_shown_with_its_text_and_what_was_read_in_it(stores, replays):
    (recipient,) = accept(stores, ses.RECIPIENT)
    claim = begun(stores, recipient)
    change(stores, "UPDATE attempts SET attempt_id = ?", ses.ATTEMPT_ID)
    id_ = arrived(stores, ses.event("Bounce", bounce=ses.bounce()))
    process(stores, id_)
    for name in (str(id_), "sns-1"):
        detail = replays.show(name)
        assert (detail.stored.id, detail.stored.topic_arn, detail.stored.state) == (id_, TOPIC, "processed")
        assert json.loads(detail.message)["eventType"] == "Bounce"
        (event,) = detail.events
        assert (event.kind, event.recipient, event.message_ulid) == ("Bounce", ses.RECIPIENT, claim.ulid)
        assert event.detail == "Bounce Permanent/General: smtp; 550 5.1.1 user unknown"


@pytest.mark.parametrize("name", ["999", "sns-999", "9" * 40, "", "²", "-1"])
def test_what_is_not_there_is_not_shown(replays, name):
    assert replays.show(name) is None


def test_a_number_may_be_the_id_that_sns_gave(stores, replays):
    change(stores, "DELETE FROM notifications")
    first = arrived(stores, "a")
    other = stores.notifications.store(NewNotification(str(first), TOPIC, "b", AT))
    assert replays.show(str(first)).stored.id == other


def test_replaying_processes_again_without_double_effect(stores, replays):
    (recipient,) = accept(stores, ses.RECIPIENT)
    begun(stores, recipient)
    change(stores, "UPDATE attempts SET attempt_id = ?", ses.ATTEMPT_ID)
    id_ = arrived(stores, ses.event("Bounce", bounce=ses.bounce()))
    process(stores, id_)
    looked_at = "SELECT address_key, reason, since, event_id FROM suppressions"
    before = rows(stores, looked_at), rows(stores, "SELECT * FROM events"), rows(stores, "SELECT * FROM recipients")
    assert list(replays.replay([id_], actor="jane")) == [1]
    assert stores.notifications.has_due()
    process(stores, id_)
    after = rows(stores, looked_at), rows(stores, "SELECT * FROM events"), rows(stores, "SELECT * FROM recipients")
    assert after == before
    assert status(stores, recipient) == Status.BOUNCED
    assert rows(stores, "SELECT actor, action, subject FROM audit") == [("jane", "feedback.replay", str(id_))]


def test_what_was_not_understood_is_tried_again_and_says_again_why(stores, replays):
    id_ = arrived(stores, '{"eventType": "Sunrise"}')
    process(stores, id_)
    assert list(replays.replay(replays.find(not_understood=True), actor="jane")) == [1]
    assert replays.progress([id_]) == Progress(waiting=1)
    process(stores, id_)
    assert replays.progress([id_]) == Progress(not_understood=1)
    assert "Sunrise" in replays.show(str(id_)).stored.error


def test_what_waits_anyway_and_what_is_no_longer_kept_is_left_alone(stores, replays):
    waiting, gone = arrived(stores, "a", 1), arrived(stores, "b", 2)
    process(stores, gone)
    change(stores, "UPDATE notifications SET message = NULL WHERE id = ?", gone)
    assert list(replays.find(day=AT.date())) == []
    assert list(replays.replay([waiting, gone], actor="jane")) == [0]
    assert rows(stores, "SELECT dispatched_until FROM notifications") == [(None,), (None,)]
    assert replays.show(str(gone)).message is None


def test_a_day_is_replayed_in_small_transactions(stores, replays):
    many(stores, BATCH * 2 + 1)
    ids = replays.find(day=AT.date())
    assert list(replays.replay(ids, actor="jane")) == [BATCH, BATCH, 1]
    assert replays.progress(ids) == Progress(waiting=BATCH * 2 + 1)


def test_nothing_to_replay_is_nothing_to_audit(stores, replays):
    assert list(replays.replay(replays.find(not_understood=True), actor="jane")) == []
    assert rows(stores, "SELECT count(*) FROM audit") == [(0,)]
