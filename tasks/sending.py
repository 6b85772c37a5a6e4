"""Sending a recipient: claim, ask the suppressions, write the attempt down, call SES, record.

`Sender.send` takes one the whole way. The other steps are for many at once, as `tasks.line` has them; what is not plain
in a group goes the way of the one.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

from gateway.content import Trace, prepare, senders_of
from gateway.guard import captured
from gateway.logs import Together, get_logger
from gateway.preflight import judge
from gateway.senders import SenderRewrite
from gateway.settings import Settings
from gateway.store.control import IDENTITY_REFUSED, THROTTLE
from gateway.store.errors import StoreUnavailableError
from gateway.store.group_sending import Acceptance, Candidate
from gateway.store.identities import KnownIdentities
from gateway.store.sending import Claim
from gateway.store.stores import Stores
from gateway.store.suppression_rows import Suppression
from tasks.circuit import Circuit
from tasks.pace import LONGEST_WAIT, backoff, throttled_wait
from tasks.ses import Ses, SesError
from tasks.ses_errors import ErrorClass

log = get_logger(__name__)
T = TypeVar("T")

_RECORD_PATIENCE = 60.0
_LARGE = 2 * 1024**2
_LARGE_AT_ONCE = 2
_PLACE_PATIENCE = 1.0  # seconds: well below what a claim without an attempt may last
_TURN_PATIENCE = 5.0  # seconds: what the suppressions and the circuit said is as good as that
_PLACE_WAIT = timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class Ready:
    """A mail that may be begun, and what SES is to be given."""

    candidate: Candidate
    raw: bytes


@dataclass(frozen=True, slots=True)
class Prepared:
    """What of a group is ready to be begun, and the recipients that go by themselves."""

    ready: list[Ready]
    alone: list[int]


@dataclass(frozen=True, slots=True)
class Attempt:
    """It is written down; what SES is to be given, and when the writing was asked for, and done (monotonic)."""

    claim: Claim
    raw: bytes
    asked: float
    begun: float


@dataclass(frozen=True, slots=True)
class Begun:
    """The attempts of a group, and the recipients that go by themselves."""

    attempts: list[Attempt]
    alone: list[int]


class Sender:
    """Sends recipients by their ids. Safe from many threads; calling it twice for one id sends once."""

    def __init__(
        self, stores: Stores, ses: Ses, hostname: str, *, settings: Settings | None = None, call_within: float = 30.0
    ) -> None:
        """`call_within`: seconds after which an attempt that was written down is not begun any more."""
        self._stores = stores
        self._ses = ses
        self._hostname = hostname
        self._settings = settings or Settings()
        self._identities = KnownIdentities(stores.db)
        self._call_within = call_within
        self._circuit = Circuit(stores.control)
        self._places = threading.BoundedSemaphore(_LARGE_AT_ONCE)

    def send(self, recipient_id: int) -> None:
        """Send to one recipient if it is due and ours. Whatever fails is recorded, or lapses and is found again."""
        try:
            claim = self._stores.sending.claim(recipient_id)
            if claim is not None and not self._captured(claim):
                self._send_in_its_place(claim)
        except StoreUnavailableError as error:
            # The row keeps its mark or its claim; both lapse, and the dispatcher takes it up again.
            log.warning("send.store_unavailable", recipient_id=recipient_id, error=str(error))

    # Many at once

    def prepare(self, recipient_ids: Sequence[int]) -> Prepared:
        """Read these mails and make them ready to be sent; nothing is claimed yet."""
        if not recipient_ids:
            return Prepared([], [])
        try:
            seen = self._stores.group_sending.look(recipient_ids)
        except StoreUnavailableError as error:
            log.warning("send.store_unavailable", recipients=len(recipient_ids), error=str(error))
            return Prepared([], [])
        except Exception:
            # One of them is to blame; by themselves the others have nothing to do with it.
            log.exception("send.group_not_read", recipients=len(recipient_ids))
            return Prepared([], list(recipient_ids))
        ready, alone = [], seen.alone
        for candidate in seen.candidates:
            raw = self._plainly_prepared(candidate)
            if raw is None:
                alone.append(candidate.claim.recipient_id)
            else:
                ready.append(Ready(candidate, raw))
        return Prepared(ready, alone)

    def beginning(self, ready: Sequence[Ready]) -> Callable[[], Begun]:
        """Have these claimed and their attempts written down, in one transaction; the answer waits until they are.

        What was begun is to be called at once.
        """
        if not ready:
            return lambda: Begun([], [])
        asked = time.monotonic()
        future = self._stores.group_sending.begin([one.candidate for one in ready])

        def wait() -> Begun:
            try:
                begun = self._stores.db.settle(future)
            except StoreUnavailableError as error:
                log.warning("send.store_unavailable", recipients=len(ready), error=str(error))
                return Begun([], [])
            except Exception:
                log.exception("send.group_not_begun", recipients=len(ready))
                return Begun([], [one.candidate.claim.recipient_id for one in ready])
            now = time.monotonic()
            claimed = [(one.candidate.claim, one.raw) for one in ready]
            attempts = [
                Attempt(claim, raw, asked, now) for claim, raw in claimed if claim.attempt_id in begun.attempt_ids
            ]
            return Begun(attempts, begun.alone)

        return wait

    def recording(self, acceptances: Sequence[Acceptance]) -> Callable[[], None]:
        """Have these written down in one transaction; call the answer to wait until they are."""
        if not acceptances:
            return lambda: None
        record = self._stores.group_sending.accepted
        first = [record(acceptances)]

        def again() -> bool:
            return self._stores.db.settle(first.pop() if first else record(acceptances))

        def wait() -> None:
            try:
                closed = _insist(again)
            except StoreUnavailableError as error:
                # The claims lapse, and then these are in doubt until SES reports them.
                log.warning("send.store_unavailable", recipients=len(acceptances), error=str(error))
            except Exception:
                log.exception("send.group_not_recorded", recipients=len(acceptances))
                for one in acceptances:
                    self._record_by_itself(one)
            else:
                self._tell_accepted(acceptances, closed=closed)

        return wait

    def _record_by_itself(self, acceptance: Acceptance) -> None:
        try:
            self._record(acceptance)
        except Exception:
            log.exception("send.not_recorded", message_id=acceptance.claim.ulid)

    def _plainly_prepared(self, candidate: Candidate) -> bytes | None:
        """What SES is to be given; None when this mail is to go by itself, which also tells why it does not go."""
        claim = candidate.claim
        if captured(claim.address, self._settings) is not None:
            return None
        try:
            return self._prepared(claim, candidate.content)
        except Exception:  # noqa: BLE001  it is met again when the mail goes by itself, and told there
            return None

    # One by itself

    def _captured(self, claim: Claim) -> bool:
        """Asked again here: the mail may have been accepted where the guard was off, and copied with its database."""
        reason = captured(claim.address, self._settings)
        if reason is None:
            return False
        self._stores.sending.captured(claim, reason)
        log.info("send.captured", message_id=claim.ulid, recipient=claim.address, reason=reason)
        return True

    def _send_in_its_place(self, claim: Claim) -> None:
        """A large mail takes several times its size while it is encoded and sent: only few may do so at once."""
        if claim.size < _LARGE:
            self._send_claimed(claim)
        elif self._places.acquire(timeout=_PLACE_PATIENCE):
            try:
                self._send_claimed(claim)
            finally:
                self._places.release()
        else:
            # Each try takes a token of the account's rate: not too often, and not all at once.
            wait = _PLACE_WAIT * random.uniform(0.5, 1.5)  # noqa: S311  spreads retries, keeps no secret
            self._stores.sending.released(claim, "waits for other large mails", wait=wait)

    def _send_claimed(self, claim: Claim) -> None:
        content = self._stores.sending.content(claim)
        if content is None:
            self._stores.sending.refused(claim, "the content is not kept any more")
            return
        try:
            raw = self._prepared(claim, content)
        except Exception:
            # A mail that our own code cannot prepare must not come back at once, again and again, until its last day.
            log.exception("send.not_prepared", message_id=claim.ulid)
            self._stores.sending.released(
                claim, "the mail could not be prepared; see the workers' log", wait=LONGEST_WAIT
            )
            return
        asked = time.monotonic()
        begun = self._stores.sending.begin_attempt(claim)
        if isinstance(begun, Suppression):
            log.info("send.suppressed", message_id=claim.ulid, recipient=claim.address, reason=begun.reason.value)
        elif begun:
            acceptance = self.call(Attempt(claim, raw, asked, time.monotonic()))
            if acceptance is not None:
                self._record(acceptance)

    def _prepared(self, claim: Claim, content: bytes) -> bytes:
        return prepare(content, _trace(claim, self._hostname), self._rewrite(claim, content))

    def _rewrite(self, claim: Claim, content: bytes) -> SenderRewrite | None:
        """What to put in the place of senders that SES would refuse; None when they are fine, or stay as they are."""
        if self._settings.rewrite_from is None:
            return None
        rewrite = judge(senders_of(content), self._identities.get(), self._settings.rewrite_from).rewrite
        if rewrite is not None:
            was = ", ".join(sorted(rewrite.unverified))
            log.info("send.sender_rewritten", message_id=claim.ulid, unverified=was, verified=rewrite.verified)
        return rewrite

    def _record(self, acceptance: Acceptance) -> None:
        closed = _insist(lambda: self._stores.sending.accepted(acceptance.claim, acceptance.ses_message_id))
        self._tell_accepted([acceptance], closed=closed)

    def _tell_accepted(self, acceptances: Sequence[Acceptance], *, closed: bool) -> None:
        with Together():
            for one in acceptances:
                log.info(
                    "send.accepted",
                    message_id=one.claim.ulid,
                    recipient=one.claim.address,
                    attempt_id=one.claim.attempt_id,
                    ses_message_id=one.ses_message_id,
                )
        if closed:
            self._circuit.closed()

    def call(self, attempt: Attempt) -> Acceptance | None:
        """Call SES, unless too much time has gone by. None when it was not accepted, and that is written down.

        An acceptance is for the caller to have written down.
        """
        claim = attempt.claim
        began = time.monotonic()
        if (reason := self._too_late(attempt, began)) is not None:
            _insist(lambda: self._stores.sending.released(claim, reason, wait=timedelta(0), counts=False))
            return None
        try:
            ses_message_id = self._ses.send(
                attempt.raw, claim.address, claim.attempt_id, configuration_set=claim.configuration_set, tags=claim.tags
            )
        except SesError as error:
            self._record_failure(claim, error, began)
            return None
        return Acceptance(claim, ses_message_id)

    def _too_late(self, attempt: Attempt, now: float) -> str | None:
        if now - attempt.asked > self._call_within:
            # This process stood still. The claim may be another's by now, and a call would be a second mail.
            return "the worker stood still before the call to SES"
        if now - attempt.begun > _TURN_PATIENCE:
            # Calls hang. Meanwhile its address may have been suppressed, or sending stopped.
            return "it waited too long for other calls to SES"
        return None

    def _record_failure(self, claim: Claim, error: SesError, began: float) -> None:
        reason, error_class = str(error), error.error_class.value
        log.warning("send.failed", message_id=claim.ulid, recipient=claim.address, kind=error_class, reason=reason)
        sending = self._stores.sending
        match error.error_class:
            case ErrorClass.MESSAGE:
                _insist(lambda: sending.refused(claim, reason, error=error_class))
            case ErrorClass.AMBIGUOUS:
                _insist(lambda: sending.ambiguous(claim, reason, error=error_class))
            case ErrorClass.UNKNOWN:
                _insist(lambda: sending.parked(claim, reason, error=error_class))
            case _:
                wait, counts = self._heed(error, claim, began)
                _insist(lambda: sending.released(claim, reason, wait=wait, counts=counts, error=error_class))

    def _heed(self, error: SesError, claim: Claim, began: float) -> tuple[timedelta, bool]:
        """Tell the dispatcher what concerns more than this mail; how long this one waits, and if it was an attempt."""
        jitter = random.uniform(-1, 1)  # noqa: S311  spreads retries, keeps no secret
        match error.error_class:
            case ErrorClass.THROTTLED:
                _insist(lambda: self._stores.control.put(THROTTLE, {"at": time.time()}))
                return throttled_wait(jitter), False
            case ErrorClass.ACCOUNT | ErrorClass.QUOTA:
                _insist(lambda: self._circuit.open(error.error_class, str(error), began))
                # Behind whatever is due already: the next probe is another mail, so no single one can keep it open.
                return timedelta(0), False
            case ErrorClass.IDENTITY:
                _insist(lambda: self._stores.control.put(IDENTITY_REFUSED, {"at": time.time()}))
                return backoff(claim.attempts + 1, jitter), True
            case _:
                return backoff(claim.attempts + 1, jitter), True


def _trace(claim: Claim, hostname: str) -> Trace:
    return Trace(
        attempt_id=claim.attempt_id,
        message_ulid=claim.ulid,
        received_at=claim.accepted_at,
        hostname=hostname,
        client_address=claim.origin.client_address,
        helo=claim.origin.helo,
        protocol=claim.origin.protocol,
    )


def _insist(write: Callable[[], T]) -> T:
    """Record what is known of a call that was made, even if the database is busy: forgetting it makes it ambiguous."""
    deadline = time.monotonic() + _RECORD_PATIENCE
    while True:
        try:
            return write()
        except StoreUnavailableError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)
