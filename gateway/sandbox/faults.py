"""Faults on demand: what the simulated AWS does wrong when a test asks it to."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from gateway.sandbox import errors, names, strict
from gateway.sandbox.records import Records

_RECORD: Final = "faults"
SENDING_OPERATIONS: Final = ("SendEmail", "SendRawEmail")

Strikes = bool | int | float
"""When a fault strikes: true is every call, a whole number the next calls, a fraction each call with that chance."""


@dataclass(frozen=True)
class Faults:
    """All that can be asked for. The faults of a call strike sends, or the operations in `error_operations`."""

    latency_ms: float = 0.0
    throttle: Strikes = False
    error_rate: float = 0.0
    error_status: int = 500
    error_code: str | None = None
    error_message: str = "A fault asked for in the sandbox."
    error_calls: int = 1
    error_operations: tuple[str, ...] = SENDING_OPERATIONS
    reset_after_accept: Strikes = False
    truncate_after_accept: Strikes = False
    timeout_after_accept_ms: float = 0.0
    event_delay_ms: float = 0.0
    duplicates: int = 0
    duplicate_message_ids: str = "same"
    shuffle: bool = False
    drop_events: tuple[str, ...] = ()


def _strikes(key: str, value: Any) -> Strikes:
    if isinstance(value, bool):
        return value
    if isinstance(value, float) and 0.0 <= value <= 1.0:
        return value
    if isinstance(value, int) and value >= 0:
        return value
    raise strict.InvalidValueError(
        f"{key} is true, false, a whole number (the next calls) or a rate from 0.0 to 1.0, not {value!r}."
    )


def _rate(key: str, value: Any) -> float:
    rate = strict.number(key, value)
    if rate > 1.0:
        raise strict.InvalidValueError(f"{key} is a rate from 0 to 1, not {value!r}.")
    return rate


def _failing_status(key: str, value: Any) -> int:
    status = strict.whole(key, value)
    if not 400 <= status <= 599:  # noqa: PLR2004 - the HTTP statuses of failure
        raise strict.InvalidValueError(f"{key} is an HTTP status from 400 to 599, not {value!r}.")
    return status


def _code(key: str, value: Any) -> str | None:
    return None if value is None else strict.text(key, value)


_READERS: Final[dict[str, strict.Reader]] = {
    "latency_ms": strict.number,
    "throttle": _strikes,
    "error_rate": _rate,
    "error_status": _failing_status,
    "error_code": _code,
    "error_message": strict.text,
    "error_calls": strict.whole,
    "error_operations": strict.texts(),
    "reset_after_accept": _strikes,
    "truncate_after_accept": _strikes,
    "timeout_after_accept_ms": strict.number,
    "event_delay_ms": strict.number,
    "duplicates": strict.whole,
    "duplicate_message_ids": strict.one_of(("same", "different")),
    "shuffle": strict.flag,
    "drop_events": strict.texts(names.EVENT_TYPES.values()),
}


def parse(given: object) -> Faults:
    """An InvalidValueError says what is wrong. Keys not given are switched off."""
    return Faults(**strict.read(given, _READERS))


class FaultDesk:
    """The faults of the moment. Counted ones count down, across restarts too."""

    def __init__(self, records: Records, chance: Callable[[], float] = random.random) -> None:
        self._records = records
        self._chance = chance
        self._lock = threading.Lock()
        self._faults = parse(records.load(_RECORD) or {})

    @property
    def faults(self) -> Faults:
        return self._faults

    def replace(self, faults: Faults) -> None:
        with self._lock:
            self._keep(faults)

    def before(self, operation: str) -> None:
        """Raise the AwsError that this call was asked to fail with, if any."""
        if operation not in self._faults.error_operations:
            return
        if self._strike("throttle"):
            raise errors.named("TooManyRequestsException", "Maximum sending rate exceeded.")
        if self._faults.error_code is not None and (error := self._named_error()) is not None:
            raise error
        if self._faults.error_rate and self._chance() < self._faults.error_rate:
            raise errors.of_status(self._faults.error_status)

    def resets_after_accept(self) -> bool:
        return self._strike("reset_after_accept")

    def truncates_after_accept(self) -> bool:
        return self._strike("truncate_after_accept")

    def _named_error(self) -> errors.AwsError | None:
        with self._lock:
            faults = self._faults
            if faults.error_code is None or faults.error_calls == 0:
                return None
            left = faults.error_calls - 1
            self._keep(replace(faults, error_calls=left) if left else replace(faults, error_code=None, error_calls=1))
            return errors.named(faults.error_code, faults.error_message)

    def _strike(self, name: str) -> bool:
        strikes: Strikes = getattr(self._faults, name)
        if isinstance(strikes, bool):
            return strikes
        if isinstance(strikes, float):
            return self._chance() < strikes
        return strikes > 0 and self._count_down(name)

    def _count_down(self, name: str) -> bool:
        with self._lock:
            left: int = getattr(self._faults, name)
            if left <= 0:
                return False
            changed: dict[str, Any] = {name: left - 1}
            self._keep(replace(self._faults, **changed))
            return True

    def _keep(self, faults: Faults) -> None:
        self._records.save(_RECORD, asdict(faults))
        self._faults = faults
