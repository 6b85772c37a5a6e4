"""What the simulated AWS is told at start."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gateway.sandbox import names


@dataclass(frozen=True)
class SandboxConfig:
    """Where to listen, where to keep everything, and where the gateway takes its feedback from.

    `directory` is the sandbox's own (`<data directory>/sandbox`). A `webhook_url` of None starts without a
    subscription of the webhook; only a `feedback_queue_url` that ends in the name of the wired queue subscribes that.
    """

    host: str
    port: int
    directory: Path
    webhook_url: str | None
    feedback_queue_url: str | None = None
    account_id: str = names.ACCOUNT_ID
    region: str = names.REGION

    @property
    def authority(self) -> str:
        """`host:port` as it stands in a URL: an IPv6 address goes in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def endpoint(self) -> str:
        return f"http://{self.authority}"

    def configuration_set_arn(self, name: str) -> str:
        return f"arn:aws:ses:{self.region}:{self.account_id}:configuration-set/{name}"

    def sns_arn(self, name: str) -> str:
        return f"arn:aws:sns:{self.region}:{self.account_id}:{name}"

    def identity_arn(self, name: str) -> str:
        return f"arn:aws:ses:{self.region}:{self.account_id}:identity/{name}"

    def queue_arn(self, name: str) -> str:
        return f"arn:aws:sqs:{self.region}:{self.account_id}:{name}"

    @property
    def feeds_queue(self) -> bool:
        """Whether the gateway reads the feedback queue that the sandbox starts with."""
        return (self.feedback_queue_url or "").rstrip("/").endswith(f"/{names.FEEDBACK_QUEUE}")

    @property
    def topic_arn(self) -> str:
        return self.sns_arn(names.TOPIC_NAME)
