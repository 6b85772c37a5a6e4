"""The check of a mail's senders at the door, before SES sees them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import Executor
from typing import Protocol

from gateway.logs import get_logger
from gateway.preflight import Identities, judge
from gateway.senders import SenderAddress
from gateway.smtp import replies

log = get_logger(__name__)


class IdentitySource(Protocol):
    """What is known of the SES account's identities."""

    @property
    def is_fresh(self) -> bool:
        """Whether `last` is what `get` would answer."""

    @property
    def last(self) -> Identities | None:
        """What `get` answered last; never blocks."""

    def get(self) -> Identities | None:
        """None when nothing is known to refuse a mail by. May block."""


class SenderCheck:
    """Asks for the identities without blocking the event loop; while they cannot be had, every sender is fine."""

    def __init__(
        self, identities: IdentitySource, rewrite_from: str | None, lookups: Executor, *, patience: float
    ) -> None:
        self._identities = identities
        self._rewrite_from = rewrite_from
        self._lookups = lookups
        self._patience = patience

    async def refusal(self, senders: Sequence[SenderAddress], client_address: str) -> str | None:
        """The reply that refuses the mail; None when SES will take its senders, or they will be rewritten."""
        identities = self._identities.last if self._identities.is_fresh else await self._known()
        refused = judge(senders, identities, self._rewrite_from).refused
        if identities is None or refused is None:
            return None
        log.warning(
            "sender.refused",
            client=client_address,
            field=refused.field,
            address=refused.address,
            **({"rewrite_from": f"{self._rewrite_from} is not verified itself"} if self._rewrite_from else {}),
        )
        return replies.sender_not_verified(refused, identities)

    async def _known(self) -> Identities | None:
        try:
            async with asyncio.timeout(self._patience):
                return await asyncio.get_running_loop().run_in_executor(self._lookups, self._identities.get)
        except TimeoutError:
            log.warning("sender.not_checked", error="the database did not answer in time")
            return None
