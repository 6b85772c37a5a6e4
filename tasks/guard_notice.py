"""Tells the whole installation what the staging guard of its workers does, as one of housekeeping's chores."""

from __future__ import annotations

from gateway.guard import guard_warning
from gateway.settings import Settings
from gateway.store.control import GUARD, Control, Lease

_TELL_EVERY = 60.0


class GuardNotice:
    """Writes what the active dispatcher's process has as its settings; without a guard there is no such fact."""

    def __init__(self, control: Control, settings: Settings) -> None:
        self._control = control
        self._reason = guard_warning(settings)
        self._kind = "everything" if settings.capture_only else "outside"

    def run(self, _lease: Lease) -> float:
        """The seconds until this wants to be run again."""
        if self._reason is not None:
            self._control.put(GUARD, {"kind": self._kind, "reason": self._reason})
        elif self._control.get(GUARD) is not None:
            self._control.remove(GUARD)
        return _TELL_EVERY
