"""Understanding a stored notification: events, statuses and suppressions, in one transaction."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from gateway.logs import get_logger
from gateway.store.errors import StoreUnavailableError
from gateway.store.events import Applied, UnmatchedError
from gateway.store.notifications import Notifications, Unprocessed
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
        try:
            applied = self._notifications.apply(unprocessed.id, feedbacks, wait_for_match=_is_young(unprocessed))
        except UnmatchedError as error:
            self._notifications.await_match(unprocessed.id, feedbacks, str(error), _MATCH_AGAIN_IN)
            log.info("feedback.mail_not_known_yet", notification_id=unprocessed.id, error=str(error))
            return
        for one in applied:
            _log_applied(unprocessed.id, one)


def _is_young(unprocessed: Unprocessed) -> bool:
    """Whether the mail that the report names may still become known. A clock that was set back makes nothing young."""
    return abs(datetime.now(UTC) - unprocessed.received_at) < _MATCH_WITHIN


def _log_applied(notification_id: int, applied: Applied) -> None:
    """One line an event: the id that SMTP answered leads to it, and it leads to the webhook's line."""
    log.info(
        "feedback.processed" if applied.new else "feedback.repeated",
        message_id=applied.message_ulid,
        recipient=applied.recipient,
        kind=applied.kind.value,
        status=applied.status and applied.status.value,
        attempt_id=applied.attempt_id,
        notification_id=notification_id,
    )
