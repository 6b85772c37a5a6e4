"""The entry point of Celery's own commands: `celery -A tasks worker` and `celery -A tasks flower`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from celery.signals import setup_logging

from gateway.logs import configure_logs
from gateway.settings import SettingsError, load_dotenv_into, read_settings
from tasks.app import make_worker_app
from tasks.flower import FlowerOptionsError, flower_environment

try:
    load_dotenv_into(os.environ, Path.cwd())
    settings = read_settings(os.environ)
    if "flower" in sys.argv:
        os.environ.update(flower_environment(settings, os.environ))
except (SettingsError, FlowerOptionsError) as error:
    sys.stderr.write(f"sesgate: {error}\n")
    raise SystemExit(2) from None

configure_logs(settings.log_format, settings.log_addresses)
# Celery configures logging itself unless somebody listens here.
setup_logging.connect(lambda **_: None, weak=False)

app = make_worker_app(settings)
