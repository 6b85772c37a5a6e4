"""No statement that runs often, or behind the write gate, reads a table from end to end."""

from __future__ import annotations

import re
import sqlite3
from datetime import UTC, datetime, timedelta

import pytest

from gateway.addresses import parse_mailbox
from gateway.credentials import Caps
from gateway.lifecycle import ENDED_BEFORE_SES
from gateway.store.errors import OverCapError
from gateway.store.group_sending import Acceptance
from gateway.store.histories import Histories
from gateway.store.operations import Action, Operations, Order, Selection
from gateway.store.queue import Queue
from gateway.store.sending import Lease
from gateway.store.sql import Sql
from gateway.store.suppression_rows import end_scope, last_lifted
from gateway.subjects import parse_subject
from gateway.suppression_policy import Reason
from tests.gateway.store.test_notifications import apply, bounce, stored
from tests.support.mail import FACTS, accept, begun, change, claimed, envelope, lease_of, mark

# A handful of rows each, whatever the traffic is; `later` is a bounded look into a table, `v` the values of a group.
SQLITE_ONLY = True

# What the tests themselves change, instead of waiting.
OURS = ("claimed_until = 1", "ended_at = id", "received_at = 1")
SMALL = ("credentials", "control", "tallies", "later", "part", "v", "CONSTANT ROW")


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
    send_together(stores)
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
    suppress(stores)
    stores.messages.list(address="n1@example.com")
    stores.messages.show(claim.ulid)
    find(stores, claim.ulid)
    look_up(stores)
    forget(stores, lease, ids)
    stores.reports.gauges()
    queue = Queue(stores.db)
    queue.status()
    queue.stops()


def send_together(stores):
    """A group of which two are not plain: the one is claimed already, the other's attempt has ended."""
    ids = accept(stores, *(f"g{number}@example.com" for number in range(5)))
    mark(stores, *ids)
    groups = stores.group_sending
    candidates = groups.look(ids).candidates
    claimed(stores, ids[0])
    groups.begin(candidates).result(30)
    claims = [one.claim for one in candidates[1:]]
    stores.sending.accepted(claims[0], "ses-g0")
    groups.accepted([Acceptance(claim, f"ses-{claim.attempt_id}") for claim in claims]).result(30)


def suppress(stores):
    """Whatever is asked and changed but for lists of one reason, which walk behind their key."""
    jane, domain = parse_subject("jane@example.com"), parse_subject("@example.com")
    change(stores, "INSERT INTO credentials (name, created_at) VALUES ('shop', 1)")
    for subject in (jane, domain):
        for scope in ("", "shop"):
            for reason in (Reason.BOUNCE, Reason.COMPLAINT):
                stores.suppressions.add(subject, reason, source="", detail="", actor="jane", scope=scope)
    stores.suppressions.find(parse_mailbox("jane@example.com"), "shop")
    stores.suppressions.find_all([(parse_mailbox(f"jane{number}@example.com"), "shop") for number in range(20)])
    stores.suppressions.of(jane)
    stores.suppressions.history(jane)
    stores.suppressions.list()
    stores.suppressions.list(scope="shop")
    stores.suppressions.list(expired=True)
    with stores.db.read() as sql:
        last_lifted(sql, jane.key)
    stores.suppressions.remove(jane, why="asked", actor="jane")
    change(stores, "UPDATE suppressions SET expires_at = 1 WHERE address_key = '@example.com'")
    stores.suppressions.expire(10)
    stores.db.write(lambda sql: end_scope(sql, "shop", by="jane", why="gone", limit=10))


def look_up(stores):
    histories = Histories(stores.db)
    histories.of("n1@example.com", limit=20)
    histories.of("n1@example.com", limit=20, credential="local")


def find(stores, ulid):
    """What an operator may choose, but for what SES has: no index has that, and nothing can be done with it."""
    operations = Operations(stores.db, timedelta(days=4))
    moment = datetime(2026, 11, 1, tzinfo=UTC)
    for selection in (
        Selection(),
        Selection(credential="local", since=moment, before=moment, reason_contains="away"),
        Selection(address="n1@example.com"),
        Selection(messages=(ulid,)),
        *(Selection(statuses=(status,)) for status in ENDED_BEFORE_SES),
    ):
        for action in Action:
            operations.find(Order(action, selection, "jane"))
    operations.prospects(operations.find(Order(Action.CANCEL, Selection(), "jane")))


def forget(stores, lease, ids):
    """Each step of retention finds something."""
    change(stores, "UPDATE recipients SET ended_at = id WHERE status NOT IN ('QUEUED', 'SENDING') OR id = ?", ids[3])
    change(stores, "UPDATE notifications SET received_at = 1")
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
    seen = recorded(stores, monkeypatch)
    stores.reports.gauges()
    assert scans(tmp_path, seen) == []
    assert len(seen) > 15


