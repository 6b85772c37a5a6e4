"""How the values of settings are written: durations, sizes, addresses, listeners, and what each must be to be taken.

Every parser raises ValueError with words that fit behind the name of the setting.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Annotated, Any, Literal, get_args
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field

NEVER = "never"

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_DURATION_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
_LONGEST_DURATION = timedelta(days=36_500)
_SIZE = re.compile(r"(\d+)\s*(B|KiB|MiB|GiB)?")
_SIZE_UNITS = {None: 1, "B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
_TOPIC_ARN = re.compile(r"arn:aws[a-z-]*:sns:[a-z0-9-]+:\d{12}:[A-Za-z0-9_-]{1,256}")
_CONFIGURATION_SET = re.compile(r"[A-Za-z0-9_-]{1,64}")
_QUEUE_NAME = re.compile(r"[A-Za-z0-9_-]{1,80}")
# sqs.eu-west-1.amazonaws.com, vpce-1-x.sqs.eu-west-1.vpce.amazonaws.com, sqs.eu-west-1.api.aws, and two older forms.
_SQS_HOST = re.compile(
    r"(?:(?:[a-z0-9-]+\.)?sqs(?:-fips)?\.(?P<region>[a-z0-9-]+)|(?P<legacy>[a-z0-9-]+)\.queue|queue)"
    r"(?:\.vpce)?\.(?:amazonaws\.com(?:\.cn)?|amazonaws\.eu|api\.aws|c2s\.ic\.gov|sc2s\.sgov\.gov"
    r"|csp\.hci\.ic\.gov|cloud\.adc-e\.uk)"
)
_LOCAL_PART = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*"
_DOMAIN = r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)*[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_ADDRESS = re.compile(rf"(?=.{{3,254}}\Z){_LOCAL_PART}@{_DOMAIN}")
_RECIPIENT_RULE = re.compile(rf"(?:{_LOCAL_PART}@|\.)?{_DOMAIN}")


@dataclass(frozen=True, slots=True)
class HostPort:
    """A TCP address to listen on; `host` is a name or an IP address without brackets."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        if self.host == "localhost":
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def is_wildcard(self) -> bool:
        try:
            return ip_address(self.host).is_unspecified
        except ValueError:
            return False


@dataclass(frozen=True, slots=True)
class QueueUrl:
    """The URL of an SQS queue, as `aws sqs get-queue-url` prints it."""

    url: str

    def __str__(self) -> str:
        return self.url

    @property
    def origin(self) -> str:
        """Scheme, host and port."""
        return "://".join(urlsplit(self.url)[:2])

    @property
    def is_at_aws(self) -> bool:
        return self._aws_host is not None

    @property
    def is_private(self) -> bool:
        """Whether it is reached through an interface endpoint of a VPC."""
        return self.is_at_aws and ".vpce." in self.origin

    @property
    def region(self) -> str | None:
        """The region of a queue at AWS; None elsewhere, where a host says nothing about it."""
        if self._aws_host is None:
            return None
        return self._aws_host["region"] or self._aws_host["legacy"] or "us-east-1"  # queue.amazonaws.com

    @property
    def _aws_host(self) -> re.Match[str] | None:
        return _SQS_HOST.fullmatch(urlsplit(self.url).hostname or "")


Profile = Literal["lan", "modern", "antique"]
TlsVersion = Literal["1.0", "1.2", "1.3"]


@dataclass(frozen=True, slots=True)
class Listener:
    """Where the SMTP front listens, and how strict it is there.

    `modern` wants TLS and AUTH and refuses what is not quite SMTP; `lan` repairs bare LF; `antique` also takes TLS 1.0,
    commands that are spelled loosely and lines that are too long. `floor` is the oldest TLS of a listener that says it.
    """

    address: HostPort
    profile: Profile = "lan"
    implicit_tls: bool = False
    floor: TlsVersion | None = None

    def __str__(self) -> str:
        """As it is written in SESGATE_LISTENERS."""
        words = (str(self.address), self.profile, *(("tls",) if self.implicit_tls else ()))
        return " ".join((*words, *((f"min-tls={self.floor}",) if self.floor else ())))

    @property
    def min_tls(self) -> TlsVersion:
        """The oldest version of TLS that is spoken here."""
        return self.floor or ("1.0" if self.profile == "antique" else "1.2")

    @property
    def requires_tls(self) -> bool:
        """Whether mail is taken under TLS only."""
        return self.profile == "modern"

    @property
    def requires_auth(self) -> bool:
        """Whether a client must say who it is, wherever it comes from."""
        return self.profile == "modern"


