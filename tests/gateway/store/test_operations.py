from __future__ import annotations

import random
import threading
from datetime import UTC, datetime, timedelta

import pytest

from gateway.lifecycle import AFTER_SES, Happening, Status
from gateway.store.errors import StoreError
from gateway.store.operations import BATCH, Action, Operations, Order, Outcome, Prospects, Selection, Skip
from gateway.store.sending import happen
from gateway.store.times import now_micros, span
from gateway.subjects import parse_subject
from gateway.suppression_policy import Reason
from tests.support.mail import accept, begun, change, claimed, column, lease_of, mark, rows, status

MAX_AGE = timedelta(days=4)
HOUR = 3_600_000_000


def order(action=Action.RETRY, *, reason="", **selection):
    return Order(action, Selection(**selection), "jane", reason)


def do(stores, wanted):
    operations = Operations(stores.db, MAX_AGE)
    ids = operations.find(wanted)
    expected = sum(operations.preview(wanted, ids), Outcome())
    done = sum(operations.run(wanted, ids), Outcome())
    assert done == expected  # nobody else is at work here
    return done


def put(stores, id_, status):
    """As it would have come about, as far as the rows tell."""
    ended = now_micros() if status in {"FAILED", "EXPIRED", "CANCELLED", "SUPPRESSED"} else None
    change(
        stores,
        "UPDATE recipients SET status = ?, ended_at = ?, attempts = 3, reason = 'once' WHERE id = ?",
        status,
        ended,
        id_,
    )


def failed(stores, *addresses):
    ids = accept(stores, *addresses)
    for id_ in ids:
        put(stores, id_, "FAILED")
    return ids


# Retry


@pytest.mark.parametrize("before", ["FAILED", "EXPIRED"])
def test_what_had_ended_starts_anew(stores, before):
    (id_,) = accept(stores)
    put(stores, id_, before)
    change(stores, "UPDATE recipients SET next_attempt_at = 9e15, expires_at = 1, attempt_id = 'old'")
    now = now_micros()
    assert do(stores, order(statuses=(Status(before),), reason="the sender is verified")) == Outcome(done=1)
    assert status(stores, id_) == "QUEUED"
    assert column(stores, id_, "reason") == "to be sent again by jane: the sender is verified"
    assert (column(stores, id_, "attempts"), column(stores, id_, "ended_at")) == (0, None)
    assert now <= column(stores, id_, "next_attempt_at") <= now_micros()
    assert column(stores, id_, "expires_at") >= now + span(MAX_AGE)
    mark(stores, id_)
    assert stores.sending.claim(id_) is not None


def test_what_was_held_until_just_before_its_end_has_its_whole_age_again(stores):
    (id_,) = accept(stores)
    put(stores, id_, "HELD")
    change(stores, "UPDATE recipients SET expires_at = ? WHERE id = ?", now_micros() + 1, id_)
    assert do(stores, order(statuses=(Status.HELD,))).done == 1
    assert column(stores, id_, "expires_at") > now_micros() + 3 * 86_400_000_000


def test_what_waits_for_its_next_try_is_tried_now_and_what_is_due_is_left_alone(stores):
    waiting, due = accept(stores, "a@example.com", "b@example.com")
    stores.sending.released(begun(stores, waiting), "away", wait=timedelta(hours=1))
    changed = column(stores, due, "changed_at")
    everything = order(messages=tuple(row[0] for row in rows(stores, "SELECT ulid FROM messages")))
    assert do(stores, everything) == Outcome(1, 0, {Skip.DUE: 1})
    assert column(stores, waiting, "next_attempt_at") <= now_micros()
    assert (column(stores, waiting, "attempts"), column(stores, waiting, "reason")) == (1, "away")
    assert column(stores, due, "changed_at") == changed
    assert do(stores, order()) == Outcome()


@pytest.mark.parametrize("given_up", [Status.CANCELLED, Status.SUPPRESSED, Status.AMBIGUOUS])
def test_what_was_given_up_on_purpose_must_be_named(stores, given_up):
    (id_,) = accept(stores)
    (ulid,) = rows(stores, "SELECT ulid FROM messages")[0]
    put(stores, id_, given_up.value)
    assert do(stores, order()) == Outcome()
    assert do(stores, order(messages=(ulid,))) == Outcome(0, 0, {Skip.NOT_NAMED: 1})
    assert do(stores, order(statuses=(given_up,))).done == 1
    assert status(stores, id_) == "QUEUED"


@pytest.mark.parametrize("outcome", ["ambiguous", "lapsed", "held"])
def test_what_may_have_been_sent_already_is_counted(stores, outcome):
    doubtful, clear = accept(stores, "a@example.com", "b@example.com")
    claim = begun(stores, doubtful)
    if outcome == "lapsed":
        stores.db.write(lambda sql: happen(sql, doubtful, Happening.LOSE_SIGHT))
    else:
        stores.sending.ambiguous(claim, "time-out")
    if outcome == "held":
        stores.db.write(lambda sql: happen(sql, doubtful, Happening.HOLD))
    put(stores, clear, "FAILED")
    named = order(statuses=(Status.AMBIGUOUS, Status.HELD, Status.FAILED))
    assert do(stores, named) == Outcome(2, 1)


