"""Understanding a stored notification: events, statuses and suppressions, in one transaction."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from gateway.logs import get_logger
from gateway.store.errors import StoreUnavailableError
from gateway.store.notifications import Notifications, UnmatchedError, Unprocessed
from tasks.ses_events import UnknownEventError, parse_event

log = get_logger(__name__)

# How long a report may be ahead of what our own worker has recorded about the same call.
_MATCH_WITHIN = timedelta(minutes=5)
_MATCH_AGAIN_IN = timedelta(seconds=10)
_SOON, _LATE = timedelta(seconds=30), timedelta(hours=1)


class FeedbackProcessor:
    """Processes notifications by their ids. Doing it twice, late or at once has the effect of doing it once."""

    def __init__(self, notifications: Notifications) -> None:
        self._notifications = notifications

    def process(self, notification_id: int) -> None:
        try:
            unprocessed = self._notifications.read(notification_id)
            if unprocessed is not None:
                self._understand(unprocessed)
        except StoreUnavailableError as error:
            log.warning("feedback.store_unavailable", notification_id=notification_id, error=str(error))

    def _understand(self, unprocessed: Unprocessed) -> None:
        try:
            self._apply(unprocessed)
        except StoreUnavailableError:
            raise
        except Exception:
            # Whatever it is, the others of its task are not to suffer, and it is not to come back every five seconds.
            log.exception("feedback.failed", notification_id=unprocessed.id)
            age = datetime.now(UTC) - unprocessed.received_at
            reason = "it could not be processed; see the workers' log"
            self._notifications.postpone(unprocessed.id, reason, min(max(age, _SOON), _LATE))

    def _apply(self, unprocessed: Unprocessed) -> None:
        try:
            feedbacks = parse_event(unprocessed.message)
        except UnknownEventError as error:
            log.error("feedback.not_understood", notification_id=unprocessed.id, error=str(error))
            self._notifications.park(unprocessed.id, str(error))
            return
        young = datetime.now(UTC) - unprocessed.received_at < _MATCH_WITHIN
        try:
            events = self._notifications.apply(unprocessed.id, feedbacks, wait_for_match=young)
        except UnmatchedError as error:
            self._notifications.postpone(unprocessed.id, str(error), _MATCH_AGAIN_IN)
            return
        log.info(
            "feedback.processed",
            notification_id=unprocessed.id,
            events=events,
            kinds=sorted({f.kind.value for f in feedbacks}),
        )
