"""What the dispatcher does on its clock beside dispatching.

Lapsed claims, mail in doubt, careless credentials, old age, retention, and the account's quota.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from gateway.aws.account import Account, AccountUnknownError
from gateway.evidence import Channel
from gateway.logs import get_logger
from gateway.store.control import ACCOUNT, CIRCUIT, Lease, LeaseLostError
from gateway.store.errors import StoreError, StoreUnavailableError
from gateway.store.stores import Stores
from gateway.store.suppression_imports import LEFT_AFTER
from tasks.clock import ClockWatch
from tasks.silence_alarm import SilenceAlarm

log = get_logger(__name__)

_SWEEP_EVERY = 1.0
_SETTLE_EVERY = 2.0
_JUDGE_EVERY = 30.0
_EVIDENCE_EVERY = 60.0
_LISTEN_EVERY = 60.0
_EXPIRE_EVERY = 5.0
_IMPORT_EVERY = 5.0
_PUT_AWAY_EVERY = 30.0
_PUT_AWAY_AT_ONCE = 200
_RETAIN_EVERY = 600.0
_CORRECT_EVERY = 10.0
_ACCOUNT_EVERY = 60.0
_ACCOUNT_STOPPED_EVERY = 20.0
_ACCOUNT_UNKNOWN_EVERY = 2.0
_SOON_TIMES = 10
_LOOK_EVERY = 0.25
PATIENCE = 600.0  # seconds that the clock must have been steady before anything is given up or deleted by it


@dataclass(slots=True)
class _Chore:
    """Something to do every so often; `run` returns the seconds to its next time."""

    run: Callable[[Lease], float]
    due_at: float = field(default=0.0)


class Housekeeping:
    """Runs in a thread beside the dispatcher's loop, as long as the lease is held; never more than one at a time."""

    def __init__(
        self,
        stores: Stores,
        read_account: Callable[[], Account],
        clock: Callable[[], float],
        *,
        wall: Callable[[], float] = time.time,
        patience: float = PATIENCE,
        more: Sequence[Callable[[Lease], float]] = (),
    ) -> None:
        """`more`: chores that know for themselves how to be done."""
        self._stores = stores
        self._read_account = read_account
        self._clock = clock
        self._watch = ClockWatch(wall, clock)
        self._patience = patience
        self._in_office_since = self._steady_since = clock()
        self._account_error = ""
        self._account_failures = 0
        self._channel = Channel.UNKNOWN
        self._carries_on = False
        self._silence_alarm = SilenceAlarm()
        self._chores = tuple(
            _Chore(run)
            for run in (
                self._ask_account,
                self._correct,
                self._sweep,
                self._settle,
                self._watch_evidence,
                self._listen,
                self._judge,
                self._expire,
                self._carry_on_imports,
                self._put_away,
                self._retain,
                *more,
            )
        )

    def run(self, lease: Lease, done: threading.Event) -> None:
        """Do what is due until `done` is set. What fails is done again at its next time."""
        self._in_office_since = self._clock()
        self._correct(lease)
        while not done.is_set():
            self._look_at_the_clock(lease)
            for chore in self._chores:
                if self._clock() >= chore.due_at and not done.is_set():
                    self._do(chore, lease)
            done.wait(_LOOK_EVERY)

    def _look_at_the_clock(self, lease: Lease) -> None:
        jump = self._watch.jump()
        if not jump:
            return
        log.error("housekeeping.clock_jumped", seconds=round(jump), meanwhile="nothing expires or is deleted")
        self._steady_since = self._clock()
        if jump < 0:
            self._correct(lease)

    def _correct(self, lease: Lease) -> float:
        """Times in the far future would stop everything until then.

        A clock that was set back since has left them there, or the clock of another machine that is fast.
        """
        try:
            corrected = self._stores.sweeping.correct_times(lease)
        except (StoreError, LeaseLostError) as error:
            # Also whatever else the database says: this is called outside the chores, and must not end their thread.
            log.warning("housekeeping.times_not_corrected", error=str(error))
            return _SWEEP_EVERY
        if corrected:
            log.warning("housekeeping.times_corrected", rows=corrected)
        return _CORRECT_EVERY

    def _steady_for(self) -> float:
        return self._clock() - self._steady_since

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
            self._account_failures += 1
            # Each try may take seconds when AWS cannot be reached, and the other chores wait for it.
            return _ACCOUNT_UNKNOWN_EVERY if self._account_failures <= _SOON_TIMES else _ACCOUNT_STOPPED_EVERY
        self._account_error, self._account_failures = "", 0
        self._stores.control.put(ACCOUNT, account.as_fact())
        if account.has_capacity and self._stores.control.half_open("quota"):
            log.info("housekeeping.quota_has_room", doing="one mail tries whether SES takes mail again")
        # Room in the quota, or an account that works again, shall not wait for a whole minute.
        return _ACCOUNT_EVERY if self._stores.control.get(CIRCUIT) is None else _ACCOUNT_STOPPED_EVERY

    def _sweep(self, lease: Lease) -> float:
        released, ambiguous = self._stores.sweeping.sweep_lapsed(lease)
        if released or ambiguous:
            log.warning("housekeeping.claims_lapsed", released=released, ambiguous=ambiguous)
        return _SWEEP_EVERY

    def _settle(self, lease: Lease) -> float:
        """Waiting for evidence is over when the clock says so: it must have been steady for as long."""
        if not self._trusts_the_clock(min(self._patience, self._stores.ambiguity.wait)):
            return _SETTLE_EVERY
        settled = self._stores.ambiguity.settle(lease)
        if settled.resent or settled.held:
            log.warning("housekeeping.ambiguous_settled", resent=settled.resent, held=settled.held)
        return _SETTLE_EVERY

    def _watch_evidence(self, _lease: Lease) -> float:
        """An alarm when mail waits for evidence and none comes for anything: somebody must look at SNS."""
        outlook = self._stores.ambiguity.outlook()
        if outlook.is_silent:
            log.error(
                "housekeeping.evidence_silent",
                waiting=outlook.waiting,
                fix="mail was sent and SES reported nothing on it: look at the event destination, the subscription and"
                " the webhook's log",
            )
        elif self._channel is Channel.SILENT:
            log.info("housekeeping.evidence_back", waiting=outlook.waiting)
        self._channel = outlook.channel
        return _EVIDENCE_EVERY

    def _listen(self, _lease: Lease) -> float:
        """An alarm when SES took mail and no report came. After a start, SNS first has to repeat what was missed."""
        silence = self._stores.silence
        if self._trusts_the_clock(min(self._patience, silence.patience)):
            self._silence_alarm.tell(silence.listen(), self._clock())
        return _LISTEN_EVERY

    def _judge(self, lease: Lease) -> float:
        for credential, reason in self._stores.reputation.judge(lease):
            log.error(
                "housekeeping.credential_held",
                credential=credential,
                reason=reason,
                fix=f"when its cause is gone: sesgate queue resume --credential {credential}",
            )
        return _JUDGE_EVERY

    def _carry_on_imports(self, _lease: Lease) -> float:
        """Lists that are ready and whose command is gone: a batch at a time, for the front waits behind each."""
        left_after = timedelta(0) if self._carries_on else LEFT_AFTER
        carried = self._stores.imports.carry_out(left_after=left_after)
        if carried and not self._carries_on:
            log.warning("housekeeping.import_left", doing="the rest of the list is imported now")
        elif self._carries_on and not carried:
            log.info("housekeeping.import_finished")
        self._carries_on = carried > 0
        # A machine that boots with a clock far ahead must not take a list away that is being stored.
        cleared = self._stores.imports.clear() if self._trusts_the_clock(self._patience) else 0
        return 0.0 if carried or cleared else _IMPORT_EVERY

    def _trusts_the_clock(self, seconds: float) -> bool:
        return min(self._steady_for(), self._clock() - self._in_office_since) >= seconds

    def _expire(self, lease: Lease) -> float:
        # A clock that was only now set right must not end mail that was never given a chance.
        if not self._trusts_the_clock(self._patience):
            return _EXPIRE_EVERY
        expired = self._stores.sweeping.expire(lease)
        if expired:
            log.warning("housekeeping.expired", recipients=expired)
        return _EXPIRE_EVERY

    def _put_away(self, _lease: Lease) -> float:
        """Suppressions whose time is over refuse nobody; here they go to the history."""
        if not self._trusts_the_clock(self._patience):
            return _PUT_AWAY_EVERY
        put_away = self._stores.suppressions.expire(_PUT_AWAY_AT_ONCE)
        if put_away:
            log.info("housekeeping.suppressions_expired", suppressions=put_away)
        return _SWEEP_EVERY if put_away == _PUT_AWAY_AT_ONCE else _PUT_AWAY_EVERY

    def _retain(self, lease: Lease) -> float:
        # A machine that boots with a clock far ahead must not delete by it.
        if not self._trusts_the_clock(self._patience):
            return _EXPIRE_EVERY
        gone = {kind: count for kind, count in self._stores.retention.run(lease).items() if count}
        if not gone:
            return _RETAIN_EVERY
        self._stores.retention.give_back_space()
        log.info("housekeeping.retention", **gone)
        return _SWEEP_EVERY  # there may be more
