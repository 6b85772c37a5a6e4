"""The simulated account: what it may send, and how fast."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from gateway.sandbox import strict
from gateway.sandbox.errors import named
from gateway.sandbox.records import Records

_RECORD: Final = "account"
_SUPPRESSED_REASONS: Final = "account-suppressed-reasons"
UNLIMITED: Final = -1.0


@dataclass(frozen=True)
class Account:
    """A production account of some size. `max_24_hour_send` of -1 means no limit, as at AWS."""

    max_24_hour_send: float = 1_000_000.0
    max_send_rate: float = 1000.0
    sending_enabled: bool = True
    production_access_enabled: bool = True
    enforcement_status: str = "HEALTHY"


_READERS: Final[dict[str, strict.Reader]] = {
    "max_24_hour_send": lambda key, value: strict.number(key, value, lowest=UNLIMITED),
    "max_send_rate": strict.number,
    "sending_enabled": strict.flag,
    "production_access_enabled": strict.flag,
    "enforcement_status": strict.one_of(("HEALTHY", "PROBATION", "SHUTDOWN")),
}


def parse(given: object) -> Account:
    """An InvalidValueError says what is wrong. Keys not given have their defaults."""
    return Account(**strict.read(given, _READERS))


class SendRate:
    """A token bucket that holds one second's worth: the short burst that SES tolerates.

    A call is let in while any token is left and may leave a debt, so that fifty recipients pass at 1/s.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._tokens = float("inf")  # The first call fills it to the rate of that moment.
        self._counted_at = clock()

    def take(self, recipients: int, rate: float) -> bool:
        """Whether this many recipients may go now; False takes nothing."""
        with self._lock:
            now = self._clock()
            self._tokens = min(max(rate, 1.0), self._tokens + (now - self._counted_at) * rate)
            self._counted_at = now
            if self._tokens < 1.0 or rate <= 0.0:
                return False
            self._tokens -= recipients
            return True


class AccountDesk:
    """The account of the moment, kept across restarts."""

    def __init__(self, records: Records, rate: SendRate | None = None) -> None:
        self._records = records
        self._rate = rate or SendRate()
        self._account = parse(records.load(_RECORD) or {})

    @property
    def account(self) -> Account:
        return self._account

    def replace(self, account: Account) -> None:
        self._records.save(_RECORD, asdict(account))
        self._account = account

    def set_sending(self, *, enabled: bool) -> None:
        self.replace(replace(self._account, sending_enabled=enabled))

    def suppressed_reasons(self) -> list[str]:
        """Which reasons of the account's suppression list are in force; both in any account made after 2019."""
        reasons: Any = self._records.load(_SUPPRESSED_REASONS)
        return ["BOUNCE", "COMPLAINT"] if reasons is None else list(reasons)

    def set_suppressed_reasons(self, reasons: list[str]) -> None:
        self._records.save(_SUPPRESSED_REASONS, reasons)

    def require_sending(self) -> None:
        """AccountSuspendedException or SendingPausedException if this account may not send at all."""
        if self._account.enforcement_status == "SHUTDOWN":
            raise named("AccountSuspendedException", "Your account's ability to send email is permanently restricted.")
        if not self._account.sending_enabled:
            raise named(
                "SendingPausedException",
                "Sending paused for this account. For more information, please check the inbox of the email address "
                "associated with your AWS account.",
            )

    def spend(self, recipients: int) -> None:
        """TooManyRequestsException when the send rate is used up."""
        if not self._rate.take(recipients, self._account.max_send_rate):
            raise named("TooManyRequestsException", "Maximum sending rate exceeded.")

    def require_quota(self, sent_last_24_hours: int) -> None:
        """LimitExceededException once the quota is used up. The last call passes if any of it was left."""
        limit = self._account.max_24_hour_send
        if limit != UNLIMITED and sent_last_24_hours >= limit:
            raise named("LimitExceededException", "Daily message quota exceeded.")
