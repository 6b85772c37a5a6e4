"""The entry point of the public application: `gunicorn webhook.wsgi:app`.

`app` is made when it is first asked for, so that importing this module opens nothing.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from flask import Flask

from gateway.broker import find_broker_url, make_app
from gateway.dispatch import Dispatch, HintThread
from gateway.sandbox.names import SIGNING_CERTIFICATE_FILE
from gateway.settings import Settings
from gateway.sns import Verifier
from gateway.sns_certificates import CertificateStore, PinnedCertificate
from gateway.store.control import TOPICS
from gateway.store.schema import require_stamp, stamp_of_environment
from gateway.store.stores import Stores
from webhook.app import create_app
from webhook.composition import start
from webhook.confirm import confirm_subscription
from webhook.topics import TrustedTopics

if TYPE_CHECKING:
    app: Flask


def __getattr__(name: str) -> Flask:
    if name != "app":
        raise AttributeError(name)
    made = start(_compose)
    globals()["app"] = made
    return made


def _compose(settings: Settings, stores: Stores) -> Flask:
    """StoreError when confirming a subscription would reach another AWS than the one the database is for."""
    stamp = stamp_of_environment(os.environ)
    require_stamp(stores.db, stamp)
    topics = TrustedTopics(settings.sns_topic_arns, lambda: stores.control.get(TOPICS), stamp)
    pinned = PinnedCertificate(settings.sandbox_directory / SIGNING_CERTIFICATE_FILE) if stamp == "sandbox" else None
    return create_app(
        verifier=Verifier(topics, CertificateStore(), pinned_certificate=pinned),
        notifications=stores.notifications,
        confirm=confirm_subscription,
        hint=_hints(settings),
        ask_database=lambda: stores.control.get(TOPICS),
    )


def _hints(settings: Settings) -> Callable[[int], None]:
    """Without a broker the dispatcher finds notifications by itself."""
    broker_url = find_broker_url(settings)
    if not broker_url:
        return lambda _id: None
    hints = HintThread(Dispatch(make_app(broker_url)).feedback)
    atexit.register(hints.stop)
    return hints.offer
