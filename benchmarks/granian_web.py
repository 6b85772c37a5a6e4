"""The webhook as granian would serve it, with all that gunicorn's worker does for its process."""

from __future__ import annotations

from gateway.garbage import spare_what_is_loaded
from gateway.one_cpu import stay_on_one_cpu
from webhook.wsgi import app

__all__ = ["app"]

stay_on_one_cpu()
spare_what_is_loaded()
