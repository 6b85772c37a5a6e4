"""Which database a URL means."""

from __future__ import annotations

from gateway.store.db import Database
from gateway.store.errors import StoreError
from gateway.store.postgres import open_postgres
from gateway.store.sqlite import open_sqlite


def open_database(url: str, gate_timeout: float) -> Database:
    """The database that `SESGATE_DATABASE_URL` names, not connected yet; StoreError when there is no such kind."""
    scheme = url.partition(":")[0]
    if scheme == "sqlite":
        return open_sqlite(url, gate_timeout)
    if scheme in ("postgresql", "postgres"):
        return open_postgres(url, gate_timeout)
    raise StoreError(
        f"{scheme or 'an empty text'!r} is no database that is known here;"
        " write sqlite:///path/to/file or postgresql://user:password@host/name."
    )
