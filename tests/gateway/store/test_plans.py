"""No statement that runs often, or behind the write gate, reads a table from end to end."""

from __future__ import annotations

import sqlite3
from datetime import timedelta

import pytest

from gateway.credentials import Caps
from gateway.store.errors import OverCapError
from gateway.store.sending import Lease
from tests.gateway.store.test_notifications import apply, bounce, stored
from tests.support.mail import FACTS, accept, begun, change, claimed, envelope, lease_of

# A handful of rows each, whatever the traffic is; `later` is a bounded look into a table.
SQLITE_ONLY = True

SMALL = ("credentials", "control", "tallies", "later")


def exercise(stores):
    lease: Lease = lease_of(stores)
    ids = accept(stores, *(f"n{number}@example.com" for number in range(6)))
    sending = stores.sending
    sending.outlook()
    sending.mark_due(lease, 3)
    sending.accepted(begun(stores, ids[0]), "ses-1")
    sending.released(begun(stores, ids[1]), "away", wait=timedelta(0))
    claim = begun(stores, ids[2])
    sending.content(claim)
    sending.ambiguous(claim, "lost")
    claimed(stores, ids[3])
    change(stores, "UPDATE recipients SET claimed_until = 1 WHERE id = ?", ids[3])
    stores.sweeping.sweep_lapsed(lease)
    change(stores, "UPDATE recipients SET expires_at = 1 WHERE id = ?", ids[4])
    stores.sweeping.expire(lease)
    apply(stores, bounce(ses_message_id="ses-1"), bounce(claim.attempt_id))
    id_ = stored(stores)
    stores.notifications.has_due()
    stores.notifications.mark_due(lease, 10)
    stores.notifications.read(id_)
    stores.notifications.postpone(id_, "", timedelta(0))
    stores.suppressions.list()
    stores.messages.list(address="n1@example.com")
    stores.messages.show(claim.ulid)
    stores.retention.run(lease)


def test_no_statement_scans_a_table(stores, tmp_path, monkeypatch):
    seen = recorded(stores, monkeypatch)
    exercise(stores)
    assert scans(tmp_path, seen) == []
    assert len(seen) > 40


def test_counting_and_forgetting_what_counts_against_a_cap_scans_no_table(stores, tmp_path, monkeypatch):
    lease = lease_of(stores)
    seen = recorded(stores, monkeypatch)
    caps = Caps(2, 2)
    for _ in range(2):
        stores.messages.submit(envelope(), FACTS, caps).result(timeout=30)
    with pytest.raises(OverCapError):
        stores.messages.submit(envelope(), FACTS, caps).result(timeout=30)
    stores.retention.run(lease)
    assert scans(tmp_path, seen) == []
    assert sum("credential_usage" in statement for statement in seen) == 4


def test_what_a_monitor_reads_scans_no_table(stores, tmp_path, monkeypatch):
    bounced, doubtful, _ = accept(stores, "a@example.com", "b@example.com", "c@example.com")
    apply(stores, bounce(begun(stores, bounced).attempt_id))
    stores.sending.ambiguous(begun(stores, doubtful), "lost")
    stores.reports.gauges()  # the first time counts what is counted once a minute
    seen = recorded(stores, monkeypatch)
    stores.reports.gauges()
    assert scans(tmp_path, seen) == []
    assert len(seen) > 15


def recorded(stores, monkeypatch):
    """Every statement from now on, with the first values bound to it."""
    seen: dict[str, tuple] = {}
    execute = stores.db.peewee.execute_sql

    def record(statement, parameters=()):
        seen.setdefault(statement, parameters)
        return execute(statement, parameters)

    monkeypatch.setattr(stores.db.peewee, "execute_sql", record)
    return seen


def scans(tmp_path, seen):
    found = []
    with sqlite3.connect(tmp_path / "sesgate.db") as connection:
        for statement, parameters in seen.items():
            if not statement.startswith(("SELECT", "UPDATE", "DELETE", "INSERT")) or "claimed_until = 1" in statement:
                continue
            for _, _, _, step in connection.execute(f"EXPLAIN QUERY PLAN {statement}", parameters):
                if step.startswith("SCAN") and not step.startswith(tuple(f"SCAN {name}" for name in SMALL)):
                    found.append((step, statement))
    connection.close()
    return found
