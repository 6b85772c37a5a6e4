"""A day's sends are counted as the rows say, and not all of them each time."""

from __future__ import annotations

import pytest

from gateway.store.sent_counts import STEP, SentCounts, count_sent
from gateway.store.sql import Sql
from gateway.store.times import now_micros
from tests.support.mail import accept, change

SQLITE_ONLY = True
NOW = now_micros()
DAY = 144 * STEP


@pytest.fixture
def sent(stores):
    """A mail in each seven minutes of two days, the last of them a day ahead of the clock."""
    accept(stores, *(f"n{number}@example.com" for number in range(400)))
    change(stores, "UPDATE recipients SET counted_at = ? - 1000000 * 420 * (id - 200)", NOW)
    return stores


def local(sql: Sql) -> int:
    return int(sql.value("SELECT id FROM credentials WHERE name = 'local'"))


@pytest.mark.parametrize("back", [0, STEP // 3, STEP, 2 * STEP, 5 * STEP + 1, DAY - STEP, DAY])
@pytest.mark.parametrize("later", [0, STEP // 2, 7 * STEP])
def test_the_sum_is_what_counting_all_rows_gives(sent, back, later):
    counts = SentCounts()
    with sent.db.read() as sql:
        for now in (NOW, NOW + later):
            assert counts.count(sql, local(sql), now - back, now) == count_sent(sql, local(sql), now - back, now)


def test_what_was_settled_is_not_counted_again(sent, monkeypatch):
    counts, asked = SentCounts(), []
    execute = Sql._execute

    def record(self, statement, parameters):
        asked.append(statement)
        return execute(self, statement, parameters)

    with sent.db.read() as sql:
        credential = local(sql)
        counts.count(sql, credential, NOW - DAY, NOW)
        monkeypatch.setattr(Sql, "_execute", record)
        counts.count(sql, credential, NOW - DAY + 1000, NOW + 1000)
    assert len(asked) <= 3


def test_what_was_taken_back_is_noticed_after_a_while(sent):
    counts = SentCounts()
    with sent.db.read() as sql:
        credential = local(sql)
        before = counts.count(sql, credential, NOW - DAY, NOW)
    change(sent, "UPDATE recipients SET counted_at = NULL WHERE counted_at < ?", NOW - DAY // 2)
    with sent.db.read() as sql:
        assert counts.count(sql, credential, NOW - DAY, NOW) == before
        later = NOW + 13 * STEP
        assert counts.count(sql, credential, later - DAY, later) == count_sent(sql, credential, later - DAY, later)


def test_nothing_is_remembered_for_longer_than_it_is_asked_for(sent):
    counts = SentCounts()
    with sent.db.read() as sql:
        for step in range(0, 300, 10):
            now = NOW + step * STEP
            counts.count(sql, local(sql), now - DAY, now)
    assert len(counts._known) <= 145
