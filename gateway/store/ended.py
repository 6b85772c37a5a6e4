"""Recipients in the order in which they ended, each looked at once in its time.

What goes a while after the last recipient of a message ended is found by the recipient whose while is over last. So
nothing that only waits is looked at again and again, however much of it there is. How far each walk has come is kept
in `control`; without it the walk begins anew, which takes its time and changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from gateway.store import control
from gateway.store.sql import Sql
from gateway.store.times import span

# An end may be written under a clock that is behind, or be committed late: so much later all have arrived.
SLACK = timedelta(minutes=10)
LOOK = 2000
_BEGINNING = (0, 0)

Place = tuple[int, int]  # ended_at, id


@dataclass(frozen=True, slots=True)
class Walk:
    """`condition` chooses recipients and an index in this order; `wanted` says of a message whether to look closer."""

    name: str
    condition: str = "1 = 1"
    wanted: str = "1 = 1"


@dataclass(frozen=True, slots=True)
class Page:
    """The messages of the next recipients, and the places before and behind these."""

    messages: tuple[int, ...]
    before: Place
    behind: Place


def read_page(sql: Sql, walk: Walk, now: int, kept: timedelta, most: int) -> Page | None:
    """The next recipients that ended longer ago than `kept`, with at most so many messages; None when all are seen.

    Where the walk is beyond that moment already, time was set back or the setting was raised. What it has passed may be
    wanted again then, so it begins anew.
    """
    over = now - max(span(kept), span(SLACK))
    before = _place(sql, walk)
    start = before if before[0] <= over + span(SLACK) else _BEGINNING
    rows = sql.all(
        f"SELECT ended_at, id, message_id, CASE WHEN {walk.wanted} THEN 1 ELSE 0 END FROM recipients"
        f" WHERE {walk.condition} AND ended_at IS NOT NULL AND (ended_at, id) > (?, ?) AND ended_at <= ?"
        f" ORDER BY ended_at, id LIMIT {LOOK}",
        (*start, over),
    )
    if not rows:
        return None
    messages: set[int] = set()
    behind = start
    for ended_at, id_, message_id, wanted in rows:
        if wanted and len(messages | {message_id}) > most:
            break
        messages.update([message_id] if wanted else [])
        behind = (ended_at, id_)
    return Page(tuple(sorted(messages)), before, behind)


def go_on(sql: Sql, walk: Walk, page: Page) -> None:
    """Keep that a page is done, unless somebody moved the walk meanwhile."""
    sql.one(f"SELECT 1 FROM control WHERE key = ?{sql.to_change}", (control.RETENTION,))
    if _place(sql, walk) == page.before:
        control.put(sql, control.RETENTION, {**(control.get(sql, control.RETENTION) or {}), walk.name: page.behind})


def start_over(sql: Sql) -> None:
    """For whoever removes recipients: the one that a walk would have found their message by may be among them."""
    sql.run("DELETE FROM control WHERE key = ?", (control.RETENTION,))


def _place(sql: Sql, walk: Walk) -> Place:
    fact = control.get(sql, control.RETENTION) or {}
    ended_at, id_ = fact.get(walk.name, _BEGINNING)
    return int(ended_at), int(id_)
