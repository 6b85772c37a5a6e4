"""What a caller of the stores can catch."""

from __future__ import annotations


class StoreError(Exception):
    """The database cannot be used as it is; the text is one sentence that names the fix."""


class StoreUnavailableError(StoreError):
    """The database is busy, away or full at this moment. Nothing of the work was kept: try again later."""


class NoSpaceError(StoreUnavailableError):
    """The disk has no room for the work. Nothing of it was kept: try again when there is."""


class OutcomeUnknownError(StoreUnavailableError):
    """The database failed during the commit and could not be asked again in time: the work may be kept, or may not."""