def test_a_late_answer_to_the_old_attempt_says_nothing_about_the_new_one(stores):
    (id_,) = accept(stores)
    claim = begun(stores, id_)
    stores.sending.ambiguous(claim, "time-out")
    do(stores, order(statuses=(Status.AMBIGUOUS,)))
    next_attempt_at = column(stores, id_, "next_attempt_at")
    stores.sending.released(claim, "refused after all", wait=timedelta(hours=1), counts=False)
    assert column(stores, id_, "next_attempt_at") == next_attempt_at
    assert column(stores, id_, "attempts") == 0
    # But that SES has it is true whoever tells it.
    stores.sending.accepted(claim, "ses-1")
    assert status(stores, id_) == "SENT"


def test_without_content_nothing_can_be_sent_again(stores):
    (id_,) = failed(stores, "a@example.com")
    change(stores, "DELETE FROM contents")
    assert do(stores, order(statuses=(Status.FAILED,))) == Outcome(0, 0, {Skip.NO_CONTENT: 1})
    assert status(stores, id_) == "FAILED"


def test_the_content_of_what_is_sent_again_is_kept(stores):
    retried, ended = failed(stores, "a@example.com"), failed(stores, "b@example.com")
    change(stores, "UPDATE recipients SET ended_at = 1")
    change(stores, "UPDATE messages SET accepted_at = 1")
    do(stores, order(address="a@example.com"))
    stores.retention.run(lease_of(stores))
    kept = {row[0] for row in rows(stores, "SELECT message_id FROM contents")}
    assert kept == {column(stores, retried[0], "message_id")}
    assert ended


@pytest.mark.parametrize("after", AFTER_SES)
@pytest.mark.parametrize("action", Action)
def test_what_ses_has_stays_as_it_is(stores, action, after):
    (id_,) = accept(stores)
    put(stores, id_, after.value)
    assert do(stores, order(action, statuses=(after,))) == Outcome(0, 0, {Skip.AT_SES: 1})
    assert status(stores, id_) == after.value


@pytest.mark.parametrize("action", Action)
def test_what_is_being_sent_stays_as_it_is(stores, action):
    (id_,) = accept(stores)
    claimed(stores, id_)
    assert do(stores, order(action, statuses=(Status.SENDING,))) == Outcome(0, 0, {Skip.SENDING: 1})
    assert status(stores, id_) == "SENDING"


# Cancel


@pytest.mark.parametrize("before", ["QUEUED", "HELD", "AMBIGUOUS"])
def test_what_waits_can_be_cancelled(stores, before):
    (id_,) = accept(stores)
    put(stores, id_, before)
    mark(stores, id_)
    assert do(stores, order(Action.CANCEL, reason="wrong template")).done == 1
    assert (status(stores, id_), column(stores, id_, "reason")) == ("CANCELLED", "cancelled by jane: wrong template")
    assert column(stores, id_, "ended_at") is not None
    assert stores.sending.claim(id_) is None


def test_the_reason_says_that_a_cancelled_mail_may_have_been_sent(stores):
    (id_,) = accept(stores)
    stores.sending.ambiguous(begun(stores, id_), "read time-out")
    assert do(stores, order(Action.CANCEL)) == Outcome(1, 1)
    assert column(stores, id_, "reason") == "cancelled by jane; it may have been sent: read time-out"


def test_what_has_ended_is_cancelled_no_more(stores):
    (id_,) = failed(stores, "a@example.com")
    assert do(stores, order(Action.CANCEL, statuses=(Status.FAILED,))) == Outcome(0, 0, {Skip.ENDED: 1})
    assert column(stores, id_, "reason") == "once"


# What is selected


def test_each_filter_narrows_the_selection(stores):
    change(stores, "INSERT INTO credentials (name, created_at) VALUES ('shop', 1)")
    old, shop = failed(stores, "a@example.com", "b@example.com"), accept(stores, credential="shop")
    other = failed(stores, "A@Example.com")
    put(stores, shop[0], "FAILED")
    change(stores, "UPDATE messages SET accepted_at = accepted_at - ? WHERE id = 1", 2 * HOUR)
    change(stores, "UPDATE recipients SET reason = ? WHERE id = ?", "100% Refused", old[1])
    operations, hour_ago = Operations(stores.db, MAX_AGE), datetime.now(UTC) - timedelta(hours=1)

    def found(**selection):
        return operations.find(order(**selection))

    assert found() == [*old, *shop, *other]
    assert found(address="a@EXAMPLE.com") == [old[0], *shop, *other]
    assert found(credential="shop") == shop
    assert found(credential="local", address="a@example.com") == [old[0], *other]
    assert found(since=hour_ago) == [*shop, *other]
    assert found(before=hour_ago) == old
    assert found(reason_contains="100% refused") == [old[1]]
    assert found(reason_contains="100_") == []
    assert found(statuses=(Status.HELD,)) == []
    ((ulid,),) = rows(stores, "SELECT ulid FROM messages WHERE id = 1")
    assert found(messages=(ulid,), address="b@example.com") == [old[1]]


