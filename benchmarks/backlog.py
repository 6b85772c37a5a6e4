"""What the steps of a mail's way cost beside millions of others, against the same on an empty database.

The same process does both in turn, with the stores' own steps in the groups in which programs take them. Beside the
others nothing is spared: addresses and SNS's ids go into indexes of millions of random keys, whose pages are in memory
or not, as they come. The empty database is one that holds little more than its last rounds, all of it in memory. What
is reported on was sent a moment ago, as nearly all that SES reports on. Checkpoints go on meanwhile, and what one side
left to be written is written before the other one is timed.

Seconds depend on the machine and on who else is at work there; so of each step that writes it is told, too, how much
that was, in the log and by checkpoints, which noise does not touch.
"""

from __future__ import annotations

import json
import logging
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar
from uuid import uuid4

from benchmarks.filling import fill_backlog, mail_of
from benchmarks.frame import Bar, Figure, Fire, Kind, Measurement, Pair, Shot, SkippedError, Stand, UnsoundError
from benchmarks.gateway_programs import flush, gateway
from gateway.addresses import parse_mailbox
from gateway.content import ContentFacts
from gateway.envelope import LOCAL_CREDENTIAL, Envelope, Origin
from gateway.sandbox import names
from gateway.settings import Settings
from gateway.store.control import Lease
from gateway.store.group_sending import Acceptance
from gateway.store.notifications import NewNotification
from gateway.store.stores import Stores, open_stores
from tasks.feedback import FeedbackProcessor
from tests.support.payloads.ses import ATTEMPT_ID, MESSAGE_ID, delivery, event

T = TypeVar("T")
R = TypeVar("R")

_NAME = "backlog"
_STEPS = {"accept": 5000, "dispatch": 2000, "claim": 2000, "look-up": 20_000, "feedback": 2000}  # and how many a shot
_THREADS = 16
_MARKED_AT_ONCE = 50
_CLAIMED_AT_ONCE = 32
_UNDERSTOOD_AT_ONCE = 25
_WORKERS = 2
_QUEUED_SHARE = 10  # of so many finished recipients one is queued
_ROOM = 2500  # octets on disk for a finished recipient, at most; a queued one has its content beside it
_MAIL = mail_of(2048)
_UNMARK = "UPDATE recipients SET dispatched_until = NULL WHERE status = 'QUEUED' AND dispatched_until IS NOT NULL"
_TELLS = {
    "accept": "stored, in groups",
    "dispatch": f"marked, {_MARKED_AT_ONCE} at once",
    "claim": f"read, claimed, begun and recorded, {_CLAIMED_AT_ONCE} at once",
    "look-up": "suppression asked",
    "feedback": f"Delivery event stored, {_THREADS} threads, and understood, {_UNDERSTOOD_AT_ONCE} at once",
}


def measurements() -> tuple[Measurement, ...]:
    # A fifth is what two runs of the same differ by on a shared machine.
    bar = Bar(Kind.TIMES_AT_LEAST, 0.8, 1.0)
    figures = tuple(
        Figure(step, f"with a backlog: {step} ({_TELLS[step]})", "a second", bar, "an empty database")
        for step in _STEPS
    )
    return (Measurement(_NAME, figures, _set_up),)


