"""Waiting until endpoints have confirmed their subscriptions, and saying what is seen meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final

from gateway.aws.call_errors import AwsCallError
from gateway.aws.provisioning.apply import Awaited
from gateway.aws.session import Aws
from gateway.sns_endpoints import masked_endpoint

_EVERY: Final = 2.0
_SAY_EVERY: Final = 6.0


def wait_for(
    aws: Aws,
    awaited: Sequence[Awaited],
    *,
    seconds: float,
    say: Callable[[Sequence[Awaited]], None],
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> tuple[Awaited, ...]:
    """Those that are still pending when the time is over; none when all are confirmed.

    `say` is told every few seconds what is pending. AwsCallError when SNS cannot be asked.
    """
    deadline = clock() + seconds
    say_at = clock() + _SAY_EVERY
    pending = _pending(aws, awaited)
    while pending and clock() < deadline:
        sleep(min(_EVERY, max(0.0, deadline - clock())))
        pending = _pending(aws, pending)
        if pending and clock() >= say_at:
            say(pending)
            say_at = clock() + _SAY_EVERY
    return pending


def _pending(aws: Aws, awaited: Sequence[Awaited]) -> tuple[Awaited, ...]:
    return tuple(one for one in awaited if not _is_seen_confirmed(aws, one))


def _is_seen_confirmed(aws: Aws, awaited: Awaited) -> bool:
    """A call that came to nothing by the way is made again by the next look."""
    try:
        return is_confirmed(aws, awaited)
    except AwsCallError as error:
        if error.is_passing:
            return False
        raise


def is_confirmed(aws: Aws, awaited: Awaited) -> bool:
    """By its ARN, or, where SNS did not give one out, by the topic's list."""
    if awaited.arn.startswith("arn:"):
        try:
            answer = aws.call("sns", "GetSubscriptionAttributes", SubscriptionArn=awaited.arn)
        except AwsCallError as error:
            if error.is_missing:
                return False
            raise
        return str(answer.get("Attributes", {}).get("PendingConfirmation", "false")).lower() != "true"
    listed = aws.every("sns", "ListSubscriptionsByTopic", "Subscriptions", TopicArn=awaited.resource.parent)
    shown = masked_endpoint(awaited.resource.endpoint)
    own = [one for one in listed if masked_endpoint(str(one.get("Endpoint"))) == shown]
    return any(str(one.get("SubscriptionArn", "")).startswith("arn:") for one in own)
