"""Every other AWS service (IAM, STS …), answered by moto inside the same process."""

from __future__ import annotations

import importlib
import json
import os
import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_MISSING: Final = (
    "The sandbox answers this service through moto, which is not installed: pip install 'sesgate[sandbox]'."
)


class Fallback:
    """A WSGI application that loads moto with the first call, for it takes seconds and few runs need it."""

    def __init__(self, account_id: str) -> None:
        self._account_id = account_id
        self._lock = threading.Lock()
        self._moto: WSGIApplication | None = None

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        try:
            return self._application()(environ, start_response)
        except ModuleNotFoundError:
            return _missing(start_response)

    def _application(self) -> WSGIApplication:
        with self._lock:
            if self._moto is None:
                os.environ["MOTO_ACCOUNT_ID"] = self._account_id  # Read when moto is imported, and nowhere else.
                module: Any = importlib.import_module("moto.moto_server.werkzeug_app")
                self._moto = module.DomainDispatcherApplication(module.create_backend_app)
            return self._moto


def _missing(start_response: StartResponse) -> Iterable[bytes]:
    body = json.dumps({"message": _MISSING}).encode()
    headers = [
        ("Content-Type", "application/json"),
        ("Content-Length", str(len(body))),
        ("x-amzn-ErrorType", "ServiceNotInSandbox"),
    ]
    start_response("501 Not Implemented", headers)
    return [body]
