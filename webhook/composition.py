"""What the programs of this package share on their way up: settings, logs, stores, the inbox, refusing to start."""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import NoReturn, TypeVar

from flask import Flask

from gateway.broker import find_broker_url, make_app
from gateway.dispatch import Dispatch, HintThread
from gateway.logs import configure_logs
from gateway.sandbox.names import SIGNING_CERTIFICATE_FILE
from gateway.settings import Settings, SettingsError, load_dotenv_into, read_settings
from gateway.sns import Verifier
from gateway.sns_certificates import CertificateStore, PinnedCertificate
from gateway.sns_topics import TopicsError
from gateway.store.control import TOPICS
from gateway.store.errors import StoreError
from gateway.store.heard import Program, note_heard
from gateway.store.schema import require_stamp, stamp_of_environment
from gateway.store.stores import Stores, open_stores
from webhook.confirm import confirm_subscription
from webhook.heard import Heard
from webhook.inbox import Inbox, log_taken
from webhook.lines import Lines
from webhook.topics import TrustedTopics

T = TypeVar("T")

# gunicorn starts a worker that ended again and again, unless it ended with one of these two.
_WORKER_BOOT_ERROR = 3
_APP_LOAD_ERROR = 4


def start(compose: Callable[[Settings, Stores], Flask]) -> Flask:
    """What gunicorn serves; ends the process when it cannot be made."""
    try:
        return load(compose)
    except (SettingsError, TopicsError) as error:
        _give_up(error, _APP_LOAD_ERROR)
    except StoreError as error:
        _give_up(error, _WORKER_BOOT_ERROR)


def load(compose: Callable[[Settings, Stores], T]) -> T:
    """Read the environment, open the stores until the process ends, and put together what needs both.

    SettingsError, TopicsError and StoreError say why the program cannot run here.
    """
    load_dotenv_into(os.environ, Path.cwd())
    settings = read_settings(os.environ)
    configure_logs(settings.log_format, settings.log_addresses)
    stores = open_stores(settings)
    try:
        made = compose(settings, stores)
    except BaseException:
        stores.close()
        raise
    atexit.register(stores.close)
    return made


def make_inbox(settings: Settings, stores: Stores, program: Program, *, max_age: timedelta | None) -> Inbox:
    """Where envelopes of the trusted topics go. What this program sees is noted under its name.

    StoreError when confirming a subscription would reach another AWS than the one the database is for.
    """
    stamp = stamp_of_environment(os.environ)
    require_stamp(stores.db, stamp)
    topics = TrustedTopics(settings.sns_topic_arns, lambda: stores.control.get(TOPICS), stamp)
    pinned = PinnedCertificate(settings.sandbox_directory / SIGNING_CERTIFICATE_FILE) if stamp == "sandbox" else None
    verifier = Verifier(topics, CertificateStore(), pinned_certificate=pinned, max_age=max_age)
    heard = Heard(partial(note_heard, stores.db, program))
    atexit.register(heard.stop)
    lines = Lines(log_taken)
    atexit.register(lines.stop)
    return Inbox(verifier, stores.notifications, confirm_subscription, _hints(settings), heard.note, lines.add)


def _hints(settings: Settings) -> Callable[[int], None]:
    """Without a broker the dispatcher finds notifications by itself."""
    broker_url = find_broker_url(settings)
    if not broker_url:
        return lambda _id: None
    hints = HintThread(Dispatch(make_app(broker_url)).feedback)
    atexit.register(hints.stop)
    return hints.offer


def _give_up(error: Exception, code: int) -> NoReturn:
    sys.stderr.write(f"{error}\n")
    raise SystemExit(code)
