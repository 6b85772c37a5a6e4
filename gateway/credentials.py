"""Who may send: what a credential is, what it allows, and how its secrets are made and compared. Pure."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets as random_source
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import Literal, TypedDict

from gateway.addresses import AddressError, address_key, parse_mailbox
from gateway.envelope import LOCAL_CREDENTIAL

Network = IPv4Network | IPv6Network

MAX_LIVE_SECRETS = 2
MAX_TAGS = 49  # SES takes 50 a message, and one is ours
ATTEMPT_TAG = "sesgate-attempt"

_SECRET_PREFIX = "sg_"  # noqa: S105  tells a scanner for leaked secrets what it has found; it is no secret
_SECRET_BYTES = 32
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_TAG = re.compile(r"[A-Za-z0-9_-]{1,256}")  # https://docs.aws.amazon.com/ses/latest/APIReference-V2/API_MessageTag.html
_CONFIGURATION_SET = re.compile(r"[A-Za-z0-9_-]{1,64}")
_MAX_APPLICATION = 100
_LARGEST = 2**31 - 1
_MISREAD = frozenset("@<>()[],;:\\")  # in a local part
_MAPPED = ip_network("::ffff:0:0/96")


class CredentialError(ValueError):
    """What a credential was to be given is malformed; the text is one sentence that names it and the fix."""


@dataclass(frozen=True, slots=True)
class Secret:
    """The digest of a secret that we made. `expires_at` is set while it is being replaced by another one."""

    id: int
    digest: bytes
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None

    def is_live(self, now: datetime) -> bool:
        return self.expires_at is None or now < self.expires_at


@dataclass(frozen=True, slots=True)
class Caps:
    """How many recipients a credential may be accepted for in a minute and in 24 hours; None for any number."""

    per_minute: int | None
    per_day: int | None

    @property
    def largest_message(self) -> int | None:
        """The recipients that one message can have at all; one with more would be over a cap for ever."""
        return min((cap for cap in (self.per_minute, self.per_day) if cap is not None), default=None)


class Terms(TypedDict, total=False):
    """What an operator says about a credential; what is left out keeps its value. See `Credential`."""

    application: str
    networks: Sequence[Network]
    senders: Sequence[str]
    max_message_bytes: int | None
    per_minute: int | None
    per_day: int | None
    configuration_set: str | None
    tags: Sequence[tuple[str, str]]
    suppressed_recipients: Literal["reject", "drop"] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """One application's permission to send. `name` is its SMTP user name.

    `senders` names whose mail it may send, by envelope and header: `app@x.org`, `x.org` for every address of that
    domain, `.x.org` for the domain and all below it; none means anybody's. None elsewhere means that the setting of
    the installation counts, or that there is no limit.
    """

    name: str
    application: str
    enabled: bool = True
    secrets: tuple[Secret, ...] = ()
    networks: tuple[Network, ...] = ()
    senders: tuple[str, ...] = ()
    max_message_bytes: int | None = None
    per_minute: int | None = None
    per_day: int | None = None
    configuration_set: str | None = None
    tags: tuple[tuple[str, str], ...] = ()
    suppressed_recipients: Literal["reject", "drop"] | None = None

    @property
    def caps(self) -> Caps | None:
        """None when nothing has to be counted."""
        if self.per_minute is None and self.per_day is None:
            return None
        return Caps(self.per_minute, self.per_day)

    def allows_sender(self, address: str) -> bool:
        """Whether mail may come from this address. What is none may not: the null reverse-path is not asked."""
        if not self.senders:
            return True
        key = address_key(address)
        domain = key.rpartition("@")[2]
        return _is_one_address(address, domain) and any(_covers(rule, key, domain) for rule in self.senders)

    def matching(self, password: str, now: datetime) -> Secret | None:
        """The live secret that the password is; None when it is none of them, or the credential is disabled.

        All are compared, each in constant time, so that the time tells nothing about any.
        """
        given = digest_of(password)
        found = None
        for secret in self.secrets:
            is_it = hmac.compare_digest(secret.digest, given)
            if is_it and self.enabled and secret.is_live(now):
                found = secret
        return found

    def live_secrets(self, now: datetime) -> tuple[Secret, ...]:
        return tuple(secret for secret in self.secrets if secret.is_live(now))


def by_network(credentials: Iterable[Credential], address: IPv4Address | IPv6Address) -> Credential | None:
    """Whose machine an address is: the enabled credential with the narrowest network around it.

    Of two that have the same one (a setting may repeat what a credential has) the last by name wins, never `local`.
    """
    address = getattr(address, "ipv4_mapped", None) or address
    found = [
        (network.prefixlen, credential.name != LOCAL_CREDENTIAL, credential.name, credential)
        for credential in credentials
        if credential.enabled
        for network in credential.networks
        if address in network
    ]
    return max(found, key=lambda candidate: candidate[:3])[3] if found else None


def make_secret() -> str:
    """256 bits from the operating system's source. A digest of such a secret needs neither salt nor stretching."""
    return _SECRET_PREFIX + random_source.token_urlsafe(_SECRET_BYTES)


