"""What a caller of the stores can catch."""

from __future__ import annotations

from datetime import datetime


class StoreError(Exception):
    """The database cannot be used as it is; the text is one sentence that names the fix."""


class StoreUnavailableError(StoreError):
    """The database is busy, away or full at this moment. Nothing of the work was kept: try again later."""


class NoSpaceError(StoreUnavailableError):
    """The disk has no room for the work. Nothing of it was kept: try again when there is."""


class OutcomeUnknownError(StoreUnavailableError):
    """The database failed during the commit and could not be asked again in time: the work may be kept, or may not."""


class NotEnabledError(StoreError):
    """The credential was disabled or removed after the client had been admitted under it. Nothing was kept."""


class OverCapError(StoreError):
    """More recipients than the credential may have in a `period` (minute, day). Nothing was kept.

    From `free_at` on there is room for this message. None: it has more recipients than the cap, and never will.
    """

    def __init__(self, credential: str, period: str, cap: int, free_at: datetime | None) -> None:
        when = (
            "a message of so many recipients never can" if free_at is None else f"room again at {free_at:%H:%M:%S} UTC"
        )
        super().__init__(f"{credential} may send to {cap} recipients a {period}; {when}.")
        self.credential = credential
        self.period = period
        self.cap = cap
        self.free_at = free_at
