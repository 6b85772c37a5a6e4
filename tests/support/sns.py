"""SNS envelopes for tests, really signed with a throw-away key and certificate.

Written apart from the gateway's verifier and from the sandbox on purpose: what all three agree on is what AWS documents
(https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message.html), not a mistake that they share.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID

TOPIC_ARN = "arn:aws:sns:us-east-1:123456789012:sesgate"

_SIGNED_MEMBERS = {
    "Notification": ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    "SubscriptionConfirmation": ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
    "UnsubscribeConfirmation": ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
}
_HASHES: dict[str, hashes.HashAlgorithm] = {"1": hashes.SHA1(), "2": hashes.SHA256()}


def string_to_sign(envelope: Mapping[str, Any]) -> bytes:
    """The canonical string of AWS: `Subject` belongs to it only when the envelope has one."""
    members = _SIGNED_MEMBERS[envelope["Type"]]
    return "".join(f"{name}\n{envelope[name]}\n" for name in members if envelope.get(name) is not None).encode()


def sns_time(moment: datetime) -> str:
    """`2026-11-21T22:18:57.123Z`, the way SNS writes time."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


@dataclass(frozen=True)
class Signer:
    """A signing key of our own in the place of Amazon's.

    `notification`, `subscription_confirmation` and `unsubscribe_confirmation` give the body of the POST as JSON bytes.
    A keyword of the same name as a member replaces it *before* signing (`Timestamp=…`); to forge, change what `sign`
    returned and dump it again.
    """

    key: rsa.RSAPrivateKey
    certificate: x509.Certificate
    region: str = "us-east-1"
    topic_arn: str = TOPIC_ARN
    signing_cert_url: str = field(default="")

    @classmethod
    def make(
        cls,
        *,
        common_name: str = "sns.amazonaws.com",
        not_before: datetime | None = None,
        not_after: datetime | None = None,
        region: str = "us-east-1",
        topic_arn: str = TOPIC_ARN,
        signing_cert_url: str | None = None,
    ) -> Signer:
        """A new key and a self-signed certificate, valid from yesterday for a year unless told otherwise."""
        now = datetime.now(UTC)
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(not_before or now - timedelta(days=1))
            .not_valid_after(not_after or now + timedelta(days=365))
            .sign(key, hashes.SHA256())
        )
        digest = hashlib.sha256(certificate.public_bytes(serialization.Encoding.DER)).hexdigest()[:32]
        url = f"https://sns.{region}.amazonaws.com/SimpleNotificationService-{digest}.pem"
        return cls(key, certificate, region, topic_arn, signing_cert_url or url)

    @property
    def certificate_pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def sign(self, envelope: Mapping[str, Any], version: str = "2") -> dict[str, Any]:
        """The envelope with SignatureVersion, Signature and SigningCertURL (unless it names one itself)."""
        signature = self.key.sign(string_to_sign(envelope), padding.PKCS1v15(), _HASHES[version])
        return {
            "SigningCertURL": self.signing_cert_url,
            **envelope,
            "SignatureVersion": version,
            "Signature": base64.b64encode(signature).decode(),
        }

    def notification(
        self,
        message: str | Mapping[str, Any],
        *,
        subject: str | None = "Amazon SES Email Event Notification",
        version: str = "2",
        message_attributes: Mapping[str, Any] | None = None,
        **members: str,
    ) -> bytes:
        """A Notification. A mapping as message is dumped as SES does it: JSON and one line feed."""
        text = message if isinstance(message, str) else json.dumps(message) + "\n"
        envelope: dict[str, Any] = self._common("Notification", text)
        envelope["UnsubscribeURL"] = f"https://sns.{self.region}.amazonaws.com/?Action=Unsubscribe&SubscriptionArn=x"
        if subject is not None:
            envelope["Subject"] = subject
        if message_attributes is not None:
            envelope["MessageAttributes"] = message_attributes  # Not part of what is signed.
        return json.dumps(self.sign({**envelope, **members}, version)).encode()

    def subscription_confirmation(self, *, version: str = "2", **members: str) -> bytes:
        return self._confirmation("SubscriptionConfirmation", version, members)

    def unsubscribe_confirmation(self, *, version: str = "2", **members: str) -> bytes:
        return self._confirmation("UnsubscribeConfirmation", version, members)

    def headers(self, body: bytes) -> dict[str, str]:
        """The HTTP headers that SNS sends with this body."""
        envelope = json.loads(body)
        headers = {
            "Content-Type": "text/plain; charset=UTF-8",
            "User-Agent": "Amazon Simple Notification Service Agent",
            "x-amz-sns-message-type": envelope["Type"],
            "x-amz-sns-message-id": envelope["MessageId"],
            "x-amz-sns-topic-arn": envelope["TopicArn"],
        }
        if envelope["Type"] != "SubscriptionConfirmation":
            headers["x-amz-sns-subscription-arn"] = f"{envelope['TopicArn']}:2bcfbf39-05c3-41de-beaa-fcfcc21c8f55"
        return headers

    def _confirmation(self, kind: str, version: str, members: Mapping[str, str]) -> bytes:
        envelope = self._common(kind, "You have chosen to subscribe to the topic.")
        envelope["Token"] = secrets.token_hex(64)
        envelope["TopicArn"] = members.get("TopicArn", self.topic_arn)
        envelope["SubscribeURL"] = (
            f"https://sns.{self.region}.amazonaws.com/?Action=ConfirmSubscription"
            f"&TopicArn={envelope['TopicArn']}&Token={members.get('Token', envelope['Token'])}"
        )
        return json.dumps(self.sign({**envelope, **members}, version)).encode()

    def _common(self, kind: str, message: str) -> dict[str, Any]:
        return {
            "Type": kind,
            "MessageId": str(uuid.uuid4()),
            "TopicArn": self.topic_arn,
            "Message": message,
            "Timestamp": sns_time(datetime.now(UTC)),
        }
