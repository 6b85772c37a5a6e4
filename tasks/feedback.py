"""Understanding stored notifications: events, statuses and suppressions, all of one notification's or none."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from gateway.logs import get_logger
from gateway.store.errors import StoreUnavailableError
from gateway.store.events import Applied, UnmatchedError
from gateway.store.notifications import Notifications, Understood, Unprocessed
from tasks.ses_events import UnknownEventError, parse_event

log = get_logger(__name__)

# Few enough to hold up, with the write gate in their hand, nobody whom a client waits for.
_TOGETHER = 25

# How long a report may be ahead of what our own worker has recorded about the same call.
_MATCH_WITHIN = timedelta(minutes=5)
_MATCH_AGAIN_IN = timedelta(seconds=10)
_SOON, _LATE = timedelta(seconds=30), timedelta(hours=1)


class FeedbackProcessor:
    """Processes notifications by their ids. Doing it twice, late or at once has the effect of doing it once."""

    def __init__(self, notifications: Notifications) -> None:
        self._notifications = notifications

    def process(self, *notification_ids: int) -> None:
        """Some share a commit, and yet each is understood, or fails, by itself."""
        for at in range(0, len(notification_ids), _TOGETHER):
            ids = notification_ids[at : at + _TOGETHER]
            try:
                self._process_together(self._notifications.read_all(ids))
            except StoreUnavailableError as error:
                log.warning("feedback.store_unavailable", notification_ids=ids, error=str(error))

    def _process_together(self, waiting: Sequence[Unprocessed]) -> None:
        understood = [(one, read) for one in waiting if (read := self._understand(one)) is not None]
        outcomes = self._notifications.apply_all([read for _, read in understood])
        for (unprocessed, read), outcome in zip(understood, outcomes, strict=True):
            try:
                self._conclude(unprocessed, read, outcome)
            except StoreUnavailableError:
                raise
            except Exception as error:  # noqa: BLE001  the same as below
                self._give_time(unprocessed, error)

    def _understand(self, unprocessed: Unprocessed) -> Understood | None:
        """What the notification says; None when it is set aside."""
        try:
            return Understood(unprocessed.id, parse_event(unprocessed.message), _is_young(unprocessed))
        except UnknownEventError as error:
            log.error("feedback.not_understood", notification_id=unprocessed.id, error=str(error))
            self._notifications.park(unprocessed.id, str(error))
        except Exception as error:  # noqa: BLE001  the others of its task are not to suffer
            self._give_time(unprocessed, error)
        return None

    def _conclude(self, unprocessed: Unprocessed, read: Understood, outcome: tuple[Applied, ...] | Exception) -> None:
        match outcome:
            case StoreUnavailableError():
                log.warning("feedback.store_unavailable", notification_ids=(unprocessed.id,), error=str(outcome))
            case UnmatchedError():
                self._notifications.await_match(unprocessed.id, read.feedbacks, str(outcome), _MATCH_AGAIN_IN)
                log.info("feedback.mail_not_known_yet", notification_id=unprocessed.id, error=str(outcome))
            case Exception():
                self._give_time(unprocessed, outcome)
            case _:
                for one in outcome:
                    _log_applied(unprocessed.id, one)

    def _give_time(self, unprocessed: Unprocessed, error: Exception) -> None:
        """Whatever it is, it is not to come back every five seconds."""
        log.error("feedback.failed", notification_id=unprocessed.id, exc_info=error)
        age = datetime.now(UTC) - unprocessed.received_at
        reason = "it could not be processed; see the workers' log"
        self._notifications.postpone(unprocessed.id, reason, min(max(age, _SOON), _LATE))


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
