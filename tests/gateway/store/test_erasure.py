from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from gateway.addresses import parse_mailbox
from gateway.feedback import BounceType, EventKind, Feedback
from gateway.store.control import CIRCUIT
from gateway.store.erasure import Erasure, StillWaitingError
from gateway.store.notifications import NewNotification
from gateway.subjects import parse_subject
from gateway.suppression_policy import Reason
from tests.support.mail import accept, begun, change, claimed, rows

ANN = parse_mailbox("ann@example.com")
TABLES = (
    "messages",
    "contents",
    "recipients",
    "attempts",
    "events",
    "notifications",
    "suppressions",
    "suppression_history",
    "suppression_import_rows",
    "control",
    "audit",
)


def erase(stores, mailbox=ANN, *, cancel=False, forget=False):
    erasure = Erasure(stores.db)
    traces = erasure.find(mailbox)
    erasure.erase(traces, cancel=cancel, forget_suppression=forget, actor="jane")
    return traces


def everything(stores):
    """Every value of every row, as one text."""
    return json.dumps([rows(stores, f"SELECT * FROM {table}") for table in TABLES], default=lambda v: bytes(v).decode())


def bounce(stores, claim, address="ann@example.com", *, kind=EventKind.BOUNCE):
    """SES took the mail, and reported a bounce that has been processed."""
    stores.sending.accepted(claim, f"ses-{claim.recipient_id}")
    text = json.dumps({"mail": {"destination": [claim.address]}, "bounce": f"<{address}> is unknown"})
    notification = stores.notifications.store(
        NewNotification(f"sns-{claim.recipient_id}", "arn", text, datetime.now(UTC))
    )
    feedback = Feedback(
        kind=kind,
        ses_message_id=f"ses-{claim.recipient_id}",
        occurred_at=datetime.now(UTC),
        attempt_id=claim.attempt_id,
        address=address,
        bounce_type=BounceType.PERMANENT,
        diagnostic=f"smtp; 550 5.1.1 <{address}>: unknown",
    )
    stores.notifications.apply(notification, [feedback], wait_for_match=False)
    return notification


def test_nothing_is_left_of_somebody_whose_mail_has_ended(stores):
    content = b"From: shop@example.org\r\nTo: Ann <ann@example.com>\r\n\r\nDear Ann\r\n"
    (recipient,) = accept(stores, "Ann@Example.com", content=content)
    bounce(stores, begun(stores, recipient))
    stores.suppressions.add(ANN, Reason.COMPLAINT, source="operator", detail="wrote to us", actor="jane")
    assert "ann@example.com" in everything(stores).lower()

    traces = erase(stores, forget=True)
    assert "ann@example.com" not in everything(stores).lower()
    assert "Dear Ann" not in everything(stores)
    assert "wrote to us" not in everything(stores)
    assert (len(traces.recipients), len(traces.whole_messages), len(traces.notifications)) == (1, 1, 1)
    for table in ("messages", "contents", "recipients", "attempts", "events", "suppressions"):
        assert rows(stores, f"SELECT count(*) FROM {table}") == [(0,)], table
    # The id of the report stays, for SNS may repeat it.
    assert rows(stores, "SELECT message, processed_at IS NOT NULL FROM notifications") == [(None, True)]


def test_the_suppression_stays_without_what_it_does_not_need(stores):
    (recipient,) = accept(stores, "Ann@example.com")
    bounce(stores, begun(stores, recipient))
    erase(stores)
    kept = stores.suppressions.find(ANN)
    assert (kept.address, kept.reason, kept.detail) == ("ann@example.com", Reason.BOUNCE, "")


def test_others_keep_their_mail(stores):
    ann, bob = accept(stores, "ann@example.com", "bob@example.com")
    bounce(stores, begun(stores, ann))
    joann, *_ = accept(stores, "joann@example.com")
    traces = erase(stores)
    assert traces.contents_needed == 1
    assert [row[0] for row in rows(stores, "SELECT address FROM recipients ORDER BY id")] == [
        "bob@example.com",
        "joann@example.com",
    ]
    claim = claimed(stores, bob)
    assert stores.sending.content(claim) is not None
    assert joann


def test_the_content_of_a_mail_to_others_goes_once_it_is_sent(stores):
    ann, bob = accept(stores, "ann@example.com", "bob@example.com")
    bounce(stores, begun(stores, ann))
    stores.sending.accepted(begun(stores, bob), "ses-bob")
    traces = erase(stores)
    assert traces.contents_needed == 0
    assert rows(stores, "SELECT count(*) FROM contents") == [(0,)]
    assert rows(stores, "SELECT address, status FROM recipients") == [("bob@example.com", "SENT")]


