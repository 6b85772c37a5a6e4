"""The entry point of the operator's application: `gunicorn webhook.admin.wsgi:app`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import Flask

from gateway.settings import Settings
from gateway.store.stores import Stores
from webhook.admin.app import create_app
from webhook.composition import start

if TYPE_CHECKING:
    app: Flask


def __getattr__(name: str) -> Flask:
    """`app` is made when it is first asked for, so that importing this module opens nothing."""
    if name != "app":
        raise AttributeError(name)
    made = start(_compose)
    globals()["app"] = made
    return made


def _compose(settings: Settings, stores: Stores) -> Flask:
    return create_app(reports=stores.reports, listen_host=settings.admin_listen.host)
