"""The entry point of Celery's own commands: `celery -A tasks worker` and `celery -A tasks flower`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from celery.signals import setup_logging

from gateway.broker import BROKER_URL_FILE, find_broker_url
from gateway.logs import configure_logs
from gateway.settings import Settings, SettingsError, load_dotenv_into, read_settings
from tasks.app import make_worker_app
from tasks.flower import FlowerOptionsError, flower_environment


class NoBrokerError(Exception):
    """Celery would look for a broker of its own choice; the text is one sentence with the fix."""


def require_broker(settings: Settings) -> None:
    """NoBrokerError when no broker is set and no `sesgate up` on this data has noted the address of its own."""
    if not find_broker_url(settings):
        raise NoBrokerError(
            "No broker is set: set SESGATE_BROKER_URL, such as redis://127.0.0.1:6379/0, or run `sesgate up` with the"
            f" same SESGATE_DATA_DIR (it notes its own Redis in {settings.data_dir / BROKER_URL_FILE})."
        )


try:
    load_dotenv_into(os.environ, Path.cwd())
    settings = read_settings(os.environ)
    if "--help" not in sys.argv:
        require_broker(settings)
    if "flower" in sys.argv:
        os.environ.update(flower_environment(settings, os.environ))
except (SettingsError, FlowerOptionsError, NoBrokerError) as error:
    sys.stderr.write(f"sesgate: {error}\n")
    raise SystemExit(2) from None

configure_logs(settings.log_format, settings.log_addresses)
# Celery configures logging itself unless somebody listens here.
setup_logging.connect(lambda **_: None, weak=False)

app = make_worker_app(settings)
# What `-c` is when it is not given.
app.conf.worker_concurrency = settings.worker_threads
