from __future__ import annotations

from datetime import timedelta

from gateway.feedback import EventKind, Feedback
from gateway.lifecycle import Status
from gateway.store.messages import Messages, RecipientSummary
from tests.gateway.store.test_notifications import AT, apply
from tests.support.mail import CONTENT, FACTS, accept, begun, change, envelope, rows


def submit(stores, *addresses, **fields):
    return stores.messages.submit(envelope(*addresses, **fields), FACTS).result(timeout=30)


def test_messages_are_listed_newest_first(stores):
    ulids = [submit(stores, f"{name}@example.com") for name in "abc"]
    assert ulids == sorted(ulids)
    assert [one.ulid for one in stores.messages.list()] == ulids[::-1]
    assert [one.ulid for one in stores.messages.list(limit=2)] == ulids[:0:-1]
    assert [one.ulid for one in stores.messages.list(before=ulids[1].lower())] == ulids[:1]


def test_a_message_in_a_list_shows_its_recipients(stores):
    submit(stores, "a@example.com", "b@example.com")
    (found,) = stores.messages.list()
    assert (found.credential, found.reverse_path, found.subject) == ("local", "shop@example.org", "Your order")
    assert found.size == len(CONTENT)
    assert found.recipients == (
        RecipientSummary("a@example.com", Status.QUEUED, ""),
        RecipientSummary("b@example.com", Status.QUEUED, ""),
    )


def test_messages_are_found_by_status_and_by_any_spelling_of_an_address(stores):
    queued = submit(stores, "a@example.com")
    failed = submit(stores, "Bob@example.com")
    change(stores, "UPDATE recipients SET status = 'FAILED' WHERE address_key = 'bob@example.com'")
    assert [one.ulid for one in stores.messages.list(status=Status.FAILED)] == [failed]
    assert [one.ulid for one in stores.messages.list(address="BOB@EXAMPLE.com")] == [failed]
    assert [one.ulid for one in stores.messages.list(status=Status.QUEUED)] == [queued]
    assert stores.messages.list(status=Status.QUEUED, address="bob@example.com") == []
    assert stores.messages.list(address="nobody@example.com") == []


def test_a_message_shows_its_attempts_and_events(stores):
    (id_,) = accept(stores)
    claim = begun(stores, id_)
    stores.sending.accepted(claim, "ses-1")
    delivered = Feedback(
        kind=EventKind.DELIVERY,
        ses_message_id="ses-1",
        occurred_at=AT,
        attempt_id=claim.attempt_id,
        address="fwd@example.net",
        diagnostic="250 OK",
    )
    apply(stores, delivered)
    shown = stores.messages.show(claim.ulid.lower())
    (attempt,) = shown.attempts
    assert (attempt.attempt_id, attempt.address, attempt.outcome) == (claim.attempt_id, "a@example.com", "accepted")
    assert attempt.ses_message_id == "ses-1"
    assert attempt.started_at <= attempt.finished_at
    (event,) = shown.events
    assert (event.kind, event.recipient, event.reported_address) == ("Delivery", "a@example.com", "fwd@example.net")
    assert (event.diagnostic, event.occurred_at, event.sub_kind) == ("250 OK", AT, "")
    (recipient,) = shown.recipients
    assert (recipient.status, recipient.attempts, recipient.next_attempt_at) == (Status.DELIVERED, 1, None)
    assert shown.has_content
    assert shown.origin.helo == "erp.example.org"
    assert shown.header_message_id == "<1@example.org>"


def test_a_queued_recipient_shows_when_it_is_tried_next_and_when_given_up(stores):
    ulid = submit(stores, "a@example.com")
    shown = stores.messages.show(ulid)
    (recipient,) = shown.recipients
    assert recipient.next_attempt_at == shown.summary.accepted_at
    assert (recipient.expires_at - shown.summary.accepted_at).days == 4


def test_a_message_whose_content_is_gone_says_so(stores):
    ulid = submit(stores, "a@example.com")
    change(stores, "DELETE FROM contents")
    assert not stores.messages.show(ulid).has_content


def test_there_is_nothing_to_show_of_an_unknown_message(stores):
    assert stores.messages.show("01ARZ3NDEKTSV4RRFFQ69G5FAV") is None


def test_the_null_reverse_path_is_none(stores):
    sent = envelope("a@example.com")
    null = type(sent)(None, sent.forward_paths, sent.content, sent.origin)
    ulid = stores.messages.submit(null, FACTS).result(timeout=30)
    assert stores.messages.show(ulid).summary.reverse_path is None


def test_what_the_staging_guard_keeps_is_accepted_and_ended_with_its_reason(stores):
    def captured(address):
        return None if address == "qa@example.com" else "captured: so it was set"

    messages = Messages(stores.db, timedelta(days=1), captured)
    ulid = messages.submit(envelope("qa@example.com", "customer@example.net"), FACTS).result(timeout=30)
    shown = messages.show(ulid)
    assert shown.summary.recipients == (
        RecipientSummary("qa@example.com", Status.QUEUED, ""),
        RecipientSummary("customer@example.net", Status.CANCELLED, "captured: so it was set"),
    )
    assert shown.has_content
    assert rows(stores, "SELECT ended_at = changed_at FROM recipients WHERE status = 'CANCELLED'") in (
        [(1,)],
        [(True,)],
    )
    assert rows(stores, "SELECT label, count FROM tallies WHERE name = 'outcomes'") == [("CANCELLED", 1)]
