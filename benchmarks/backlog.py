"""What the steps of a mail's way cost beside millions of others, against the same on an empty database."""

from __future__ import annotations

import json
import logging
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar
from uuid import uuid4

from benchmarks.filling import fill_backlog, mail_of
from benchmarks.frame import Bar, Figure, Fire, Kind, Measurement, Pair, Shot, SkippedError, Stand, UnsoundError
from benchmarks.gateway_programs import gateway
from gateway.addresses import parse_mailbox
from gateway.content import ContentFacts
from gateway.envelope import LOCAL_CREDENTIAL, Envelope, Origin
from gateway.sandbox import names
from gateway.settings import Settings
from gateway.store.control import Lease
from gateway.store.notifications import NewNotification
from gateway.store.stores import Stores, open_stores
from tasks.feedback import FeedbackProcessor
from tests.support.payloads.ses import ATTEMPT_ID, MESSAGE_ID, delivery, event

T = TypeVar("T")
R = TypeVar("R")

_NAME = "backlog"
_STEPS = ("accept", "dispatch", "claim", "look-up", "feedback")
_THREADS = 16
_MARKED_AT_ONCE = 50
_QUEUED_SHARE = 10  # of so many finished recipients one is queued
_ROOM = 2500  # octets on disk for a finished recipient, at most; a queued one has its content beside it
_MAIL = mail_of(2048)
_TELLS = {
    "accept": "stored, in groups",
    "dispatch": f"marked, {_MARKED_AT_ONCE} at once",
    "claim": "claimed, attempt begun and recorded, 16 threads",
    "look-up": "suppression asked",
    "feedback": "Delivery event stored and understood, 16 threads",
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
        self._number = stand.amount(1000, 20)
        self._lease: Lease | None = None
        self._marked: list[int] = []
        self._sent: list[_Sent] = []
        self._processor = FeedbackProcessor(stores.notifications)

    def fire(self, step: str) -> Fire:
        work = {
            "accept": self._accept,
            "dispatch": self._dispatch,
            "claim": self._claim,
            "look-up": self._look_up,
            "feedback": self._feedback,
        }[step]
        return lambda: _timed(work, self._number)

    def _accept(self) -> None:
        facts = ContentFacts("order", "a@example.test", "<1@example.test>", len(_MAIL))
        futures = [self._stores.messages.submit(_envelope(), facts) for _ in range(self._number)]
        for future in futures:
            future.result()

    def _dispatch(self) -> None:
        lease = self._lease or self._take_lease()
        wanted = len(self._marked) + self._number
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

    def _claim(self) -> None:
        chosen, self._marked = self._marked[: self._number], self._marked[self._number :]
        self._sent += _side_by_side(self._send, chosen)

    def _send(self, recipient_id: int) -> _Sent:
        claim = self._stores.sending.claim(recipient_id)
        if claim is None or self._stores.sending.begin_attempt(claim) is not True:
            raise UnsoundError("a marked recipient could not be claimed")
        sent = _Sent(claim.attempt_id, claim.address, _ses_message_id())
        self._stores.sending.accepted(claim, sent.ses_message_id)
        return sent

    def _look_up(self) -> None:
        for number in range(self._number):
            self._stores.suppressions.find(parse_mailbox(f"nobody{number}@elsewhere.test"), LOCAL_CREDENTIAL)

    def _feedback(self) -> None:
        chosen, self._sent = self._sent[: self._number], self._sent[self._number :]
        _side_by_side(self._understand, chosen)

    def _understand(self, sent: _Sent) -> None:
        report = json.dumps(event("Delivery", delivery=delivery(recipients=[sent.address])))
        message = report.replace(ATTEMPT_ID, sent.attempt_id).replace(MESSAGE_ID, sent.ses_message_id)
        new = NewNotification(secrets.token_hex(16), names.TOPIC_ARN, message, datetime.now(UTC))
        stored = self._stores.notifications.store(new)
        if stored is None:
            raise UnsoundError("a notification was taken for an old one")
        self._processor.process(stored)
        if self._stores.notifications.read(stored) is not None:
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


def _timed(work: Callable[[], None], number: int) -> Shot:
    began = time.perf_counter()
    work()
    return Shot(number / (time.perf_counter() - began))


def _side_by_side(work: Callable[[T], R], items: list[T]) -> list[R]:
    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(work, items))
