"""What the installation says of its mail, read from its database with the stores of the product."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from gateway.settings import Settings
from gateway.store.errors import StoreError, StoreUnavailableError
from gateway.store.stores import open_stores


class Book:
    """A reader of its own, beside the programs. `with` closes it."""

    def __init__(self, directory: Path, database_url: str = "") -> None:
        self._stores = open_stores(Settings(data_dir=directory, database_url=database_url))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._stores.close()

    def rows(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        with self._stores.db.read() as sql:
            return sql.all(statement, values)

    def statuses(self) -> dict[str, str]:
        """The status of each recipient, by address."""
        return {str(address): str(status) for address, status in self.rows("SELECT address, status FROM recipients")}

    def count(self, *statuses: str) -> int:
        marks = ", ".join("?" for _ in statuses)
        return int(self.rows(f"SELECT count(*) FROM recipients WHERE status IN ({marks})", *statuses)[0][0])

    def unfinished_notifications(self) -> int:
        return int(self.rows("SELECT count(*) FROM notifications WHERE processed_at IS NULL")[0][0])

    def holder(self) -> int | None:
        """The process id of the worker whose dispatcher is active."""
        found = self.rows("SELECT holder FROM control WHERE key = 'dispatcher'")
        return int(found[0][0].split("/")[1]) if found and found[0][0] else None

    def fact(self, key: str) -> dict[str, Any] | None:
        return self._stores.control.get(key)

    def forget(self, key: str) -> None:
        """Take a fact out of the control store, as a person does who closes the circuit."""
        self._stores.control.remove(key)


def wait_for(check: Callable[[], bool], seconds: float, *, every: float = 0.1) -> float | None:
    """The seconds until `check` held; None when it did not in time. A database that is away tells no."""
    started = time.monotonic()
    while time.monotonic() - started < seconds:
        try:
            if check():
                return time.monotonic() - started
        except (StoreUnavailableError, StoreError):
            pass
        time.sleep(every)
    return None
