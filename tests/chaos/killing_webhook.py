"""A configuration of gunicorn whose workers kill themselves between the commit of a notification and its 200.

As often as there are files in a directory: each kill takes one away. The product has no such switch.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

_NAME = "CHAOS_WEBHOOK_KILLS"


def environment(orders: Path) -> dict[str, str]:
    """What makes the webhook obey the orders in that directory."""
    return {"GUNICORN_CMD_ARGS": "--config python:tests.chaos.killing_webhook", _NAME: str(orders)}


def post_worker_init(_worker: Any) -> None:
    """Called by gunicorn in each worker that it starts."""
    from webhook.inbox import Inbox  # noqa: PLC0415 - gunicorn reads this file in its master, too

    directory = Path(os.environ[_NAME])
    offer_hint = Inbox._offer_hint

    def killed(self: Any, stored_id: int) -> None:
        for order in sorted(directory.iterdir()):
            order.unlink(missing_ok=True)
            os.kill(os.getpid(), signal.SIGKILL)
        offer_hint(self, stored_id)

    Inbox._offer_hint = killed  # type: ignore[method-assign] # that is what it is for
