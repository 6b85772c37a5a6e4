"""The command lines of the programs that `sesgate` starts but that are not its own to import."""

from __future__ import annotations

import math
import sys

from gateway.setting_values import HostPort, QueueUrl
from gateway.settings import Settings

_WEBHOOK_THREADS = 16
_ADMIN_THREADS = 4


def webhook_argv(settings: Settings) -> tuple[str, ...]:
    return _gunicorn("webhook.wsgi:app", settings.webhook_listen, _WEBHOOK_THREADS, settings)


def admin_argv(settings: Settings) -> tuple[str, ...]:
    return _gunicorn("webhook.admin.wsgi:app", settings.admin_listen, _ADMIN_THREADS, settings)


def queue_argv() -> tuple[str, ...]:
    return (sys.executable, "-m", "webhook.queue")


def redrive_argv(queue: QueueUrl) -> tuple[str, ...]:
    return (sys.executable, "-m", "webhook.redrive", queue.url)


def _gunicorn(app: str, address: HostPort, threads: int, settings: Settings) -> tuple[str, ...]:
    return (
        *(sys.executable, "-m", "gunicorn", app),
        *("--bind", str(address), "--worker-class", "webhook.worker.DeadlineThreadWorker", "--threads", str(threads)),
        *("--graceful-timeout", str(math.ceil(settings.drain_timeout.total_seconds()))),
        # It would lie in the home directory and be shared by every gunicorn of this user.
        "--no-control-socket",
    )
