"""What both web applications share on their way up: settings, logs, stores, and how they refuse to start."""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from flask import Flask

from gateway.logs import configure_logs
from gateway.settings import Settings, SettingsError, load_dotenv_into, read_settings
from gateway.sns_topics import TopicsError
from gateway.store.errors import StoreError
from gateway.store.stores import Stores, open_stores

# gunicorn starts a worker that ended again and again, unless it ended with one of these two.
_WORKER_BOOT_ERROR = 3
_APP_LOAD_ERROR = 4


def start(compose: Callable[[Settings, Stores], Flask]) -> Flask:
    """Read the environment, open the stores, and compose the application; end the process when one of them fails."""
    try:
        return _start(compose)
    except (SettingsError, TopicsError) as error:
        _give_up(error, _APP_LOAD_ERROR)
    except StoreError as error:
        _give_up(error, _WORKER_BOOT_ERROR)


def _start(compose: Callable[[Settings, Stores], Flask]) -> Flask:
    load_dotenv_into(os.environ, Path.cwd())
    settings = read_settings(os.environ)
    configure_logs(settings.log_format, settings.log_addresses)
    stores = open_stores(settings)
    try:
        app = compose(settings, stores)
    except BaseException:
        stores.close()
        raise
    atexit.register(stores.close)
    return app


def _give_up(error: Exception, code: int) -> NoReturn:
    sys.stderr.write(f"{error}\n")
    raise SystemExit(code)
