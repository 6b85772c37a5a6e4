"""Serving the simulated AWS: gunicorn, one worker with many threads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gunicorn.app.base import BaseApplication

from gateway.sandbox.app import create_app
from gateway.sandbox.config import SandboxConfig
from gateway.sandbox.state import State, open_state

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

_THREADS: Final = 128
"""Made as needed: so many calls can be stalled by a fault while the oracle still answers."""
_CONNECTIONS: Final = 1000
_KEEP_ALIVE: Final = 75
_ARBITER_PATIENCE: Final = 3
_WORKER_PATIENCE: Final = 1
"""Seconds. The worker gives up waiting before the arbiter does, so that it always ends in its own way."""


def serve(config: SandboxConfig) -> None:
    """Serve until SIGTERM or SIGINT. Ends by SystemExit, with a code other than 0 if it could not start."""
    config.directory.mkdir(parents=True, exist_ok=True)
    _Application(config).run()


class _Application(BaseApplication):  # type: ignore[misc] # gunicorn ships no types
    """Opens the state in the worker: neither a database connection nor a thread survives a fork."""

    def __init__(self, config: SandboxConfig) -> None:
        self._config = config
        self._state: State | None = None
        super().__init__()

    def load_config(self) -> None:
        settings: dict[str, Any] = {
            "bind": [self._config.authority],
            "workers": 1,
            "worker_class": "gthread",
            "threads": _THREADS,
            "worker_connections": _CONNECTIONS,
            "keepalive": _KEEP_ALIVE,
            "graceful_timeout": _ARBITER_PATIENCE,
            "post_worker_init": _be_less_patient,
            "worker_exit": self._close,
            "control_socket_disable": True,
            "loglevel": "warning",
            "proc_name": "sesgate-sandbox",
        }
        for name, value in settings.items():
            self.cfg.set(name, value)

    def load(self) -> WSGIApplication:
        self._state = open_state(self._config)
        return create_app(self._state)

    def _close(self, _arbiter: object, _worker: object) -> None:
        if self._state is not None:
            self._state.close()


def _be_less_patient(worker: Any) -> None:
    worker.cfg.set("graceful_timeout", _WORKER_PATIENCE)
