"""What the things that provision makes are called, and their ARNs before they exist."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

TAG: Final = "sesgate:provisioned"
"""On everything that can carry one; its value is the scope. Only what has it is ever removed."""
EVENT_DESTINATION: Final = "sesgate"
CLASSIC_KINDS: Final = ("Bounce", "Complaint", "Delivery")
"""The notification types of an identity, as SES v1 spells them."""
_CLASSIC_TOPICS: Final = {"Bounce": "ses-bounces-topic", "Complaint": "ses-complaints-topic"} | {
    "Delivery": "ses-deliveries-topic"
}


@dataclass(frozen=True, slots=True)
class Place:
    """The account and region that are wired."""

    account: str
    region: str
    partition: str = "aws"

    def arn(self, service: str, resource: str) -> str:
        return f"arn:{self.partition}:{service}:{self.region}:{self.account}:{resource}"


@dataclass(frozen=True, slots=True)
class Names:
    """Every name of one scope, in both modes."""

    scope: str
    environment: str

    @property
    def topic(self) -> str:
        return f"{self.scope}-feedback"

    @property
    def queue(self) -> str:
        return f"{self.scope}-feedback"

    @property
    def dead_queue(self) -> str:
        return f"{self.scope}-feedback-dead"

    @property
    def configuration_set(self) -> str:
        return self.scope

    def classic_topic(self, kind: str) -> str:
        """The topic of one notification type. The environment alone is in its name."""
        return f"{_CLASSIC_TOPICS[kind]}-{self.environment}"

    @property
    def topics(self) -> tuple[str, ...]:
        """Of both modes."""
        return (self.topic, *map(self.classic_topic, CLASSIC_KINDS))
