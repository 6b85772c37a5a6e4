"""The SES account: how much and how fast it may send."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError


class AccountUnknownError(Exception):
    """The account could not be asked; the text says why."""


@dataclass(frozen=True, slots=True)
class Account:
    """What `GetAccount` says. Rates are recipients a second, quotas recipients in 24 hours (-1: unlimited)."""

    max_send_rate: float
    max_24_hour_send: float
    sent_last_24_hours: float
    sending_enabled: bool
    production_access: bool
    enforcement_status: str

    @property
    def has_capacity(self) -> bool:
        """Whether the quota of 24 hours has room for another recipient. It rolls: room comes back bit by bit."""
        return self.max_24_hour_send < 0 or self.sent_last_24_hours < self.max_24_hour_send

    def as_fact(self) -> dict[str, Any]:
        """As it stands in the control store."""
        return asdict(self)


def read_account() -> Account:
    """Ask SES (one request a second is allowed). AccountUnknownError when it cannot be asked or does not tell."""
    config = Config(connect_timeout=3, read_timeout=5, retries={"mode": "standard", "total_max_attempts": 1})
    try:
        client = boto3.session.Session().client("sesv2", config=config)
        response = client.get_account()
    except (BotoCoreError, ClientError, ValueError) as error:  # ValueError: an endpoint that is no URL
        raise AccountUnknownError(str(error)) from error
    return account_of(response)


def account_of(response: Mapping[str, Any]) -> Account:
    """What `GetAccount` answered."""
    quota = response.get("SendQuota", {})
    return Account(
        max_send_rate=float(quota.get("MaxSendRate", 1.0)),
        max_24_hour_send=float(quota.get("Max24HourSend", -1.0)),
        sent_last_24_hours=float(quota.get("SentLast24Hours", 0.0)),
        sending_enabled=bool(response.get("SendingEnabled", True)),
        production_access=bool(response.get("ProductionAccessEnabled", False)),
        enforcement_status=str(response.get("EnforcementStatus", "")),
    )
