from __future__ import annotations

from webhook.worker import DeadlineThreadWorker


class ImpatientWorker(DeadlineThreadWorker):
    """For tests that should not wait as long as SNS may."""

    reading_seconds = 0.2
