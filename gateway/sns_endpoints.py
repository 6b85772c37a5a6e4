"""Endpoints of SNS subscriptions, as SNS shows them. Pure."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit, urlunsplit

_MASK: Final = "****"


def masked_endpoint(endpoint: str) -> str:
    """An endpoint with the password in it replaced, as SNS itself shows it; ValueError when it is no URL at all.

    https://docs.aws.amazon.com/sns/latest/dg/sns-subscribe-https-s-endpoints-to-topic.html
    """
    parts = urlsplit(endpoint)
    if "@" not in parts.netloc:
        return endpoint
    credentials, _, host = parts.netloc.rpartition("@")
    user, colon, _ = credentials.partition(":")
    return urlunsplit(parts._replace(netloc=f"{user}{colon}{_MASK if colon else ''}@{host}"))