def digest_of(secret: str) -> bytes:
    """SHA-256 of a secret, or of anything that a client sent as one."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


# What may be typed


def check_name(name: str) -> None:
    """CredentialError unless it can be typed as an SMTP user name everywhere."""
    if not _NAME.fullmatch(name):
        raise CredentialError(
            f"{name!r} is no name of a credential; it has letters, digits, '.', '_' and '-', and at most 64 of them."
        )


def checked(terms: Terms) -> Terms:
    """The terms in the form in which they are kept and compared. CredentialError when one is malformed."""
    kept = terms.copy()
    if "application" in terms:
        kept["application"] = _application(terms["application"])
    if "networks" in terms:
        kept["networks"] = tuple(dict.fromkeys(map(_network, terms["networks"])))
    if "senders" in terms:
        kept["senders"] = tuple(dict.fromkeys(map(sender_rule, terms["senders"])))
    if "tags" in terms:
        kept["tags"] = _tags(terms["tags"])
    if (chosen := terms.get("configuration_set")) is not None and not _CONFIGURATION_SET.fullmatch(chosen):
        raise CredentialError(
            f"{chosen!r} is no name of a configuration set; it has letters, digits, '-' and '_', at most 64."
        )
    numbers = {
        "a size": terms.get("max_message_bytes"),
        "a cap per minute": terms.get("per_minute"),
        "a cap per day": terms.get("per_day"),
    }
    for what, number in numbers.items():
        if number is not None and not 0 < number <= _LARGEST:
            raise CredentialError(f"{number} is no use as {what}; give a number from 1 to {_LARGEST}.")
    return kept


def sender_rule(text: str) -> str:
    """`app@x.org`, `x.org` or `.x.org` in the form in which it is compared. CredentialError when it is none of them."""
    local_part, at, domain = text.strip().rpartition("@")
    dot = "." if domain.startswith(".") and not at else ""
    # A domain is checked as part of an address; in its ASCII form, for it may be typed as people read it.
    key = address_key(f"{local_part if at else 'x'}@{domain.removeprefix(dot)}")
    try:
        parse_mailbox(key if not at else f"{local_part}@{key.rpartition('@')[2]}")
    except AddressError as error:
        raise CredentialError(
            f"{text!r} is no sender: {error}. Write app@example.com for one address, example.com for a domain,"
            " or .example.com for a domain and all below it."
        ) from None
    return key if at else dot + key.rpartition("@")[2]


def network(text: str) -> Network:
    """Read `10.1.2.0/24` or one address. CredentialError when it is neither."""
    try:
        return ip_network(text.strip())
    except ValueError as error:
        raise CredentialError(
            f"{text!r} is no network ({error}); write an address, or one with its prefix such as 10.1.2.0/24."
        ) from None


def tag(text: str) -> tuple[str, str]:
    """Read `name=value`. CredentialError when there is no `=`."""
    name, equals, value = text.partition("=")
    if not equals:
        raise CredentialError(f"{text!r} is no tag; write name=value.")
    return name, value


def _network(found: Network) -> Network:
    if not found.prefixlen:
        raise CredentialError(f"{found} is the whole Internet, which would make this an open relay.")
    if isinstance(found, IPv6Network) and found.overlaps(_MAPPED):
        raise CredentialError(f"{found} has IPv4 addresses in it; write those as an IPv4 network.")
    return found


def _application(text: str) -> str:
    if not (text.strip() and text.isprintable() and len(text) <= _MAX_APPLICATION):
        raise CredentialError(f"The application's name needs 1 to {_MAX_APPLICATION} printable characters.")
    return text.strip()


def _tags(tags: Sequence[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    for name, value in tags:
        if not (_TAG.fullmatch(name) and _TAG.fullmatch(value)):
            raise CredentialError(
                f"The tag {name}={value} cannot be sent to SES; name and value have letters, digits, '-' and '_',"
                " and 1 to 256 of them."
            )
        if name == ATTEMPT_TAG:
            raise CredentialError(f"The tag {ATTEMPT_TAG} is the gateway's own; choose another name.")
    if len({name for name, _ in tags}) < len(tags):
        raise CredentialError("A tag can be given only once.")
    if len(tags) > MAX_TAGS:
        raise CredentialError(f"{len(tags)} tags are too many; SES has room for {MAX_TAGS} beside the gateway's own.")
    return tuple(tags)


def _is_one_address(address: str, domain: str) -> bool:
    """Whether nobody can take a part of the text for another address; `domain` is its domain in its ASCII form.

    A quoted local part may hold an address with all its brackets, and an encoded word is one to those who decode it.
    """
    local_part = address.strip().rpartition("@")[0]
    try:
        parse_mailbox(f"{local_part}@{domain}")
    except AddressError:
        return False
    return "=?" not in local_part and not _MISREAD & set(local_part)


def _covers(rule: str, key: str, domain: str) -> bool:
    if "@" in rule:
        return key == rule
    if rule.startswith("."):
        return domain == rule[1:] or domain.endswith(rule)
    return domain == rule


# Counting


@dataclass(frozen=True, slots=True)
class Period:
    """A sliding length of time over which recipients are counted, in steps.

    A step counts until all of it is past: never more than the cap goes through in any `length`, and what was used
    comes back at most one `step` late.
    """

    name: str
    length: timedelta
    step: timedelta


MINUTE = Period("minute", timedelta(minutes=1), timedelta(seconds=5))
DAY = Period("day", timedelta(hours=24), timedelta(minutes=15))
PERIODS = (MINUTE, DAY)


def free_at(used: Sequence[tuple[datetime, int]], wanted: int, cap: int, period: Period) -> datetime | None:
    """When there is room for `wanted` more, given what was used since when, the oldest first. None means never."""
    if wanted > cap:
        return None
    total = sum(count for _, count in used)
    for begun_at, count in used:
        total -= count
        if total + wanted <= cap:
            return begun_at + period.step + period.length
    return None
