from __future__ import annotations

import pytest

from gateway.addresses import parse_mailbox
from gateway.store.control import CIRCUIT, PAUSE
from gateway.store.errors import StoreUnavailableError
from gateway.suppression_policy import Reason
from tests.gateway.store.test_notifications import stored
from tests.support.mail import accept, begun, change, lease_of


def test_the_gauges_of_an_empty_installation(stores):
    gauges = stores.reports.gauges()
    assert (gauges.recipients, gauges.suppressions, gauges.messages) == ({}, {}, 0)
    assert (gauges.oldest_due_age, gauges.unprocessed_notifications) == (0.0, 0)
    assert (gauges.dispatcher_holder, gauges.dispatcher_epoch, gauges.dispatcher_beat) == ("", 0, 0)
    assert not gauges.circuit_open
    assert not gauges.paused
    assert gauges.database_bytes > 0


def test_the_gauges_count_what_there_is(stores):
    first, _ = accept(stores, "a@example.com", "b@example.com")
    stores.sending.accepted(begun(stores, first), "ses-1")
    stores.suppressions.add(parse_mailbox("c@example.com"), Reason.BOUNCE, source="", detail="", actor="")
    processed, _ = stored(stores), stored(stores)
    stores.notifications.apply(processed, (), wait_for_match=False)
    lease = lease_of(stores, "host/1")
    stores.control.beat(lease)
    stores.control.put(PAUSE, {})
    stores.control.put(CIRCUIT, {})
    gauges = stores.reports.gauges()
    assert gauges.recipients == {"SENT": 1, "QUEUED": 1}
    assert gauges.suppressions == {"bounce": 1}
    assert (gauges.messages, gauges.unprocessed_notifications) == (1, 1)
    assert (gauges.dispatcher_holder, gauges.dispatcher_epoch, gauges.dispatcher_beat) == ("host/1", 1, 1)
    assert gauges.circuit_open
    assert gauges.paused


def test_the_age_is_that_of_the_recipient_that_is_due_longest(stores):
    first, second, later = accept(stores, "a@example.com", "b@example.com", "c@example.com")
    change(stores, "UPDATE recipients SET next_attempt_at = next_attempt_at - 100000000 WHERE id = ?", first)
    change(stores, "UPDATE recipients SET next_attempt_at = next_attempt_at - 50000000 WHERE id = ?", second)
    change(stores, "UPDATE recipients SET next_attempt_at = next_attempt_at + 90000000 WHERE id = ?", later)
    assert 100 <= stores.reports.gauges().oldest_due_age < 400
    change(stores, "UPDATE recipients SET status = 'SENT' WHERE id <> ?", later)
    assert stores.reports.gauges().oldest_due_age == 0.0


def test_gauges_that_cannot_be_read_are_unavailable(stores):
    change(stores, "ALTER TABLE notifications RENAME TO elsewhere")
    with pytest.raises(StoreUnavailableError):
        stores.reports.gauges()
