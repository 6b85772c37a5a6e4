"""What the simulated AWS is told at start."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gateway.sandbox import names


@dataclass(frozen=True)
class SandboxConfig:
    """Where to listen, where to keep everything, and where the webhook is.

    `directory` is the sandbox's own (`<data directory>/sandbox`). A `webhook_url` of None starts without a
    subscription.
    """

    host: str
    port: int
    directory: Path
    webhook_url: str | None
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

    def identity_arn(self, name: str) -> str:
        return f"arn:aws:ses:{self.region}:{self.account_id}:identity/{name}"

    def queue_arn(self, name: str) -> str:
        return f"arn:aws:sqs:{self.region}:{self.account_id}:{name}"

    @property
    def topic_arn(self) -> str:
        return f"arn:aws:sns:{self.region}:{self.account_id}:{names.TOPIC_NAME}"
