"""SNS envelopes: read strictly, verified before anything in them is believed.

The certificate source and the clock are passed in. How SNS signs, and the string that it signs:
https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message.html
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, TypeAlias

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID

from gateway import strict_json
from gateway.sns_certificates import CertificateUnavailableError
from gateway.sns_topics import Topic, TopicsError, parse_topic

MAX_AGE = timedelta(hours=24)  # SNS tries for an hour; what was redriven from a dead-letter queue is older
MAX_AHEAD = timedelta(minutes=15)

_CERTIFICATE_PATH = r"/SimpleNotificationService-[0-9a-f]{32}\.pem"
_SIMULATED_CERTIFICATE_URL = re.compile(rf"https?://[^/?#@\s\\]+{_CERTIFICATE_PATH}")
_HASHES: Mapping[str, hashes.HashAlgorithm] = {
    "1": hashes.SHA1(),  # noqa: S303  what SNS's signature version 1 is, and still a topic's default
    "2": hashes.SHA256(),
}
_CONFIRMATION_MEMBERS = ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type")
# What is signed, in this order. Every member must be there but for Subject, which a notification may lack.
_SIGNED_MEMBERS = {
    "Notification": ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    "SubscriptionConfirmation": _CONFIRMATION_MEMBERS,
    "UnsubscribeConfirmation": _CONFIRMATION_MEMBERS,
}
_UNSIGNED_MEMBERS = ("Signature", "SignatureVersion", "SigningCertURL")
_PADDING = padding.PKCS1v15()
_OPTIONAL_MEMBERS = frozenset({"Subject"})
_MAX_MESSAGE_ID = 100


class SnsError(Exception):
    """A body is not accepted; the text is one sentence for whoever sent it.

    `topic` is the ARN that the body claims to come from; empty when it is no envelope, or names no topic at all.
    """

    topic: str = ""


class MalformedError(SnsError):
    """The body is no SNS envelope."""


class ForgedError(SnsError):
    """The envelope is not from a topic that is trusted here, or not signed by Amazon SNS."""


class TryLaterError(SnsError):
    """Whether the envelope is good cannot be said now: its certificate is not to be had, or our clock may be wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SnsMessage:
    """What every verified envelope says."""

    message_id: str
    topic: Topic
    sent_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Notification(SnsMessage):
    """Something was published to the topic."""

    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriptionConfirmation(SnsMessage):
    """Somebody asked SNS to send the topic here; the token agrees to it."""

    token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UnsubscribeConfirmation(SnsMessage):
    """The subscription was ended; the token would renew it."""

    token: str


AnyMessage: TypeAlias = Notification | SubscriptionConfirmation | UnsubscribeConfirmation