def test_listening_for_reports_of_each_configuration_set_scans_no_table(stores, tmp_path, monkeypatch):
    (id_,) = accept(stores)
    stores.sending.accepted(begun(stores, id_), "ses-1")
    apply(stores, bounce(ses_message_id="of-another-system", address="b@example.com"))
    stores.credentials.add("shop", actor="jane", configuration_set="marketing")
    seen = recorded(stores, monkeypatch)
    stores.silence.listen()
    assert scans(tmp_path, seen) == []
    assert len(seen) >= 8


# What has its order from nowhere: whom a mail goes to, and SNS's ids.
SCATTERED = re.compile(r"\(\W*(address|address_key|blamed_key|sns_message_id)\b")
# Of few rows; and what makes ids unique, which programs of release 0.1 name in their statements.
SCATTERED_NEVERTHELESS = ["events_bounced", "notification_sns_message_id"]


def test_what_is_written_for_each_mail_goes_side_by_side_into_every_index(stores, tmp_path):
    """Else each of them writes a page of its own, which is not in memory beside ten million others."""
    with sqlite3.connect(tmp_path / "sesgate.db") as connection:
        indexes = connection.execute(
            "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL AND tbl_name IN"
            " ('messages', 'contents', 'recipients', 'attempts', 'notifications', 'events') ORDER BY name"
        ).fetchall()
    connection.close()
    assert [name for name, text in indexes if SCATTERED.search(text)] == SCATTERED_NEVERTHELESS
    assert len(indexes) > 25


MEANT = (
    *("recipients_ended", "recipients_given_up", "recipients_unfinished", "recipients_claimed"),
    *("notifications_done", "notifications_not_understood", "attempts_accepted"),
)


def test_the_indexes_that_leave_out_finished_mail_are_used(stores, tmp_path, monkeypatch):
    seen = recorded(stores, monkeypatch)
    exercise(stores)
    with sqlite3.connect(tmp_path / "sesgate.db") as connection:
        plans = [
            step[3]
            for statement, values in asked(seen)
            for step in connection.execute(f"EXPLAIN QUERY PLAN {statement}", values)
        ]
    connection.close()
    assert [index for index in MEANT if not any(f" {index} " in step for step in plans)] == []


def test_postgresql_scans_no_table_either(postgres_stores, monkeypatch):
    seen = recorded(postgres_stores, monkeypatch)
    exercise(postgres_stores)
    plans = []
    with postgres_stores.db.read() as sql:
        sql.all("SELECT set_config('enable_seqscan', 'off', false)")  # the tables are too small for an index to pay
        for statement, values in asked(seen):
            if any(trick in statement for trick in OURS):
                continue
            cursor = postgres_stores.db.peewee.execute_sql(f"EXPLAIN {statement}", values)
            plans += [(step, statement) for (step,) in cursor.fetchall()]
    scanned = [
        plan for plan in plans if "Seq Scan on " in plan[0] and not any(f" on {name}" in plan[0] for name in SMALL)
    ]
    assert scanned == []
    assert [index for index in MEANT if not any(f" {index} " in step for step, _ in plans)] == []


def asked(seen):
    kinds = ("SELECT", "WITH", "UPDATE", "DELETE", "INSERT")
    return [(statement, values) for statement, values in seen.items() if statement.startswith(kinds)]


def recorded(stores, monkeypatch):
    """Every statement from now on, with the first values bound to it."""
    seen: dict[str, tuple] = {}
    execute, many = Sql._execute, Sql.many

    def record(self, statement, parameters):
        seen.setdefault(self.spelled(statement), parameters)
        return execute(self, statement, parameters)

    def record_many(self, statement, rows):
        rows = list(rows)
        if rows:
            seen.setdefault(self.spelled(statement), rows[0])
        many(self, statement, rows)

    monkeypatch.setattr(Sql, "_execute", record)
    monkeypatch.setattr(Sql, "many", record_many)
    return seen


def scans(tmp_path, seen):
    found = []
    with sqlite3.connect(tmp_path / "sesgate.db") as connection:
        for statement, parameters in asked(seen):
            if any(trick in statement for trick in OURS):
                continue
            for _, _, _, step in connection.execute(f"EXPLAIN QUERY PLAN {statement}", parameters):
                if step.endswith("CONSTANT ROWS"):  # the VALUES of the statement itself
                    continue
                if step.startswith("SCAN") and not step.startswith(tuple(f"SCAN {name}" for name in SMALL)):
                    found.append((step, statement))
    connection.close()
    return found