def parse_duration(text: str) -> timedelta:
    """Read `500ms`, `30s`, `10m`, `72h` or `4d`; ValueError otherwise."""
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no duration; write 30s, 10m, 72h or 4d")
    try:
        return timedelta(seconds=float(match[1]) * _DURATION_UNITS[match[2]])
    except OverflowError:
        raise ValueError(f"{text!r} is longer than time can be counted") from None


def parse_lasting(text: str) -> timedelta | None:
    """Read a duration, or `never` for one without an end; ValueError otherwise."""
    if text.strip().casefold() == NEVER:
        return None
    try:
        return parse_duration(text)
    except ValueError as error:
        raise ValueError(f"{error}, or {NEVER}") from None


def parse_size(text: str) -> int:
    """Read a number of octets, or one with KiB, MiB or GiB behind it; ValueError otherwise."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no size; write a number of bytes, or 28MiB")
    return int(match[1]) * _SIZE_UNITS[match[2]]


def parse_share(text: str) -> float:
    """Read a part of one, `0.04` or `4%`; ValueError otherwise."""
    number = text.strip()
    try:
        share = float(number.removesuffix("%")) / (100 if number.endswith("%") else 1)
    except ValueError:
        share = math.nan
    if not 0 < share <= 1:
        raise ValueError(f"{text!r} is no part of all; write 0.04 or 4% (1 or 100% is never exceeded)")
    return share


def parse_host_port(text: str) -> HostPort:
    """Read `127.0.0.1:2525` or `[::1]:2525`; ValueError otherwise."""
    host, colon, port = text.strip().rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not (host and colon and port.isascii() and port.isdigit() and 0 < int(port) < 65536):  # noqa: PLR2004  the largest port
        raise ValueError(f"{text!r} is no address to listen on; write host:port, such as 127.0.0.1:2525")
    return HostPort(host, int(port))


def parse_queue_url(text: str) -> QueueUrl:
    """Read `https://sqs.eu-west-1.amazonaws.com/123456789012/name`; ValueError otherwise."""
    url = text.strip()
    try:
        parts = urlsplit(url)
        host = parts.hostname if parts.port != 0 else None
    except ValueError:  # a port that is no number, a bracket too few
        parts, host = urlsplit(""), None
    name = parts.path.rpartition("/")[2]
    if name.endswith(".fifo"):
        raise ValueError(
            f"{url!r} is a FIFO queue, which one message that is refused would block; use a standard queue"
        )
    is_plain = parts.scheme in {"http", "https"} and "@" not in parts.netloc and not (parts.query or parts.fragment)
    if not (host and is_plain and url.isprintable() and _QUEUE_NAME.fullmatch(name)):
        raise ValueError(
            f"{url!r} is no URL of an SQS queue; it looks like https://sqs.eu-west-1.amazonaws.com/123456789012/name"
        )
    return QueueUrl(url)


def parse_listeners(text: str) -> tuple[Listener, ...]:
    """Read `127.0.0.1:2525, 0.0.0.0:465 modern tls, 0.0.0.0:2526 antique min-tls=1.2`; ValueError otherwise."""
    listeners = tuple(_listener(part.split()) for part in text.split(",") if part.strip())
    if not listeners:
        raise ValueError("at least one listener is needed, such as 127.0.0.1:2525")
    return listeners


def _listener(words: list[str]) -> Listener:
    address, *rest = words
    profile: Any = rest.pop(0) if rest and rest[0] in get_args(Profile) else "lan"
    floor: Any = None
    for word in rest:
        name, _, value = word.partition("=")
        if name == "min-tls":
            floor = _floor(value, profile)
        elif word != "tls":
            raise ValueError(
                f"{word!r} is no listener profile (there are {spoken(get_args(Profile))}) and no option"
                " (tls, min-tls=1.3) of one"
            )
    return Listener(parse_host_port(address), profile, "tls" in rest, floor)


def _floor(version: str, profile: str) -> str:
    possible = get_args(TlsVersion) if profile == "antique" else ("1.2", "1.3")
    if version not in possible:
        raise ValueError(f"min-tls={version} is not possible on a {profile} listener; there are {spoken(possible)}")
    return version


def spoken(words: Sequence[str]) -> str:
    """`a`, `a and b`, or `a, b and c`."""
    return " and ".join((*((", ".join(words[:-1]),) if words[1:] else ()), *words[-1:]))


def _comma_list(value: object) -> object:
    return tuple(filter(None, (part.strip() for part in value.split(",")))) if isinstance(value, str) else value


def _networks(value: object) -> object:
    if not isinstance(value, str):
        return value
    parts = _comma_list(value)
    assert isinstance(parts, tuple)  # noqa: S101  tells mypy what the line above returns for text
    return tuple(ip_network(part) for part in parts)


def _known_topic(value: str) -> str:
    if not _TOPIC_ARN.fullmatch(value):
        raise ValueError(f"{value!r} is no ARN of an SNS topic; it looks like arn:aws:sns:eu-west-1:123456789012:name")
    return value


def _configuration_set(value: str | None) -> str | None:
    if value is not None and not _CONFIGURATION_SET.fullmatch(value):
        raise ValueError(f"{value!r} is no name of a configuration set (letters, digits, - and _, at most 64)")
    return value


def _address(value: str | None) -> str | None:
    if value is not None and not _ADDRESS.fullmatch(value):
        raise ValueError(f"{value!r} is no address; write it bare and in ASCII, such as app@example.com")
    return value


def _recipient_rule(value: str) -> str:
    if not _RECIPIENT_RULE.fullmatch(value):
        raise ValueError(
            f"{value!r} is neither an address nor a domain; write qa@example.com, example.com, or .example.com for"
            " the domain and all below it"
        )
    return value


def _recipient_rules(value: object) -> object:
    """A list in which nothing stands would let everybody be mailed, which is not what its writer meant."""
    rules = _comma_list(value)
    if isinstance(value, str) and not rules:
        raise ValueError("names nobody; to send to nobody, set SESGATE_CAPTURE_ONLY=true")
    return rules


def _within_reason(value: timedelta) -> timedelta:
    """The end of a longer one would not fit into the database's integers."""
    if value <= timedelta(0):
        raise ValueError("must be longer than nothing")
    if value > _LONGEST_DURATION:
        raise ValueError(f"must not be longer than {_LONGEST_DURATION.days} days")
    return value