class Verifier:
    """Decides whether a body is a genuine message of a trusted topic.

    Checks that cost nothing come first, so that a stranger causes no network call: who does not know a trusted topic
    gets no further than its name. `trusted_topics` gives a set that `check_topics` has passed; `pinned_certificate` is
    the sandbox's, for simulated topics only.

    With `max_age=None` a message may be as old as it likes, for what reads a queue: one may be redriven after days.
    Then its certificate must have been valid when it was sent, and may have expired since.
    """

    def __init__(
        self,
        trusted_topics: Callable[[], AbstractSet[str]],
        certificates: Callable[[str], bytes],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        pinned_certificate: Callable[[], bytes] | None = None,
        max_age: timedelta | None = MAX_AGE,
    ) -> None:
        self._trusted_topics = trusted_topics
        self._certificates = certificates
        self._now = now
        self._pinned_certificate = pinned_certificate
        self._max_age = max_age

    def verify(self, body: bytes) -> AnyMessage:
        """The message in a body.

        MalformedError and ForgedError mean never, TryLaterError that the same body may be good later.
        """
        envelope = _load(body)
        try:
            return self._verify(envelope)
        except SnsError as error:
            error.topic = _claimed_topic(envelope)
            raise

    def _verify(self, envelope: dict[str, Any]) -> AnyMessage:
        origin = self._known_origin(envelope)
        _require_members(envelope)
        signature = _signature(envelope)
        certificate = self._certificate(origin, envelope["SigningCertURL"])
        _check_names(certificate, origin)
        _check_signature(certificate, signature, envelope)
        sent_at = _parse_time(envelope["Timestamp"])
        self._check_age(sent_at)
        self._check_validity(certificate, sent_at)
        return _read(envelope, origin.topic, sent_at)

    def _known_origin(self, envelope: Mapping[str, Any]) -> _Origin:
        arn = envelope.get("TopicArn")
        if not isinstance(arn, str) or arn not in self._trusted_topics():
            raise ForgedError("The TopicArn is not one of the topics that are trusted here (SESGATE_SNS_TOPIC_ARNS).")
        return _origin(arn)

    def _certificate(self, origin: _Origin, url: str) -> _Certificate:
        """The certificate that signs for the topic. The URL of a simulated one is never fetched."""
        if origin.is_simulated and self._pinned_certificate is None:
            raise ForgedError("Topics of the simulated AWS are not trusted here.")
        if not origin.certificate_url.fullmatch(url):
            raise ForgedError(
                "The SigningCertURL is not where Amazon SNS keeps the certificates of the topic's region."
            )
        try:
            pinned = self._pinned_certificate if origin.is_simulated else None
            return _load_certificate(self._certificates(url) if pinned is None else pinned())
        except CertificateUnavailableError as error:
            raise TryLaterError(f"The signing certificate is not to be had: {error}.") from error

    def _check_age(self, sent_at: datetime) -> None:
        age = self._now() - sent_at
        if age < -MAX_AHEAD:
            raise TryLaterError("The Timestamp is more than 15 minutes ahead of the clock here; is that clock right?")
        if self._max_age is not None and age > self._max_age:
            old = f"{self._max_age / timedelta(hours=1):g} hours"
            raise TryLaterError(f"The Timestamp is more than {old} behind the clock here; is that clock right?")

    def _check_validity(self, certificate: _Certificate, sent_at: datetime) -> None:
        """What it signed is genuine by now, so the clock here is as likely to be wrong as the certificate."""
        moment = sent_at if self._max_age is None else self._now()
        if not certificate.valid_from <= moment <= certificate.valid_until:
            raise TryLaterError(
                "The signing certificate is expired or not valid yet by the clock here; is that clock right?"
                if self._max_age is not None
                else "The signing certificate was not valid at the time that the message gives for itself."
            )


def _claimed_topic(envelope: Mapping[str, Any]) -> str:
    """Only what looks like a topic: the claim of a stranger is shown to people."""
    try:
        return parse_topic(str(envelope.get("TopicArn"))).arn
    except TopicsError:
        return ""


@dataclass(frozen=True, slots=True)
class _Origin:
    """What a topic fixes about its messages."""

    topic: Topic
    is_simulated: bool
    certificate_url: re.Pattern[str]
    common_names: frozenset[str]


@lru_cache(maxsize=64)
def _origin(arn: str) -> _Origin:
    """Of a trusted topic, of which there are few."""
    topic = parse_topic(arn)
    url = _SIMULATED_CERTIFICATE_URL if topic.is_simulated else _certificate_url(topic.host)
    return _Origin(topic, topic.is_simulated, url, topic.common_names)


def _certificate_url(host: str) -> re.Pattern[str]:
    """The one form of a certificate's URL: no other host, port, user, query or fragment fits."""
    return re.compile(rf"https://{re.escape(host)}{_CERTIFICATE_PATH}")


@dataclass(frozen=True, slots=True)
class _Certificate:
    """What is asked of a signing certificate for each message; `key` is None when it is no RSA key."""

    key: rsa.RSAPublicKey | None
    names: frozenset[str | bytes]
    valid_from: datetime
    valid_until: datetime


@lru_cache(maxsize=16)
def _load_certificate(pem: bytes) -> _Certificate:
    """The source has made sure that it is one."""
    certificate = x509.load_pem_x509_certificate(pem)
    key = certificate.public_key()
    return _Certificate(
        key if isinstance(key, rsa.RSAPublicKey) else None,
        frozenset(name.value for name in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)),
        certificate.not_valid_before_utc,
        certificate.not_valid_after_utc,
    )


