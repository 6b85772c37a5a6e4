"""What a caller of the stores can catch."""

from __future__ import annotations


class StoreError(Exception):
    """The database cannot be used as it is; the text is one sentence that names the fix."""


class StoreUnavailableError(StoreError):
    """The database is busy, away or full at this moment. Nothing of the work was kept: try again later."""


class OutcomeUnknownError(StoreUnavailableError):
    """The database went away during the commit and did not come back in time: the work may be kept, or may not."""