@pytest.mark.parametrize(
    ("selection", "sentence"),
    [
        ({"credential": "nobody"}, "There is no credential nobody."),
        (
            {"messages": ("01KAMV7M0Q3W8Y4ZC9H2B6D5TN",)},
            "There is no message 01KAMV7M0Q3W8Y4ZC9H2B6D5TN; nothing was done.",
        ),
    ],
)
def test_what_does_not_exist_is_said(stores, selection, sentence):
    with pytest.raises(StoreError, match=sentence):
        Operations(stores.db, MAX_AGE).find(order(**selection))


# Many, and at the same time as others


def many(stores, count):
    ids = [id_ for _ in range(0, count, 100) for id_ in accept(stores, *(f"n{n}@example.com" for n in range(100)))]
    change(stores, "UPDATE recipients SET status = 'FAILED', ended_at = 1")
    return ids


def test_each_batch_is_told_after_its_commit_and_the_rest_can_be_done_later(stores):
    ids = many(stores, BATCH + 100)
    operations, wanted = Operations(stores.db, MAX_AGE), order(statuses=(Status.FAILED,), reason="network is back")
    steps = operations.run(wanted, operations.find(wanted))
    assert next(steps) == Outcome(done=BATCH)
    steps.close()  # as if it was interrupted here
    assert rows(stores, "SELECT status, count(*) FROM recipients GROUP BY status ORDER BY status") == [
        ("FAILED", 100),
        ("QUEUED", BATCH),
    ]
    assert do(stores, wanted) == Outcome(done=100)
    assert {status(stores, id_) for id_ in ids[:: BATCH // 4]} == {"QUEUED"}
    assert rows(stores, "SELECT actor, action, subject, detail FROM audit ORDER BY id") == [
        ("jane", "messages.retry", "messages", f"{BATCH} of {BATCH}; status FAILED; why: network is back"),
        ("jane", "messages.retry", "messages", "100 of 100; status FAILED; why: network is back"),
    ]


@pytest.mark.parametrize("action", Action)
def test_a_worker_that_claims_meanwhile_wins_or_loses_and_never_both(stores, action):
    ids = accept(stores, *(f"n{number}@example.com" for number in range(60)))
    mark(stores, *ids)
    if action is Action.RETRY:
        change(stores, "UPDATE recipients SET status = 'HELD'")
    claims, shuffled = [], random.Random(action).sample(ids, len(ids))
    begin = threading.Barrier(2)

    def work():
        begin.wait(timeout=30)
        claims.extend(id_ for id_ in shuffled if stores.sending.claim(id_) is not None)

    worker = threading.Thread(target=work)
    worker.start()
    operations, wanted = Operations(stores.db, MAX_AGE), order(action, statuses=(Status.QUEUED, Status.HELD))
    begin.wait(timeout=30)
    done = Outcome()
    for start in range(0, len(ids), 5):
        done += sum(operations.run(wanted, ids[start : start + 5]), Outcome())
    worker.join(timeout=60)
    counts = dict(rows(stores, "SELECT status, count(*) FROM recipients GROUP BY status"))
    if action is Action.CANCEL:
        assert counts.get("CANCELLED", 0) == done.done
        assert counts.get("SENDING", 0) == len(claims) == done.skipped.get(Skip.SENDING, 0)
        assert done.done + len(claims) == len(ids)
    else:
        # What is queued again has no mark, so no hint from before claims it.
        assert (done.done, claims, counts) == (len(ids), [], {"QUEUED": len(ids)})


def test_the_prospects_know_domains_credentials_and_ends(stores):
    stores.credentials.add("shop", application="The shop", actor="jane")
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    for text, scope, ends in (
        ("@dead.example", "", None),
        ("for-shop@example.com", "shop", None),
        ("for-local@example.com", "local", None),
        ("for-a-while@example.com", "", tomorrow),
        ("no-longer@example.com", "", tomorrow),
    ):
        subject = parse_subject(text)
        stores.suppressions.add(
            subject, Reason.MANUAL, source="", detail="", actor="jane", scope=scope, expires_at=ends
        )
    change(stores, "UPDATE suppressions SET expires_at = 1 WHERE address_key = 'no-longer@example.com'")
    addresses = ("Jane@dead.example", *(f"{name}@example.com" for name in ("for-shop", "for-local", "for-a-while")))
    ids = accept(stores, *addresses, "no-longer@example.com", "jane@example.com")
    assert Operations(stores.db, MAX_AGE).prospects(ids) == Prospects(("local",), 3)