def _load(body: bytes) -> dict[str, Any]:
    try:
        envelope = strict_json.loads(body.decode())
    except UnicodeDecodeError:
        raise MalformedError("The body is not UTF-8.") from None
    except strict_json.JsonError as error:
        raise MalformedError(f"The body is not read as an SNS envelope: {error}.") from None
    if not isinstance(envelope, dict):
        raise MalformedError("The body is not a JSON object.")
    return envelope


def _require_members(envelope: Mapping[str, Any]) -> None:
    """An exact Type, and every member that it has, as text.

    The signed string joins its parts by line feeds, so one string can be cut into members in more than one way. A line
    break in any member but Message would let a publisher of another topic re-cut a signed message of his into one of
    ours.
    """
    kind = envelope.get("Type")
    members = _SIGNED_MEMBERS.get(kind) if isinstance(kind, str) else None
    if members is None:
        raise MalformedError("The Type is none of Notification, SubscriptionConfirmation and UnsubscribeConfirmation.")
    for name in (*members, *_UNSIGNED_MEMBERS):
        value = envelope.get(name)
        if value is None and name in _OPTIONAL_MEMBERS:
            continue
        if not isinstance(value, str):
            raise MalformedError(f"The {name} is missing or is not a text.")
        _require_storable(name, value)
    if not 0 < len(envelope["MessageId"]) <= _MAX_MESSAGE_ID:
        raise MalformedError("The MessageId is empty or too long.")


def _require_storable(name: str, value: str) -> None:
    """NUL and half a surrogate pair are JSON, but no database takes them as text."""
    if name != "Message" and ("\n" in value or "\r" in value):
        raise MalformedError(f"The {name} has a line break.")
    if "\0" in value or not (value.isascii() or _is_text(value)):
        raise MalformedError(f"The {name} has a character that is no text.")


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _signature(envelope: Mapping[str, str]) -> bytes:
    if envelope["SignatureVersion"] not in _HASHES:
        raise ForgedError("The SignatureVersion is neither 1 nor 2.")
    try:
        return base64.b64decode(envelope["Signature"], validate=True)
    except (binascii.Error, ValueError):
        raise ForgedError("The Signature is not base64.") from None


def string_to_sign(envelope: Mapping[str, str]) -> bytes:
    """What SNS signs: name and value on a line each, the values exactly as they came out of the JSON."""
    members = _SIGNED_MEMBERS[envelope["Type"]]
    return "".join([f"{name}\n{envelope[name]}\n" for name in members if envelope.get(name) is not None]).encode()


def _check_names(certificate: _Certificate, origin: _Origin) -> None:
    if len(certificate.names) != 1 or not certificate.names <= origin.common_names:
        raise ForgedError("The signing certificate is not one of Amazon SNS for the topic's region.")


def _check_signature(certificate: _Certificate, signature: bytes, envelope: Mapping[str, str]) -> None:
    if certificate.key is None:
        raise ForgedError("The signing certificate has no RSA key.")
    try:
        certificate.key.verify(signature, string_to_sign(envelope), _PADDING, _HASHES[envelope["SignatureVersion"]])
    except InvalidSignature:
        raise ForgedError("The Signature does not fit the message.") from None


def _parse_time(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is not None:
            return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise MalformedError("The Timestamp is not a time with its offset.")


def _read(envelope: Mapping[str, str], topic: Topic, sent_at: datetime) -> AnyMessage:
    message_id, kind = envelope["MessageId"], envelope["Type"]
    if kind == "Notification":
        return Notification(message_id=message_id, topic=topic, sent_at=sent_at, message=envelope["Message"])
    confirmation = SubscriptionConfirmation if kind == "SubscriptionConfirmation" else UnsubscribeConfirmation
    return confirmation(message_id=message_id, topic=topic, sent_at=sent_at, token=envelope["Token"])
