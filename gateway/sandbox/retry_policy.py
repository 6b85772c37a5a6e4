"""How SNS repeats a delivery to an HTTP endpoint.

https://docs.aws.amazon.com/sns/latest/dg/sns-message-delivery-retries.html
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from typing import Any, Final

_MAX_TOTAL: Final = 3600.0
"""Seconds: whatever a policy says, SNS gives up after an hour of delays."""
_MAX_RETRIES: Final = 100
_BACKOFFS: Final = ("linear", "arithmetic", "geometric", "exponential")


@dataclass(frozen=True)
class RetryPolicy:
    """A `healthyRetryPolicy`, in seconds. The defaults are those of SNS: three retries, twenty seconds apart."""

    minDelayTarget: int = 20  # noqa: N815 - spelled as in the JSON
    maxDelayTarget: int = 20  # noqa: N815 - the same
    numRetries: int = 3  # noqa: N815 - the same
    numMaxDelayRetries: int = 0  # noqa: N815 - the same
    numNoDelayRetries: int = 0  # noqa: N815 - the same
    numMinDelayRetries: int = 0  # noqa: N815 - the same
    backoffFunction: str = "linear"  # noqa: N815 - the same

    def delay(self, failures: int) -> float | None:
        """How long to wait after this many failures in a row; None to give up."""
        if failures > self.numRetries or self._total(failures) > _MAX_TOTAL:
            return None
        return self._nth(failures)

    def _total(self, retries: int) -> float:
        return sum(self._nth(number) for number in range(1, retries + 1))

    def _nth(self, number: int) -> float:
        """The delay before retry `number`, counted from 1, through the four phases."""
        if number <= self.numNoDelayRetries:
            return 0.0
        number -= self.numNoDelayRetries
        if number <= self.numMinDelayRetries:
            return float(self.minDelayTarget)
        number -= self.numMinDelayRetries
        growing = self.numRetries - self.numNoDelayRetries - self.numMinDelayRetries - self.numMaxDelayRetries
        return self._growing(number, growing) if number <= growing else float(self.maxDelayTarget)

    def _growing(self, number: int, steps: int) -> float:
        low, high = float(self.minDelayTarget), float(self.maxDelayTarget)
        share = (number - 1) / (steps - 1) if steps > 1 else 1.0
        if self.backoffFunction == "arithmetic":
            return low + (high - low) * share**2
        if self.backoffFunction == "geometric":
            return low * math.pow(high / low, share)
        if self.backoffFunction == "exponential":
            return min(high, low * float(2 ** min(number - 1, 32)))
        return low + (high - low) * share

    def to_json(self) -> str:
        """As the attribute EffectiveDeliveryPolicy shows it."""
        return json.dumps({"healthyRetryPolicy": asdict(self)})


WIRED: Final = RetryPolicy(minDelayTarget=1, maxDelayTarget=5, numRetries=700, numMaxDelayRetries=680)
"""The subscription that the sandbox starts with: more patient than SNS allows, so that a webhook that was away for most
of an hour still gets everything."""


def parse(policy: str) -> RetryPolicy:
    """The `healthyRetryPolicy` of a DeliveryPolicy, in a topic's form (`http.defaultHealthyRetryPolicy`) or a
    subscription's. A ValueError says what is wrong.
    """
    given: Any = json.loads(policy)
    if not isinstance(given, dict):
        raise ValueError("DeliveryPolicy is not a JSON object")  # noqa: TRY004 - a value, not a mistake in code
    chosen = given.get("healthyRetryPolicy") or given.get("http", {}).get("defaultHealthyRetryPolicy") or {}
    unknown = set(chosen) - set(RetryPolicy.__dataclass_fields__)
    if unknown:
        raise ValueError(f"DeliveryPolicy: unexpected {', '.join(sorted(unknown))}")
    parsed = RetryPolicy(**chosen)
    _require_sense(parsed)
    return parsed


def _require_sense(policy: RetryPolicy) -> None:
    counts = (policy.numRetries, policy.numMaxDelayRetries, policy.numNoDelayRetries, policy.numMinDelayRetries)
    if not all(isinstance(count, int) and 0 <= count <= _MAX_RETRIES for count in counts):
        raise ValueError("DeliveryPolicy: the numbers of retries are whole numbers from 0 to 100")
    if sum(counts[1:]) > policy.numRetries:
        raise ValueError("DeliveryPolicy: numRetries must be at least the sum of the retries of all phases")
    if not 1 <= policy.minDelayTarget <= policy.maxDelayTarget <= _MAX_TOTAL:
        raise ValueError("DeliveryPolicy: 1 <= minDelayTarget <= maxDelayTarget <= 3600")
    if policy.backoffFunction not in _BACKOFFS:
        raise ValueError(f"DeliveryPolicy: backoffFunction is one of {', '.join(_BACKOFFS)}")
