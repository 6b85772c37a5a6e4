"""Sending one recipient: claim, ask the suppressions, write the attempt down, call SES, record."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from datetime import timedelta

from gateway.content import Trace, prepare
from gateway.logs import get_logger
from gateway.store.control import CIRCUIT, THROTTLE
from gateway.store.errors import StoreUnavailableError
from gateway.store.sending import Claim
from gateway.store.stores import Stores
from gateway.store.suppressions import Suppression
from tasks.ses import (
    AccountError,
    AmbiguousError,
    IdentityError,
    NotAcceptedError,
    QuotaExhaustedError,
    RefusedError,
    Ses,
    SesError,
    ThrottledError,
)

log = get_logger(__name__)

_WAITS = tuple(timedelta(seconds=seconds) for seconds in (2, 4, 8, 15, 30, 60, 120, 240, 480, 900, 1800, 3600))
_JITTER = 0.2
_CIRCUIT_PROBE = timedelta(seconds=60)
_QUOTA_PROBE = timedelta(minutes=10)
_RECORD_PATIENCE = 60.0
_LARGE = 2 * 1024**2
_LARGE_AT_ONCE = 2
_PLACE_PATIENCE = 1.0  # seconds: well below what a claim without an attempt may last
_PLACE_WAIT = timedelta(seconds=10)


def backoff(attempts: int, jitter: float) -> timedelta:
    """How long to wait after the attempt with that number (from 1); `jitter` is in -1..1 and moves it by a fifth."""
    return _WAITS[min(max(attempts, 1), len(_WAITS)) - 1] * (1 + _JITTER * jitter)


class Sender:
    """Sends recipients by their ids. Safe from many threads; calling it twice for one id sends once."""

    def __init__(self, stores: Stores, ses: Ses, hostname: str) -> None:
        self._stores = stores
        self._ses = ses
        self._hostname = hostname
        self._places = threading.BoundedSemaphore(_LARGE_AT_ONCE)

    def send(self, recipient_id: int) -> None:
        """Send to one recipient if it is due and ours. Whatever fails is recorded, or lapses and is found again."""
        try:
            claim = self._stores.sending.claim(recipient_id)
            if claim is not None:
                self._send_in_its_place(claim)
        except StoreUnavailableError as error:
            # The row keeps its mark or its claim; both lapse, and the dispatcher takes it up again.
            log.warning("send.store_unavailable", recipient_id=recipient_id, error=str(error))

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
            raw = prepare(content, _trace(claim, self._hostname))
        except Exception:
            # A mail that our own code cannot prepare must not come back at once, again and again, until its last day.
            log.exception("send.not_prepared", message_id=claim.ulid)
            wait = backoff(len(_WAITS), 0.0)
            self._stores.sending.released(claim, "the mail could not be prepared; see the workers' log", wait=wait)
            return
        begun = self._stores.sending.begin_attempt(claim)
        if isinstance(begun, Suppression):
            log.info("send.suppressed", message_id=claim.ulid, recipient=claim.address, reason=begun.reason.value)
        elif begun:
            self._call(claim, raw)

    def _call(self, claim: Claim, raw: bytes) -> None:
        try:
            ses_message_id = self._ses.send(raw, claim.address, claim.attempt_id)
        except SesError as error:
            self._record_failure(claim, error)
            return
        _insist(lambda: self._stores.sending.accepted(claim, ses_message_id))
        log.info(
            "send.accepted",
            message_id=claim.ulid,
            recipient=claim.address,
            attempt_id=claim.attempt_id,
            ses_message_id=ses_message_id,
        )

    def _record_failure(self, claim: Claim, error: SesError) -> None:
        reason = str(error)
        log.warning(
            "send.failed", message_id=claim.ulid, recipient=claim.address, kind=type(error).__name__, reason=reason
        )
        sending = self._stores.sending
        if isinstance(error, RefusedError):
            _insist(lambda: sending.refused(claim, reason))
        elif isinstance(error, AmbiguousError):
            _insist(lambda: sending.ambiguous(claim, reason))
        else:
            wait, counts = self._heed(error, claim)
            _insist(lambda: sending.released(claim, reason, wait=wait, counts=counts))

    def _heed(self, error: SesError, claim: Claim) -> tuple[timedelta, bool]:
        """Tell the dispatcher what concerns more than this mail; how long this one waits, and if it was an attempt."""
        control = self._stores.control
        jitter = random.uniform(-1, 1)  # noqa: S311  spreads retries, keeps no secret
        if isinstance(error, ThrottledError):
            _insist(lambda: control.put(THROTTLE, {"at": time.time()}))
            return timedelta(seconds=2 + jitter), False
        if isinstance(error, QuotaExhaustedError | AccountError):
            wait = _QUOTA_PROBE if isinstance(error, QuotaExhaustedError) else _CIRCUIT_PROBE
            _insist(lambda: control.put(CIRCUIT, {"reason": str(error), "at": time.time()}, lasting=wait))
            log.error("send.circuit_open", reason=str(error), probe_in=wait.total_seconds())
            return timedelta(0), False
        assert isinstance(error, NotAcceptedError | IdentityError)  # noqa: S101  the other kinds are handled above
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


def _insist(write: Callable[[], None]) -> None:
    """Record what is known of a call that was made, even if the database is busy: forgetting it makes it ambiguous."""
    deadline = time.monotonic() + _RECORD_PATIENCE
    while True:
        try:
            write()
        except StoreUnavailableError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)
        else:
            return