def _lasting_within_reason(value: timedelta | None) -> timedelta | None:
    return None if value is None else _within_reason(value)


def _from_text(parse: Any) -> BeforeValidator:
    return BeforeValidator(lambda value: parse(value) if isinstance(value, str) else value)


Duration = Annotated[timedelta, _from_text(parse_duration), AfterValidator(_within_reason)]
Lasting = Annotated[timedelta | None, _from_text(parse_lasting), AfterValidator(_lasting_within_reason)]
Size = Annotated[int, _from_text(parse_size), Field(ge=0)]
Share = Annotated[float, _from_text(parse_share), Field(gt=0, le=1, allow_inf_nan=False)]
Address = Annotated[HostPort, _from_text(parse_host_port)]
Listeners = Annotated[tuple[Listener, ...], _from_text(parse_listeners)]
Networks = Annotated[tuple[IPv4Network | IPv6Network, ...], BeforeValidator(_networks)]
TopicArns = Annotated[tuple[Annotated[str, AfterValidator(_known_topic)], ...], BeforeValidator(_comma_list)]
RecipientRules = Annotated[
    tuple[Annotated[str, AfterValidator(_recipient_rule)], ...], BeforeValidator(_recipient_rules)
]
SqsQueue = Annotated[QueueUrl | None, _from_text(parse_queue_url)]
ConfigurationSet = Annotated[str | None, AfterValidator(_configuration_set)]
MailAddress = Annotated[str | None, AfterValidator(_address)]
