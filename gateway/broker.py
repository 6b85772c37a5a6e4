"""The broker: every option of Celery and Redis, in one place.

The broker only carries hints. The database is the truth, so that nothing here has to be durable: no result is kept, no
task waits in the broker for a time, and a task's only argument is ids.
"""

from __future__ import annotations

from datetime import timedelta

from celery import Celery
from kombu import Queue
from kombu.transport.redis import Channel, QoS

from gateway.settings import Settings

SEND_QUEUE = "sesgate.send"
FEEDBACK_QUEUE = "sesgate.feedback"
QUEUES = (SEND_QUEUE, FEEDBACK_QUEUE)

BROKER_URL_FILE = "broker.url"
KEY_PREFIX = "sesgate:"

# One publish to a Redis that does not answer ends after these, and not after redis-py's own minute.
_CONNECT_TIMEOUT = 1.0
_SOCKET_TIMEOUT = 2.0
# Longer than any task runs; a hint that Redis delivers again after that finds nothing to claim.
_VISIBILITY_TIMEOUT = timedelta(minutes=10)


def find_broker_url(settings: Settings) -> str:
    """The broker to use: the one configured, else the one that a running `sesgate up` noted in the data directory.

    An empty text when there is neither: work is then done without a broker.
    """
    if settings.broker_url:
        return settings.broker_url
    try:
        return (settings.data_dir / BROKER_URL_FILE).read_text(encoding="utf-8").strip()
    except OSError:
        return ""


class LenientQoS(QoS):
    """What a worker took from Redis and has not begun, when the connection it came by is gone.

    kombu 5.7 goes to that connection to put a hint back or to acknowledge it, and ends the worker with an
    AttributeError. A hint need not go back, and one that stays unacknowledged in Redis does nothing if it comes again.
    """

    restore_at_shutdown = False

    def ack(self, delivery_tag: str) -> None:
        if self.channel.connection is None:
            super(QoS, self).ack(delivery_tag)  # what is counted here, without Redis
        else:
            super().ack(delivery_tag)


def make_app(broker_url: str, *, concurrency: int | None = None) -> Celery:
    """A Celery application that publishes to and consumes from `broker_url`; it connects on first use."""
    Channel.QoS = LenientQoS
    app = Celery("sesgate", broker=broker_url or None, set_as_current=False)
    app.conf.update(
        accept_content=["json"],
        task_serializer="json",
        event_serializer="json",
        result_serializer="json",
        task_ignore_result=True,
        task_store_errors_even_if_ignored=False,
        task_queues=[Queue(name) for name in QUEUES],
        task_default_queue=SEND_QUEUE,
        task_create_missing_queues=False,
        task_acks_late=False,  # the dispatcher marks anew what a dead worker left
        task_publish_retry=False,
        task_send_sent_event=True,
        worker_send_task_events=True,
        worker_prefetch_multiplier=1,
        # What a worker has not begun is better left to the one that is free first. The event that tells of a task's
        # end wakes the loop that takes the next one.
        worker_disable_prefetch=True,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        # It cancels only what is acknowledged late, and nothing is; without it Celery warns at each lost connection.
        worker_cancel_long_running_tasks_on_connection_loss=True,
        worker_enable_remote_control=True,  # Flower asks workers through it
        broker_connection_timeout=_CONNECT_TIMEOUT,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        # A full Redis answers with an error instead of hanging up: the worker, and the dispatcher in it, must live on.
        broker_channel_error_retry=True,
        broker_transport_options={
            "global_keyprefix": KEY_PREFIX,
            "visibility_timeout": int(_VISIBILITY_TIMEOUT.total_seconds()),
            "socket_timeout": _SOCKET_TIMEOUT,
            "socket_connect_timeout": _CONNECT_TIMEOUT,
            "socket_keepalive": True,
            "retry_on_timeout": False,
            "health_check_interval": 25,
        },
        enable_utc=True,
        timezone="UTC",
    )
    if concurrency is not None:
        app.conf.worker_concurrency = concurrency
    return app