def test_somebody_who_sent_mail_is_erased_as_sender(stores):
    (recipient,) = accept(stores, "bob@example.com")
    stores.sending.accepted(begun(stores, recipient), "ses-1")
    change(
        stores, "UPDATE messages SET reverse_path = ?, header_from = ?", "ann@example.com", "Ann A <ann@example.com>"
    )
    change(stores, "UPDATE messages SET subject = ?", "Reply to ann@example.com")
    erase(stores)
    assert rows(stores, "SELECT reverse_path, header_from, subject FROM messages") == [
        ("(erased)", "(erased)", "Reply to (erased)")
    ]
    assert rows(stores, "SELECT count(*) FROM contents") == [(0,)]


def test_a_mail_of_somebody_else_that_was_forwarded_to_the_address_loses_only_the_address(stores):
    (bob,) = accept(stores, "bob@example.com")
    bounce(stores, begun(stores, bob), "ann@example.com")
    erase(stores)
    assert "ann@example.com" not in everything(stores)
    assert rows(stores, "SELECT address, address_key, diagnostic, recipient_id FROM events") == [
        (None, None, "smtp; 550 5.1.1 <(erased)>: unknown", bob)
    ]
    assert stores.suppressions.find(parse_mailbox("bob@example.com")).detail.endswith("<(erased)>: unknown")


def test_texts_of_the_audit_and_of_the_circuit_lose_the_address(stores):
    stores.suppressions.add(ANN, Reason.MANUAL, source="operator", detail="Ann phoned", actor="jane")
    stores.control.put(CIRCUIT, {"reason": "Email address is not verified: ann@example.com"})
    erase(stores, forget=True)
    assert "ann@example.com" not in everything(stores)
    assert stores.control.get(CIRCUIT) == {"reason": "Email address is not verified: (erased)"}


def test_the_erasure_is_in_the_audit_without_the_address(stores):
    erase(stores)
    assert rows(stores, "SELECT actor, action, subject, detail FROM audit") == [
        ("jane", "erase", "(erased)", "0 recipients, suppression not kept")
    ]


def test_mail_that_waits_is_not_removed_by_accident(stores):
    accept(stores, "ann@example.com")
    with pytest.raises(StillWaitingError, match=r"1 QUEUED.*--cancel"):
        erase(stores)
    assert rows(stores, "SELECT count(*) FROM recipients") == [(1,)]


def test_mail_that_waits_is_given_up_when_that_is_wanted(stores):
    queued, in_doubt = accept(stores, "ann@example.com")[0], accept(stores, "ann@example.com")[0]
    stores.sending.ambiguous(begun(stores, in_doubt), "time-out")
    erase(stores, cancel=True)
    assert rows(stores, "SELECT count(*) FROM messages") == [(0,)]
    assert stores.sending.claim(queued) is None


def test_a_mail_is_not_taken_away_from_under_a_worker(stores):
    (recipient,) = accept(stores, "ann@example.com")
    claim = begun(stores, recipient)
    with pytest.raises(StillWaitingError, match="being handed to SES"):
        erase(stores, cancel=True)
    stores.sending.accepted(claim, "ses-1")
    erase(stores)
    assert rows(stores, "SELECT count(*) FROM recipients") == [(0,)]


def test_a_claim_that_comes_between_looking_and_removing_is_noticed(stores):
    (recipient,) = accept(stores, "ann@example.com")
    erasure = Erasure(stores.db)
    traces = erasure.find(ANN)
    claimed(stores, recipient)
    with pytest.raises(StillWaitingError, match="being handed to SES"):
        erasure.erase(traces, cancel=True, forget_suppression=False, actor="jane")
    assert rows(stores, "SELECT count(*) FROM recipients") == [(1,)]


def test_a_report_that_is_to_be_processed_is_waited_for(stores):
    stores.notifications.store(NewNotification("1", "arn", '{"to": "ann@example.com"}', datetime.now(UTC)))
    with pytest.raises(StillWaitingError, match="A report of SES"):
        erase(stores)


def test_a_report_that_nobody_understands_is_emptied(stores):
    stored = stores.notifications.store(NewNotification("1", "arn", '{"to": "ann@example.com"}', datetime.now(UTC)))
    stores.notifications.park(stored, "unknown kind for ann@example.com")
    erase(stores)
    assert rows(stores, "SELECT message, error, processed_at IS NULL FROM notifications") == [
        (None, "unknown kind for (erased)", False)
    ]


def test_a_report_without_a_known_mail_is_deleted(stores):
    feedback = Feedback(
        kind=EventKind.COMPLAINT, ses_message_id="x", occurred_at=datetime.now(UTC), address="ann@example.com"
    )
    stored = stores.notifications.store(NewNotification("1", "arn", "{}", datetime.now(UTC)))
    stores.notifications.apply(stored, [feedback], wait_for_match=False)
    erase(stores)
    assert rows(stores, "SELECT count(*) FROM events") == [(0,)]
    assert stores.suppressions.find(ANN).reason is Reason.COMPLAINT


