"""The entry point of the public application: `gunicorn webhook.wsgi:app`.

`app` is made when it is first asked for, so that importing this module opens nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import Flask

from gateway.settings import Settings
from gateway.sns import MAX_AGE
from gateway.store.control import TOPICS
from gateway.store.stores import Stores
from webhook.app import create_app
from webhook.composition import make_inbox, start

if TYPE_CHECKING:
    app: Flask


def __getattr__(name: str) -> Flask:
    if name != "app":
        raise AttributeError(name)
    made = start(_compose)
    globals()["app"] = made
    return made


def _compose(settings: Settings, stores: Stores) -> Flask:
    inbox = make_inbox(settings, stores, "webhook", max_age=MAX_AGE)
    return create_app(inbox=inbox, ask_database=lambda: stores.control.get(TOPICS))
