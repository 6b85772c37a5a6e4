"""A batch of a list costs what the batch costs, however long the list is and however much is suppressed."""

from __future__ import annotations

from datetime import timedelta

from gateway.suppression_policy import Reason
from tests.gateway.store.test_plans import asked, recorded, scans
from tests.gateway.store.test_suppression_imports import LATER, SOON, age, entry, imported, numbered, ready, staged

SQLITE_ONLY = True
# A row for each import of the last day.
SMALL = "suppression_imports"


def exercise(stores):
    """Batches that add, replace and prolong, and the clearing up."""
    imported(stores, [*numbered(500, reason=Reason.BOUNCE), entry("z@example.com", expires=SOON)])
    imported(stores, [*numbered(500, reason=Reason.COMPLAINT), entry("z@example.com", expires=LATER)], limit=100)
    staged(stores, numbered(1000))
    ready(stores, numbered(1000))
    stores.imports.carry_out(100, timedelta(0))
    age(stores)
    stores.imports.clear()


def test_no_statement_of_an_import_scans_a_table(stores, tmp_path, monkeypatch):
    seen = recorded(stores, monkeypatch)
    exercise(stores)
    assert [found for found in scans(tmp_path, seen) if found[0] != f"SCAN {SMALL}"] == []
    assert sum("suppression_import" in statement for statement, _ in asked(seen)) > 15


def test_postgresql_reads_of_a_list_no_more_than_the_batch(postgres_stores, monkeypatch):
    seen = recorded(postgres_stores, monkeypatch)
    exercise(postgres_stores)
    plans = {}
    with postgres_stores.db.read() as sql:
        sql.all("SELECT set_config('enable_seqscan', 'off', false)")  # the tables are too small for an index to pay
        for statement, values in asked(seen):
            cursor = postgres_stores.db.peewee.execute_sql(f"EXPLAIN {statement}", values)
            plans[statement] = [step for (step,) in cursor.fetchall()]
    of_rows = {text: plan for text, plan in plans.items() if "ordinal BETWEEN" in text}
    conditions = [
        step for plan in of_rows.values() for step in plan if "Index Cond: (" in step and "_import_id" in step
    ]
    assert len(of_rows) >= 6
    assert len(conditions) == len(of_rows)
    assert [step for step in conditions if "ordinal >=" not in step] == []
    scanned = [
        step for plan in plans.values() for step in plan if "Seq Scan on " in step and f" on {SMALL}" not in step
    ]
    assert scanned == []