def test_erasing_again_finds_nothing(stores):
    (recipient,) = accept(stores, "ann@example.com")
    bounce(stores, begun(stores, recipient))
    erase(stores, forget=True)
    again = erase(stores, forget=True)
    assert (again.recipients, again.texts, again.events, again.notifications) == ((), (), (), ())


def test_many_rows_are_removed_in_small_transactions(stores):
    for _ in range(450):
        accept(stores, "ann@example.com")
    steps = []
    traces = Erasure(stores.db).find(ANN, lambda done, total: steps.append((done, total)))
    assert all(done <= total for done, total in steps)
    assert steps[-1][0] == steps[-1][1]
    Erasure(stores.db).erase(traces, cancel=True, forget_suppression=False, actor="jane")
    assert rows(stores, "SELECT count(*) FROM messages") == [(0,)]


@pytest.fixture
def shop(stores):
    stores.credentials.add("shop", application="The shop", actor="jane")


def suppress(stores, text, scope="", **fields):
    stores.suppressions.add(
        parse_subject(text),
        Reason.MANUAL,
        source="operator",
        detail="by phone",
        note="ann@example.com called",
        actor="jane",
        scope=scope,
        **fields,
    )


def staged(stores, key, scope=""):
    import_id = stores.db.write(
        lambda sql: sql.value(
            "INSERT INTO suppression_imports (source, actor, started_at, carried, added, changed)"
            " VALUES ('list.csv', 'jane', 1, 0, 0, 0) RETURNING id"
        )
    )
    change(
        stores,
        "INSERT INTO suppression_import_rows (suppression_import_id, ordinal, address_key, address, scope, reason,"
        " source, detail, note, since) VALUES (?, 1, ?, 'Ann@example.com', ?, 'manual', 'list', 'd', 'Ann called', 1)",
        import_id,
        f"{key}/{scope}" if scope else key,
        scope,
    )


def test_entries_of_every_scope_their_past_and_what_is_being_imported_are_forgotten(stores, shop):
    for scope in ("", "shop"):
        suppress(stores, "Ann@example.com", scope)
        staged(stores, ANN.key, scope)
    stores.suppressions.add(ANN, Reason.COMPLAINT, source="", detail="", actor="jane")
    change(stores, "UPDATE suppressions SET scope = 'gone', address_key = 'ann@example.com/gone' WHERE scope = 'shop'")
    traces = erase(stores, forget=True)
    assert (len(traces.suppressions), len(traces.staged)) == (2, 2)
    assert "ann@example.com" not in everything(stores).lower()
    assert "called" not in everything(stores)
    assert stores.reports.gauges().inbox.suppressions == {"manual": 0, "complaint": 0}


def test_what_is_kept_of_suppressions_is_what_honours_them(stores, shop):
    for scope in ("", "shop"):
        suppress(stores, "Ann@example.com", scope)
        staged(stores, ANN.key, scope)
    stores.suppressions.add(ANN, Reason.COMPLAINT, source="", detail="", actor="jane")
    erase(stores)
    kept = rows(stores, "SELECT address_key, address, detail, note FROM suppressions ORDER BY address_key")
    waiting = rows(
        stores, "SELECT address_key, address, detail, note FROM suppression_import_rows ORDER BY address_key"
    )
    assert kept == waiting == [(key, ANN.key, "", "") for key in ("ann@example.com", "ann@example.com/shop")]
    assert rows(stores, "SELECT 1 FROM suppression_history") == []
    assert stores.suppressions.list()[1].key == "ann@example.com/shop"


def test_suppressions_of_others_and_of_the_domain_stay_and_lose_the_address_in_their_texts(stores, shop):
    for text in ("joann@example.com", "@example.com", "ann@example.com.test"):
        suppress(stores, text)
        suppress(stores, text, "shop")
    stores.suppressions.remove(parse_subject("@example.com"), why="ann@example.com wants mail", actor="jane")
    erase(stores, forget=True)
    assert [one.key for one in stores.suppressions.list(limit=10)] == sorted(
        [
            *("@example.com/shop", "ann@example.com.test", "ann@example.com.test/shop"),
            *("joann@example.com", "joann@example.com/shop"),
        ]
    )
    assert {one.note for one in stores.suppressions.list()} == {"(erased) called"}
    (past,) = stores.suppressions.history(parse_subject("@example.com"))
    assert (past.suppression.note, past.ended_why) == ("(erased) called", "(erased) wants mail")
