"""What a worker process works with, made on first use in each: connections and clients do not survive a fork."""

from __future__ import annotations

import os
import socket
import threading
from dataclasses import dataclass
from datetime import timedelta

from gateway.settings import Settings
from gateway.store.errors import StoreError
from gateway.store.schema import require_stamp, stamp_of_environment
from gateway.store.stores import Stores, open_stores
from tasks.feedback import FeedbackProcessor
from tasks.line import Line
from tasks.sending import Sender
from tasks.ses import SesClient

_LONGEST_READ = 60.0


@dataclass(frozen=True, slots=True)
class Services:
    """The parts of one process."""

    settings: Settings
    stores: Stores
    line: Line
    processor: FeedbackProcessor

    def close(self) -> None:
        self.line.close()
        self.stores.close()


def open_services(settings: Settings) -> Services:
    """StoreError when the database is not ours to send from, or the settings lack what feedback needs."""
    stores = open_stores(settings)
    try:
        stamp = stamp_of_environment(os.environ)
        require_stamp(stores.db, stamp)
        if settings.ses_configuration_set is None and settings.feedback == "configuration-set":
            raise StoreError(
                "SESGATE_SES_CONFIGURATION_SET is not set: without it SES reports no bounce of our mail."
                " Name the set, or set SESGATE_FEEDBACK=identity if the weaker feedback is wanted."
            )
    except BaseException:
        stores.close()
        raise
    ses = SesClient(
        settings.ses_configuration_set,
        threads=settings.worker_threads,
        read_timeout=read_timeout(settings.claim_lease),
    )
    ses.warm_up()
    sender = Sender(
        stores,
        ses,
        socket.getfqdn(),
        settings=settings,
        call_within=settings.claim_lease.total_seconds() / 4,
    )
    return Services(
        settings=settings,
        stores=stores,
        line=Line(sender, settings.worker_threads),
        processor=FeedbackProcessor(stores.notifications),
    )


def read_timeout(claim_lease: timedelta) -> float:
    """Seconds that SES may take to answer.

    The claim must outlive the call, which may begin in the first quarter of it, and the writing down of its outcome.
    """
    return min(_LONGEST_READ, claim_lease.total_seconds() / 2)


class PerProcess:
    """The services of whichever process asks; after a fork the child gets its own."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._services: Services | None = None
        self._lock = threading.Lock()
        os.register_at_fork(after_in_child=self._forget)

    def get(self) -> Services:
        with self._lock:
            if self._services is None:
                self._services = open_services(self._settings)
            return self._services

    def close(self) -> None:
        with self._lock:
            if self._services is not None:
                self._services.close()
            self._services = None

    def drain(self) -> None:
        """Begin nothing more. Safe in a signal handler: it waits for no lock."""
        services = self._services
        if services is not None:
            services.line.drain()

    def finish(self) -> None:
        """Begin nothing more, and wait until the outcomes of the calls that are being made are written down."""
        services = self._services
        if services is not None:
            services.line.close()

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self._services = None
