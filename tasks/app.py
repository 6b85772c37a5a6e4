"""The Celery application of the workers: the two tasks, and the dispatcher that runs beside them."""

from __future__ import annotations

import os
import secrets
import socket
import sys
import time
from typing import Any

from celery import Celery, bootsteps
from celery.signals import (
    worker_init,
    worker_process_init,
    worker_process_shutdown,
    worker_ready,
    worker_shutdown,
    worker_shutting_down,
)

from gateway.aws.account import read_account
from gateway.aws.identities import read_identities
from gateway.broker import find_broker_url, make_app
from gateway.dispatch import FEEDBACK, SEND, Dispatch
from gateway.garbage import spare_what_is_loaded
from gateway.guard import guard_warning
from gateway.logs import get_logger
from gateway.one_cpu import leave_one_cpu, stay_on_one_cpu
from gateway.settings import Settings
from gateway.store.errors import StoreError
from tasks.dispatcher import Dispatcher, Work
from tasks.guard_notice import GuardNotice
from tasks.housekeeping import PATIENCE, Housekeeping
from tasks.identity_watch import IdentityWatch
from tasks.services import PerProcess, Services
from tasks.stopping import PromptStop

log = get_logger(__name__)


def make_worker_app(settings: Settings) -> Celery:
    """The application behind `celery -A tasks`. Nothing is opened before a worker starts."""
    app = make_app(find_broker_url(settings))
    per_process = PerProcess(settings)
    _add_tasks(app, per_process)
    _add_dispatcher(app, per_process, settings)
    worker_init.connect(lambda **_: _open_or_exit(per_process), weak=False)
    worker_init.connect(lambda **_: _warn_of_guard(settings), weak=False)
    worker_init.connect(lambda **_: stay_on_one_cpu(), weak=False)
    worker_process_init.connect(lambda **_: per_process.get(), weak=False)
    worker_process_init.connect(lambda **_: stay_on_one_cpu(), weak=False)
    worker_process_init.connect(lambda **_: spare_what_is_loaded(), weak=False)
    worker_ready.connect(lambda **_: spare_what_is_loaded(), weak=False)
    worker_process_shutdown.connect(lambda **_: per_process.close(), weak=False)
    worker_shutting_down.connect(lambda **_: per_process.drain(), weak=False)
    worker_shutdown.connect(lambda **_: per_process.close(), weak=False)
    worker_shutdown.connect(lambda **_: leave_one_cpu(), weak=False)  # Celery may put a new worker in its place
    return app


def _add_tasks(app: Celery, per_process: PerProcess) -> None:
    @app.task(name=SEND)
    def send(recipient_ids: list[int]) -> None:
        """Send to these recipients, as far as they are due and ours."""
        per_process.get().line.send(recipient_ids)

    @app.task(name=FEEDBACK)
    def feedback(notification_ids: list[int]) -> None:
        """Understand these notifications, as far as nobody has."""
        per_process.get().processor.process(*notification_ids)


def _add_dispatcher(app: Celery, per_process: PerProcess, settings: Settings) -> None:
    class DispatcherStep(bootsteps.StartStopStep):
        """Needs the pool and not the consumer: so it runs before and without a connection to the broker."""

        requires = ("celery.worker.components:Pool",)

        def __init__(self, parent: Any, **kwargs: Any) -> None:
            super().__init__(parent, **kwargs)
            self._dispatcher: Dispatcher | None = None

        def start(self, parent: Any) -> None:  # noqa: ARG002  the library's signature
            self._dispatcher = _make_dispatcher(app, per_process.get(), settings)
            self._dispatcher.start()

        def stop(self, parent: Any) -> None:  # noqa: ARG002
            if self._dispatcher is not None:
                self._dispatcher.stop()

        def terminate(self, parent: Any) -> None:
            """Celery tells a cold stop to nobody: what the dispatcher had sent here would be left in doubt."""
            self.stop(parent)
            per_process.finish()

    app.steps["worker"].update((DispatcherStep, PromptStop))


def _make_dispatcher(app: Celery, services: Services, settings: Settings) -> Dispatcher:
    return Dispatcher(
        services.stores,
        Work(Dispatch(app), services.line, services.processor, settings.worker_threads),
        Housekeeping(
            services.stores,
            read_account,
            time.monotonic,
            patience=min(PATIENCE, settings.max_age.total_seconds()),
            more=(
                IdentityWatch(services.stores.control, read_identities, time.monotonic).run,
                GuardNotice(services.stores.control, settings).run,
            ),
        ),
        holder=f"{socket.gethostname()}/{os.getpid()}/{secrets.token_hex(4)}",
        lease_seconds=settings.dispatcher_lease.total_seconds(),
        rate_factor=settings.rate_factor,
    )


def _warn_of_guard(settings: Settings) -> None:
    if warning := guard_warning(settings):
        log.warning("worker.staging_guard", reason=warning)


def _open_or_exit(per_process: PerProcess) -> None:
    try:
        per_process.get()
    except StoreError as error:
        sys.stderr.write(f"sesgate: {error}\n")
        raise SystemExit(1) from None
