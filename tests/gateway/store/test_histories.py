from __future__ import annotations

from datetime import timedelta

import pytest

from gateway.feedback import BounceType, EventKind
from gateway.lifecycle import Status
from gateway.store.errors import StoreError
from gateway.store.histories import Histories
from gateway.store.operations import Action, Operations, Order, Selection
from tests.gateway.store.test_notifications import apply, bounce, complaint, feedback, sent
from tests.support.mail import accept, begun, change, rows


def history(stores, key="a@example.com", limit=20, **options):
    return Histories(stores.db).of(key, limit=limit, **options)


def test_an_address_of_which_nothing_is_known_has_an_empty_history(stores):
    found = history(stores)
    assert (found.mails, found.older, found.events, found.acts, found.waiting) == ((), 0, (), (), ())


def test_a_mail_is_told_with_its_attempts_and_its_reports(stores):
    claim = sent(stores, "A@Example.com")
    apply(stores, feedback(EventKind.SEND, claim.attempt_id), bounce(claim.attempt_id, "A@Example.com"))
    (mail,) = history(stores).mails
    assert (mail.message, mail.credential, mail.client_address) == (claim.ulid, "local", "192.0.2.1")
    assert (mail.address, mail.status, mail.subject) == ("A@Example.com", Status.BOUNCED, "Your order")
    assert (mail.header_from, mail.next_attempt_at) == ("shop@example.org", None)
    assert [(attempt.outcome, attempt.ses_message_id) for attempt in mail.attempts] == [("accepted", "ses-1")]
    assert [(event.kind, event.bounce_type) for event in mail.events] == [
        (EventKind.SEND, None),
        (EventKind.BOUNCE, BounceType.PERMANENT),
    ]
    assert {event.message for event in mail.events} == {claim.ulid}


def test_the_newest_mails_are_told_oldest_first_and_those_that_wait_beside_them(stores):
    first, second, third, fourth = (accept(stores, "a@example.com")[0] for _ in range(4))
    for id_ in (second, third, fourth):
        stores.sending.refused(begun(stores, id_), "never")
    found = history(stores, limit=1)
    assert [mail.status for mail in found.mails] == [Status.QUEUED, Status.FAILED]
    assert (found.older, [mail.status for mail in found.waiting]) == (2, [Status.QUEUED])
    assert found.mails[0].next_attempt_at is not None
    assert history(stores).older == 0
    assert first < fourth


def test_what_is_left_out_is_counted_however_much_there_is(stores, monkeypatch):
    monkeypatch.setattr("gateway.store.histories._LOOKED_AT", 3)
    for _ in range(5):
        accept(stores, "a@example.com")
    found = history(stores, limit=2)
    assert (len(found.mails), found.older) == (3, 2)  # the two newest, and one that waits


def test_only_mail_of_one_credential(stores):
    stores.credentials.add("shop", actor="jane")
    accept(stores, "a@example.com")
    accept(stores, "a@example.com", credential="shop")
    assert [mail.credential for mail in history(stores, credential="shop").mails] == ["shop"]
    with pytest.raises(StoreError, match="no credential nobody"):
        history(stores, credential="nobody")


def test_reports_on_mail_of_others_and_on_mail_that_was_forwarded_are_told_apart(stores):
    apply(stores, complaint(ses_message_id="of-another-system"))
    claim = sent(stores, "list@example.com")
    apply(stores, bounce(claim.attempt_id, "a@example.com"))
    apply(stores, feedback(EventKind.SEND, claim.attempt_id))
    found = history(stores)
    assert [(event.kind, event.sent_to, event.message) for event in found.events] == [
        (EventKind.COMPLAINT, None, None),
        (EventKind.BOUNCE, "list@example.com", claim.ulid),
    ]
    assert found.mails == ()
    other = history(stores, "list@example.com")
    assert [event.reported_address for event in other.mails[0].events] == ["a@example.com", None]
    assert other.events == ()


def order(stores, action, **selection):
    operations = Operations(stores.db, timedelta(days=4))
    wanted = Order(action, Selection(**selection), "jane", "she called")
    list(operations.run(wanted, operations.find(wanted)))


def test_what_an_operator_did_is_told_if_it_named_the_address_or_the_message(stores):
    accept(stores, "a@example.com")
    accept(stores, "ja@example.com")
    (ulid,) = rows(stores, "SELECT ulid FROM messages WHERE id = 1")[0]
    order(stores, Action.CANCEL, messages=(ulid,))
    order(stores, Action.RETRY, address="A@example.com", statuses=(Status.CANCELLED,))
    order(stores, Action.CANCEL, address="ja@example.com")
    found = history(stores)
    assert [(act.actor, act.action) for act in found.acts] == [("jane", "messages.cancel"), ("jane", "messages.retry")]
    assert "she called" in found.acts[0].detail


def test_an_address_with_very_many_mails_is_answered_from_a_few_rows(stores):
    accept(stores, "a@example.com")
    change(
        stores,
        "INSERT INTO recipients (message_id, credential_id, address, address_key, status, reason, attempts,"
        " next_attempt_at, expires_at, changed_at, ended_at) SELECT message_id, credential_id, address, address_key,"
        " 'DELIVERED', '', 1, 1, 1, 1, 1 FROM recipients, (SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3) n",
    )
    assert (len(history(stores, limit=2).mails), history(stores, limit=2).older) == (3, 1)
