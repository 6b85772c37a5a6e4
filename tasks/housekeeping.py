"""What the dispatcher does on its clock beside dispatching: lapsed claims, old age, retention, the account's quota."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from gateway.aws.account import Account, AccountUnknownError
from gateway.logs import get_logger
from gateway.store.control import ACCOUNT, Lease, LeaseLostError
from gateway.store.errors import StoreUnavailableError
from gateway.store.stores import Stores

log = get_logger(__name__)

_SWEEP_EVERY = 1.0
_EXPIRE_EVERY = 5.0
_RETAIN_EVERY = 600.0
_ACCOUNT_EVERY = 60.0
_ACCOUNT_UNKNOWN_EVERY = 2.0
_LOOK_EVERY = 0.25


@dataclass(slots=True)
class _Chore:
    """Something to do every so often; `run` returns the seconds to its next time."""

    run: Callable[[Lease], float]
    due_at: float = field(default=0.0)


class Housekeeping:
    """Runs in a thread beside the dispatcher's loop, as long as the lease is held; never more than one at a time."""

    def __init__(self, stores: Stores, read_account: Callable[[], Account], clock: Callable[[], float]) -> None:
        self._stores = stores
        self._read_account = read_account
        self._clock = clock
        self._account_error = ""
        self._chores = (_Chore(self._ask_account), _Chore(self._sweep), _Chore(self._expire), _Chore(self._retain))

    def run(self, lease: Lease, done: threading.Event) -> None:
        """Do what is due until `done` is set. What fails is done again at its next time."""
        while not done.is_set():
            for chore in self._chores:
                if self._clock() >= chore.due_at and not done.is_set():
                    self._do(chore, lease)
            done.wait(_LOOK_EVERY)

    def _do(self, chore: _Chore, lease: Lease) -> None:
        try:
            wait = chore.run(lease)
        except LeaseLostError:
            wait = _SWEEP_EVERY  # the dispatcher's loop sees it too, and ends this thread
        except StoreUnavailableError as error:
            log.warning("housekeeping.store_unavailable", error=str(error))
            wait = _SWEEP_EVERY
        except Exception:
            # One chore that fails must not keep the others from being done.
            log.exception("housekeeping.failed")
            wait = _ACCOUNT_EVERY
        chore.due_at = self._clock() + wait

    def _ask_account(self, _lease: Lease) -> float:
        try:
            account = self._read_account()
        except AccountUnknownError as error:
            if str(error) != self._account_error:
                log.warning("housekeeping.account_unknown", error=str(error))
            self._account_error = str(error)
            return _ACCOUNT_UNKNOWN_EVERY
        self._account_error = ""
        self._stores.control.put(ACCOUNT, account.as_fact())
        return _ACCOUNT_EVERY

    def _sweep(self, lease: Lease) -> float:
        released, ambiguous = self._stores.sending.sweep_lapsed(lease)
        if released or ambiguous:
            log.warning("housekeeping.claims_lapsed", released=released, ambiguous=ambiguous)
        return _SWEEP_EVERY

    def _expire(self, lease: Lease) -> float:
        expired = self._stores.sending.expire(lease)
        if expired:
            log.warning("housekeeping.expired", recipients=expired)
        return _EXPIRE_EVERY

    def _retain(self, lease: Lease) -> float:
        gone = {kind: count for kind, count in self._stores.retention.run(lease).items() if count}
        if not gone:
            return _RETAIN_EVERY
        self._stores.retention.give_back_space()
        log.info("housekeeping.retention", **gone)
        return _SWEEP_EVERY  # there may be more
