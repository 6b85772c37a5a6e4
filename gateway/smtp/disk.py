"""Whether there is room for more mail."""

from __future__ import annotations

import asyncio
import os
import time
from concurrent.futures import Executor
from pathlib import Path

from gateway.logs import get_logger

log = get_logger(__name__)

_CHECK_EVERY = 1.0  # seconds


class FreeSpace:
    """Watches the file system of a directory; asked for each message, it looks at most once a second."""

    def __init__(self, directory: Path, minimum: int, executor: Executor) -> None:
        self._directory = directory
        self._minimum = minimum
        self._executor = executor
        self._is_short = False
        self._check_again_at = 0.0

    @property
    def is_fresh(self) -> bool:
        """Whether `was_short` is what `is_short` would answer."""
        return time.monotonic() < self._check_again_at

    @property
    def was_short(self) -> bool:
        """What was found last."""
        return self._is_short

    async def is_short(self) -> bool:
        """Whether less than the minimum is free. Not knowing counts as short: the store could not write either."""
        now = time.monotonic()
        if now >= self._check_again_at:
            self._check_again_at = now + _CHECK_EVERY
            was_short = self._is_short
            loop = asyncio.get_running_loop()
            self._is_short = await loop.run_in_executor(self._executor, self._measure)
            if self._is_short != was_short:
                log.warning("disk.short" if self._is_short else "disk.room_again", directory=str(self._directory))
        return self._is_short

    def _measure(self) -> bool:
        try:
            status = os.statvfs(self._existing())
        except OSError as error:
            log.error("disk.unknown", directory=str(self._directory), error=str(error))
            return True
        return status.f_bavail * status.f_frsize < self._minimum

    def _existing(self) -> Path:
        """The directory, or the one it would be made in: with a database elsewhere nothing may have made it yet."""
        directory = self._directory.absolute()
        while not directory.exists() and directory != directory.parent:
            directory = directory.parent
        return directory
