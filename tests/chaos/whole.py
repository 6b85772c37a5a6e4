"""A message is stored whole, or not at all: with all of its content, and with a recipient."""

from __future__ import annotations

from tests.chaos.book import Book
from tests.chaos.scenario import Run

COUNT_HALVES = (
    "SELECT count(*) FROM messages m LEFT JOIN contents c ON c.message_id = m.id"
    " WHERE c.message_id IS NULL OR length(c.data) <> m.size"
    " OR NOT EXISTS (SELECT 1 FROM recipients r WHERE r.message_id = m.id)"
)


def check_whole(run: Run, book: Book) -> None:
    halves = book.rows(COUNT_HALVES)[0][0]
    run.check(halves == 0, f"every message is stored whole, but for {halves}")
