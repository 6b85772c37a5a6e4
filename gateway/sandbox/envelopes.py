"""The HTTP requests of the simulated SNS: signed envelopes, or the bare message where delivery is raw.

https://docs.aws.amazon.com/sns/latest/dg/sns-message-and-json-formats.html
"""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

from gateway.sandbox import times
from gateway.sandbox.outbox import NOTIFICATION, SUBSCRIPTION_CONFIRMATION, Parcel
from gateway.sandbox.signing import SigningIdentity

_AGENT: Final = "Amazon Simple Notification Service Agent"


@dataclass(frozen=True)
class Request:
    headers: dict[str, str]
    body: bytes


class Stationery:
    """Writes and signs. `endpoint` is where the certificate and the links of a message lead: the sandbox itself."""

    def __init__(self, identity: SigningIdentity, endpoint: str) -> None:
        self._identity = identity
        self._endpoint = endpoint

    def request(self, parcel: Parcel, *, raw: bool) -> Request:
        headers = _headers(parcel)
        if raw and parcel.type == NOTIFICATION:
            return Request(headers | {"x-amz-sns-rawdelivery": "true"}, parcel.message.encode())
        envelope = self._notification(parcel) if parcel.type == NOTIFICATION else self._confirmation(parcel)
        headers["x-amz-sns-message-id"] = envelope["MessageId"]
        return Request(headers, json.dumps(envelope, indent=2, ensure_ascii=False).encode())

    def _notification(self, parcel: Parcel) -> dict[str, Any]:
        envelope = {"Type": parcel.type, "MessageId": parcel.sns_message_id, "TopicArn": parcel.topic_arn}
        if parcel.subject is not None:
            envelope["Subject"] = parcel.subject
        envelope |= {"Message": parcel.message, "Timestamp": parcel.published_at}
        signed: dict[str, Any] = self._signed(envelope, parcel.signature_version)
        signed["UnsubscribeURL"] = self._link(Action="Unsubscribe", SubscriptionArn=parcel.subscription_arn)
        if parcel.attributes:
            signed["MessageAttributes"] = parcel.attributes
        return signed

    def _confirmation(self, parcel: Parcel) -> dict[str, Any]:
        """Each attempt is a message of its own: a receiver that drops what it knows must still see the repetition."""
        token = parcel.token or ""
        envelope = {
            "Type": parcel.type,
            "MessageId": str(uuid.uuid4()),
            "Token": token,
            "TopicArn": parcel.topic_arn,
            "Message": parcel.message,
            "SubscribeURL": self._link(Action="ConfirmSubscription", TopicArn=parcel.topic_arn, Token=token),
            "Timestamp": times.iso_millis(times.now()),
        }
        return dict(self._signed(envelope, parcel.signature_version))

    def _signed(self, envelope: dict[str, str], version: str) -> dict[str, str]:
        return envelope | {
            "SignatureVersion": version,
            "Signature": self._identity.signature(envelope, version),
            "SigningCertURL": f"{self._endpoint}{self._identity.certificate_path}",
        }

    def _link(self, **parameters: str) -> str:
        return f"{self._endpoint}/?{urlencode(parameters)}"


def _headers(parcel: Parcel) -> dict[str, str]:
    headers = {
        "Content-Type": "text/plain; charset=UTF-8",
        "User-Agent": _AGENT,
        "x-amz-sns-message-type": parcel.type,
        "x-amz-sns-message-id": parcel.sns_message_id,
        "x-amz-sns-topic-arn": parcel.topic_arn,
    }
    if parcel.type != SUBSCRIPTION_CONFIRMATION:
        headers["x-amz-sns-subscription-arn"] = parcel.subscription_arn
    return headers
