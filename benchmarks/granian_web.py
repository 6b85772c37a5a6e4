"""The webhook as granian would serve it, on one CPU as under gunicorn's worker."""

from __future__ import annotations

from gateway.one_cpu import stay_on_one_cpu
from webhook.wsgi import app

__all__ = ["app"]

stay_on_one_cpu()
