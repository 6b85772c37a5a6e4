"""Fates on demand: what becomes of mail to addresses that are not the simulator's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from gateway.sandbox import checks
from gateway.sandbox.addresses import folded
from gateway.sandbox.happenings import BY_NAME, Happening
from gateway.sandbox.records import Records
from gateway.sandbox.strict import InvalidValueError

Fates = dict[str, tuple[str, ...]]
"""Names of happenings by address or `*@domain`."""

_RECORD: Final = "fates"
_ANYBODY: Final = "*"


def parse(given: object) -> Fates:
    """An InvalidValueError says what is wrong, and what would be right."""
    if not isinstance(given, Mapping):
        raise InvalidValueError('Send a JSON object: {"jane@example.com": {"events": ["Send", "Bounce"]}}.')
    return {_address(key): _events(key, value) for key, value in given.items()}


def shown(fates: Fates) -> dict[str, Any]:
    return {address: {"events": list(events)} for address, events in fates.items()}


def _address(key: str) -> str:
    local, _, domain = key.rpartition("@")
    fault = checks.address_fault(f"anybody@{domain}" if local == _ANYBODY else key)
    if fault is not None:
        raise InvalidValueError(f"{key} is neither an address nor *@domain: {fault}.")
    return folded(key)


def _events(key: str, value: Any) -> tuple[str, ...]:
    events = value.get("events") if isinstance(value, Mapping) and set(value) == {"events"} else None
    if not isinstance(events, list) or not events:
        raise InvalidValueError(f'{key} needs a list of events and nothing else: {{"events": ["Send", "Delivery"]}}.')
    unknown = [str(event) for event in events if event not in BY_NAME]
    if unknown:
        raise InvalidValueError(f"{key} has no {', '.join(unknown)}. Known are {', '.join(BY_NAME)}.")
    return tuple(events)


class FateDesk:
    """The fates of the moment, kept across restarts."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._fates = parse(records.load(_RECORD) or {})

    @property
    def fates(self) -> Fates:
        return self._fates

    def replace(self, fates: Fates) -> None:
        self._records.save(_RECORD, shown(fates))
        self._fates = fates

    def of(self, mailbox: str) -> tuple[Happening, ...] | None:
        """What becomes of mail to this mailbox: its own fate before that of its domain. None if it has neither."""
        address = folded(mailbox)
        names = self._fates.get(address) or self._fates.get(f"{_ANYBODY}@{address.rpartition('@')[2]}")
        return None if names is None else tuple(BY_NAME[name] for name in names)