@contextmanager
def _set_up(stand: Stand) -> Iterator[Mapping[str, Pair]]:
    finished = stand.amount(stand.plan.rows, 2000)
    _require_room(stand, finished)
    with (
        _logs_into(stand.directory / "steps.log"),
        gateway(stand, name="full") as full,
        gateway(stand, name="empty") as empty,
        _opened(full.settings) as crowded,
        _opened(empty.settings) as alone,
    ):
        fill_backlog(crowded, finished, finished // _QUEUED_SHARE, _MAIL, stand.say)
        stand.say("the disk takes it in")
        flush()
        ours, peer = _Steps(crowded, stand), _Steps(alone, stand)
        yield {step: Pair(ours.fire(step), peer.fire(step)) for step in _STEPS}


def _require_room(stand: Stand, finished: int) -> None:
    needed = finished * _ROOM + finished // _QUEUED_SHARE * 3 * _ROOM
    if (free := shutil.disk_usage(stand.directory).free) < needed:
        raise SkippedError(f"{free / 1024**3:.0f} GiB are free, and {needed / 1024**3:.0f} may be needed; see --rows")


@contextmanager
def _logs_into(file: Path) -> Iterator[None]:
    """What the steps log costs belongs to them, and is not for the terminal."""
    handlers = [one for one in logging.getLogger().handlers if isinstance(one, logging.StreamHandler)]
    with file.open("w", encoding="utf-8") as stream, ExitStack() as stack:
        for handler in handlers:
            stack.callback(handler.setStream, handler.stream)
            handler.setStream(stream)
        yield


@contextmanager
def _opened(settings: Settings) -> Iterator[Stores]:
    """Marks last as long as the measurement does."""
    stores = open_stores(settings.model_copy(update={"dispatch_timeout": timedelta(days=1)}))
    try:
        yield stores
    finally:
        stores.close()


@dataclass(frozen=True, slots=True)
class _Sent:
    """A mail that was claimed and that SES is said to have."""

    attempt_id: str
    address: str
    ses_message_id: str


class _Steps:
    """The steps over one database, each with what the one before it has left."""

    def __init__(self, stores: Stores, stand: Stand) -> None:
        self._stores = stores
        self._stand = stand
        self._lease: Lease | None = None
        self._marked: list[int] = []
        self._sent: list[_Sent] = []
        self._processor = FeedbackProcessor(stores.notifications)

    def fire(self, step: str) -> Fire:
        work: Callable[[int], None] = {
            "accept": self._accept,
            "dispatch": self._dispatch,
            "claim": self._claim,
            "look-up": self._look_up,
            "feedback": self._feedback,
        }[step]
        number = self._stand.amount(_STEPS[step], 20)
        facts = self._stand.plan.database == "sqlite"  # another server's writing is not seen here

        def shot() -> Shot:
            self._prepare(step, number)
            return _timed(step, lambda: work(number), number, facts=facts)

        return shot

    def _prepare(self, step: str, number: int) -> None:
        """What was marked before is not to be in the way: in life it is claimed within a second or two."""
        if step in ("dispatch", "claim"):
            self._stores.db.write(lambda sql: sql.run(_UNMARK))
            self._marked.clear()
        if step == "claim":
            self._dispatch(number)

    def _accept(self, number: int) -> None:
        facts = ContentFacts("order", "a@example.test", "<1@example.test>", len(_MAIL))
        futures = [self._stores.messages.submit(_envelope(), facts) for _ in range(number)]
        for future in futures:
            future.result()

    def _dispatch(self, number: int) -> None:
        lease = self._lease or self._take_lease()
        wanted = len(self._marked) + number
        while len(self._marked) < wanted:
            if not self._stores.sending.outlook().due:
                raise UnsoundError("nothing is due")
            limit = min(_MARKED_AT_ONCE, wanted - len(self._marked))
            self._marked += [due.recipient_id for due in self._stores.sending.mark_due(lease, limit)]

    def _take_lease(self) -> Lease:
        self._lease = self._stores.control.take_lease("bench", self._stores.control.read_lease())
        if self._lease is None:
            raise UnsoundError("the lease is another's")
        return self._lease

    def _claim(self, number: int) -> None:
        chosen, self._marked = self._marked[:number], self._marked[number:]
        groups = _side_by_side(self._send, _groups(chosen, _CLAIMED_AT_ONCE), _WORKERS)
        self._sent += [sent for group in groups for sent in group]

    def _send(self, recipient_ids: Sequence[int]) -> list[_Sent]:
        groups = self._stores.group_sending
        candidates = groups.look(recipient_ids).candidates
        begun = groups.begin(candidates).result().attempt_ids
        if len(begun) != len(recipient_ids):
            raise UnsoundError("a marked recipient could not be claimed")
        claims = [one.claim for one in candidates]
        sent = [_Sent(claim.attempt_id, claim.address, _ses_message_id()) for claim in claims]
        acceptances = [Acceptance(claim, one.ses_message_id) for claim, one in zip(claims, sent, strict=True)]
        groups.accepted(acceptances).result()
        return sent

    def _look_up(self, number: int) -> None:
        for one in range(number):
            self._stores.suppressions.find(parse_mailbox(f"nobody{one}@elsewhere.test"), LOCAL_CREDENTIAL)

    def _feedback(self, number: int) -> None:
        chosen, self._sent = self._sent[:number], self._sent[number:]
        stored = _side_by_side(self._store, chosen, _THREADS)
        _side_by_side(self._understand, _groups(stored, _UNDERSTOOD_AT_ONCE), _WORKERS)

    def _store(self, sent: _Sent) -> int:
        report = json.dumps(event("Delivery", delivery=delivery(recipients=[sent.address])))
        message = report.replace(ATTEMPT_ID, sent.attempt_id).replace(MESSAGE_ID, sent.ses_message_id)
        new = NewNotification(secrets.token_hex(16), names.TOPIC_ARN, message, datetime.now(UTC))
        stored = self._stores.notifications.store(new)
        if stored is None:
            raise UnsoundError("a notification was taken for an old one")
        return stored

    def _understand(self, notification_ids: Sequence[int]) -> None:
        self._processor.process(*notification_ids)
        if self._stores.notifications.read_all(notification_ids):
            raise UnsoundError("a notification was not understood")


def _envelope() -> Envelope:
    return Envelope(
        reverse_path=parse_mailbox("a@example.test"),
        forward_paths=(parse_mailbox(f"{secrets.token_hex(8)}@example.test"),),
        content=_MAIL,
        origin=Origin(LOCAL_CREDENTIAL, "127.0.0.1", "client.example.test", "ESMTP"),
    )


def _ses_message_id() -> str:
    """As SES makes them: the milliseconds since 1970 come first."""
    return f"0100{time.time_ns() // 1_000_000:012x}-{uuid4()}-000000"


def _timed(step: str, work: Callable[[], None], number: int, *, facts: bool) -> Shot:
    flush()
    written, began = _written(), time.perf_counter()
    work()
    seconds = time.perf_counter() - began
    each = (_written() - written) / number / 1024
    return Shot(number / seconds, {f"{step}: KB written each": each} if facts and each else {})


def _written() -> int:
    """Octets that this process has had written so far (proc(5), /proc/pid/io), its log lines among them."""
    lines = Path("/proc/self/io").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("wchar:"))


def _groups(items: Sequence[T], size: int) -> list[Sequence[T]]:
    return [items[at : at + size] for at in range(0, len(items), size)]


def _side_by_side(work: Callable[[T], R], items: Sequence[T], threads: int) -> list[R]:
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(work, items))
