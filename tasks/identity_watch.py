"""Keeps the list of the account's identities in the control store, as one of housekeeping's chores."""

from __future__ import annotations

import time
from collections.abc import Callable

from gateway.aws.identities import IAM_ACTION, IdentitiesUnknownError, IdentityListing, IdentityPage
from gateway.logs import get_logger
from gateway.preflight import as_fact, unknown_fact
from gateway.store.control import IDENTITIES, IDENTITY_REFUSED, Control, Lease

log = get_logger(__name__)

_LIST_EVERY = 60.0
_LIST_AFTER_REFUSAL = 5.0
_LIST_AFTER_FAILURE = 10.0
_LOOK_EVERY = 1.0  # and so at most one page a second, as SES allows


class IdentityWatch:
    """Lists once a minute, and soon after SES refused a sender: then the list that is known has become wrong."""

    def __init__(
        self,
        control: Control,
        read_page: Callable[[str | None], IdentityPage],
        clock: Callable[[], float],
        *,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._control = control
        self._listing = IdentityListing(read_page)
        self._clock = clock
        self._wall = wall
        self._list_at = self._not_before = clock()
        self._refusal: object = None
        self._error = ""

    def run(self, _lease: Lease) -> float:
        """Read a page if it is time; the seconds until this wants to be run again."""
        if self._listing.is_under_way or self._is_due():
            self._read_page()
        return _LOOK_EVERY

    def _is_due(self) -> bool:
        now = self._clock()
        if now >= self._list_at:
            return True
        if now < self._not_before:
            return False
        refusal, self._refusal = self._refusal, (self._control.get(IDENTITY_REFUSED) or {}).get("at")
        return self._refusal != refusal

    def _read_page(self) -> None:
        try:
            listed = self._listing.next_page()
        except IdentitiesUnknownError as error:
            self._failed(error)
            return
        if listed is None:
            return
        self._error = ""
        fact = as_fact(listed.names, others=listed.others, region=listed.region, at=self._wall())
        self._control.put(IDENTITIES, fact)
        self._wait(_LIST_EVERY)

    def _failed(self, error: IdentitiesUnknownError) -> None:
        if error.is_denied:
            self._control.put(IDENTITIES, unknown_fact(str(error), self._wall()))
        if str(error) != self._error:
            self._error = str(error)
            log.warning(
                "housekeeping.identities_unknown",
                error=self._error,
                meanwhile="a sender that SES refuses is found out only when the mail is sent, and none is rewritten",
                fix=f"allow {IAM_ACTION} to the workers' credentials" if error.is_denied else "",
            )
        self._wait(_LIST_EVERY if error.is_denied else _LIST_AFTER_FAILURE)

    def _wait(self, seconds: float) -> None:
        self._list_at = self._clock() + seconds
        self._not_before = self._clock() + _LIST_AFTER_REFUSAL
