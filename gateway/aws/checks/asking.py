"""Asking AWS for doctor: never faster than it likes, never for ever, and what may not be asked is no failure."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Literal

from gateway.aws.call_errors import AwsCallError
from gateway.aws.provisioning.names import Place
from gateway.aws.session import Aws, Service, clients, iam_action
from gateway.findings import Finding, skipped, warning
from gateway.setting_values import QueueUrl

_OUT_OF_TIME: Final = "OutOfTime"
_LONGEST_THROTTLED = 4.0


class PatientAws(Aws):
    """Calls each operation once a second at most, which is what SES allows, and none after `seconds` in all.

    AwsCallError for what there was no time for.
    """

    def __init__(
        self,
        region: str | None = None,
        *,
        interval: float,
        seconds: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        super().__init__(region, sleep=self._rest)
        self._interval = interval
        self._clock = clock
        self._pause = sleep
        self._ends_at = clock() + seconds
        self._asked_at: dict[str, float] = {}

    def call(self, service: Service, operation: str, **parameters: Any) -> dict[str, Any]:
        action = iam_action(service, operation)
        since = self._clock() - self._asked_at.get(f"{service}.{operation}", float("-inf"))
        self._rest(self._interval - since, action)
        try:
            return super().call(service, operation, **parameters)
        finally:
            self._asked_at[f"{service}.{operation}"] = self._clock()

    def _rest(self, seconds: float, action: str = "") -> None:
        if self._clock() + seconds >= self._ends_at or seconds > _LONGEST_THROTTLED:
            raise AwsCallError("There was no time left to ask AWS about it: try again.", _OUT_OF_TIME, action)
        if seconds > 0:
            self._pause(seconds)


@dataclass(frozen=True, slots=True)
class Situation:
    """What the gateway is set to, as far as AWS is concerned.

    `knows_topics`: the database could be asked, so a topic that is not among `trusted_topics` is not trusted.
    `queue_is_elsewhere`: the queue is reached by another endpoint than those of AWS's regions, or is not AWS's.
    `configuration_sets`: the installation's first, then those of credentials. `senders`: addresses and domains that are
    named anywhere as senders; `rewrite_from` is one of them. `heard` is the fact of the control store.
    `pinned_certificate`: the file of the simulated AWS, None for the real one.
    """

    feedback: Literal["configuration-set", "identity"] = "configuration-set"
    configuration_sets: tuple[str, ...] = ()
    trusted_topics: frozenset[str] = frozenset()
    knows_topics: bool = True
    queue: QueueUrl | None = None
    queue_is_elsewhere: bool = False
    rewrite_from: str | None = None
    senders: tuple[str, ...] = ()
    heard: Mapping[str, Any] = field(default_factory=dict)
    pinned_certificate: Path | None = None
    webhook_is_well: bool = True

    @property
    def is_simulated(self) -> bool:
        return self.pinned_certificate is not None


@dataclass(frozen=True, slots=True)
class Desk:
    """What every check of AWS works with; `place` is where the credentials have turned out to work."""

    aws: Aws
    place: Place
    situation: Situation
    now: datetime

    def aws_of(self, region: str | None) -> Aws:
        """Calls to another region than that of SES, where a queue may be."""
        return self.aws if region in {None, self.aws.region} else clients(region)


def not_seen(check: str, error: AwsCallError) -> Finding:
    """What is to be said where AWS did not show how a link is. That it is broken is not known by it."""
    if error.is_denied:
        return warning(
            check,
            f"not allowed to look: these credentials may not call {error.action}",
            f"Allow {error.action} for whoever runs doctor. {error}",
        )
    if error.is_unknown_call:
        return skipped(check, f"what answers in place of AWS does not know {error.action}")
    return warning(check, f"could not be looked at: {error}", "Run doctor again; if it stays, look at the reason.")
