"""The topics whose feedback is trusted: those in the settings and those that the operator's commands made."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from gateway.logs import get_logger
from gateway.sns_topics import TopicsError, check_topics
from gateway.store.errors import StoreError
from gateway.store.schema import Stamp

_REFRESH = 2.0  # seconds

log = get_logger(__name__)


class TrustedTopics:
    """A set that follows the table `control`, asked at each request; nothing is ever learned from a message.

    Making one reads the table and raises what goes wrong, TopicsError or StoreError: a gateway that does not know its
    topics would refuse genuine messages, and SNS does not repeat what was refused. Later a failure keeps the last set.
    """

    def __init__(
        self,
        configured: Iterable[str],
        read: Callable[[], Mapping[str, Any] | None],
        stamp: Stamp,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._configured = tuple(configured)
        self._read = read
        self._stamp = stamp
        self._clock = clock
        self._refreshing = threading.Lock()
        self._known = self._load()
        self._loaded_at = clock()

    def __call__(self) -> frozenset[str]:
        if self._clock() - self._loaded_at >= _REFRESH and self._refreshing.acquire(blocking=False):
            try:
                self._refresh()
            finally:
                self._refreshing.release()
        return self._known

    def _refresh(self) -> None:
        self._loaded_at = self._clock()
        try:
            known = self._load()
        except (TopicsError, StoreError) as error:
            log.error("topics.not_refreshed", reason=str(error))
            return
        if known != self._known:
            log.info("topics.changed", topics=sorted(known))
        self._known = known

    def _load(self) -> frozenset[str]:
        arns = (self._read() or {}).get("arns", [])
        if not isinstance(arns, list) or not all(isinstance(arn, str) for arn in arns):
            raise TopicsError("The topics in the database are not a list of ARNs; run `sesgate provision` again.")
        return check_topics((*self._configured, *arns), self._stamp)
