"""What an operator can set: `SESGATE_*`, read once by each entry point and passed on as one frozen value."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from dotenv import dotenv_values
from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

PREFIX = "SESGATE_"
SANDBOX_ACCOUNT = "000000000000"
# Set for a child by a parent that has loaded `.env` already.
DOTENV_LOADED = "_SESGATE_DOTENV_LOADED"

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_DURATION_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
_LONGEST_DURATION = timedelta(days=36_500)
_SIZE = re.compile(r"(\d+)\s*(B|KiB|MiB|GiB)?")
_SIZE_UNITS = {None: 1, "B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
_TOPIC_ARN = re.compile(r"arn:aws[a-z-]*:sns:[a-z0-9-]+:\d{12}:[A-Za-z0-9_-]{1,256}")
# What keeps a copied configuration from mailing customers: a variable that came out empty must not switch it off.
_GUARDS = frozenset({"capture_only", "allowed_recipients"})
_CONFIGURATION_SET = re.compile(r"[A-Za-z0-9_-]{1,64}")
_LOCAL_PART = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*"
_DOMAIN = r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)*[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_ADDRESS = re.compile(rf"(?=.{{3,254}}\Z){_LOCAL_PART}@{_DOMAIN}")
_RECIPIENT_RULE = re.compile(rf"(?:{_LOCAL_PART}@|\.)?{_DOMAIN}")


class SettingsError(Exception):
    """A setting is unknown or malformed; the text is one sentence that names it and the fix."""


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


def _from_text(parse: Any) -> BeforeValidator:
    return BeforeValidator(lambda value: parse(value) if isinstance(value, str) else value)


Duration = Annotated[timedelta, _from_text(parse_duration), AfterValidator(_within_reason)]
Size = Annotated[int, _from_text(parse_size), Field(ge=0)]
Share = Annotated[float, _from_text(parse_share), Field(gt=0, le=1, allow_inf_nan=False)]
Address = Annotated[HostPort, _from_text(parse_host_port)]
Listeners = Annotated[tuple[Listener, ...], _from_text(parse_listeners)]
Networks = Annotated[tuple[IPv4Network | IPv6Network, ...], BeforeValidator(_networks)]
TopicArns = Annotated[tuple[Annotated[str, AfterValidator(_known_topic)], ...], BeforeValidator(_comma_list)]
RecipientRules = Annotated[
    tuple[Annotated[str, AfterValidator(_recipient_rule)], ...], BeforeValidator(_recipient_rules)
]


class Settings(BaseSettings):
    """Every setting with its default. Build it with `read_settings`; tests may give fields by name."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    listeners: Listeners = (Listener(HostPort("127.0.0.1", 2525)),)
    tls_cert_file: Path | None = None
    tls_key_file: Path | None = None
    proxy_networks: Networks = ()
    webhook_listen: Address = HostPort("127.0.0.1", 8024)
    admin_listen: Address = HostPort("127.0.0.1", 8025)
    flower_listen: Address = HostPort("127.0.0.1", 5555)
    sandbox_listen: Address = HostPort("127.0.0.1", 4566)

    data_dir: Path = Path("var")
    database_url: str = Field(default="", repr=False)
    broker_url: str = Field(default="", repr=False)

    trusted_networks: Networks = (IPv4Network("127.0.0.0/8"), IPv6Network("::1/128"))
    suppressed_recipients: Literal["reject", "drop"] = "reject"
    max_message_bytes: Size = 28 * 1024**2
    min_free_bytes: Size = 256 * 1024**2

    sns_topic_arns: TopicArns = ()
    ses_configuration_set: Annotated[str | None, AfterValidator(_configuration_set)] = None
    feedback: Literal["configuration-set", "identity"] = "configuration-set"
    rewrite_from: Annotated[str | None, AfterValidator(_address)] = None
    capture_only: bool = False
    allowed_recipients: RecipientRules = ()

    ambiguous: Literal["resend", "hold"] = "resend"
    ambiguous_wait: Duration = timedelta(minutes=15)
    hold_bounce_rate: Share = 0.04
    hold_complaint_rate: Share = 0.0008
    hold_min_sends: int = Field(default=1000, ge=1)

    max_age: Duration = timedelta(days=4)
    rate_factor: float = Field(default=0.95, gt=0, le=1, allow_inf_nan=False)
    claim_lease: Duration = timedelta(seconds=120)
    dispatcher_lease: Duration = timedelta(seconds=5)
    dispatch_timeout: Duration = timedelta(seconds=5)
    gate_timeout: Duration = timedelta(seconds=5)
    workers: int = Field(default=2, ge=1, le=64)
    worker_threads: int = Field(default=16, ge=1, le=256)
    drain_timeout: Duration = timedelta(seconds=30)

    retain_content: Duration = timedelta(hours=72)
    retain_failed_content: Duration = timedelta(days=7)
    retain_notifications: Duration = timedelta(days=14)
    retain_notification_ids: Duration = timedelta(days=30)
    retain_events: Duration = timedelta(days=90)

    log_format: Literal["console", "json"] = "console"
    log_addresses: Literal["full", "domain", "none"] = "full"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003  the library's signature
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what `read_settings` passes: it refuses unknown names and reads `_FILE`."""
        return (init_settings,)

    @model_validator(mode="after")
    def _has_both_of_the_pair(self) -> Self:
        if (self.tls_cert_file is None) != (self.tls_key_file is None):
            missing = "SESGATE_TLS_CERT_FILE" if self.tls_cert_file is None else "SESGATE_TLS_KEY_FILE"
            raise ValueError(f"{missing} is not set; a certificate needs both files, or neither for no TLS")
        return self

    @property
    def database(self) -> str:
        """The database's URL; without a setting it is SQLite in the data directory."""
        return self.database_url or f"sqlite:///{self.data_dir.resolve() / 'sesgate.db'}"

    @property
    def sandbox_directory(self) -> Path:
        return self.data_dir / "sandbox"


def load_dotenv_into(environ: MutableMapping[str, str], directory: Path) -> frozenset[str]:
    """Put the variables of `.env` into the environment; what the environment has already is left as it is.

    The result is the names that came from the file. boto3 knows the region as AWS_DEFAULT_REGION only; AWS_REGION,
    which every other AWS SDK reads, is passed on to it. Nothing is done in a child of `sesgate up`: what it took out of
    the environment on purpose must not come back. SettingsError when the file cannot be read.
    """
    if DOTENV_LOADED in environ:
        return frozenset()
    file = directory / ".env"
    try:
        found = dotenv_values(file)
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{file} cannot be read ({error}).") from None
    added = {name: value for name, value in found.items() if value is not None and name not in environ}
    environ.update(added)
    if environ.get("AWS_REGION"):
        environ["AWS_DEFAULT_REGION"] = environ["AWS_REGION"]
    return frozenset(added)


def read_settings(environ: Mapping[str, str]) -> Settings:
    """The settings that `environ` describes; SettingsError when one is unknown, malformed or its file unreadable."""
    fields: dict[str, str] = {}
    for name, value in _ours(environ).items():
        field, is_file = _field(name)
        text = _read_file(name, value) if is_file and value else value
        if text == "" and field in _GUARDS:
            raise SettingsError(f"{name} is set and empty, which would let mail out; give a value, or leave it out.")
        if value == "":
            continue  # an empty variable means the default, as compose files and unit files write it
        if field in fields:
            both = f"{PREFIX}{field.upper()} and {PREFIX}{field.upper()}_FILE"
            raise SettingsError(f"{both} are both set; give only one.")
        fields[field] = text
    try:
        return Settings(**{name: value for name, value in fields.items() if value != ""})  # type: ignore[arg-type]
    except ValidationError as error:
        raise SettingsError(_sentence(error)) from None


@dataclass(frozen=True, slots=True)
class Source:
    """The variable that gave a setting, and the file with the value if the variable ends in `_FILE`."""

    variable: str
    file: Path | None = None


def sources(environ: Mapping[str, str]) -> dict[str, Source]:
    """Where each setting comes from, by the name of its field; what is not in it has its default.

    SettingsError as `read_settings` raises it for unknown names.
    """
    found = {}
    for name, value in _ours(environ).items():
        field, is_file = _field(name)
        if value != "":
            found[field] = Source(name, Path(value) if is_file else None)
    return found


def _ours(environ: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environ.items() if name.startswith(PREFIX)}


def _field(name: str) -> tuple[str, bool]:
    """The field that a variable is about, and whether it names a file with the value."""
    field = name.removeprefix(PREFIX).lower()
    if field in Settings.model_fields:
        return field, False
    secret = field.removesuffix("_file")
    if secret != field and secret in Settings.model_fields:
        return secret, True
    raise SettingsError(f"{name} is not a setting; the table of settings in the README has every name.")


def _read_file(name: str, path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{name}: {path} cannot be read ({error}).") from None


def _sentence(error: ValidationError) -> str:
    first = error.errors()[0]
    reason = first["msg"].removeprefix("Value error, ").rstrip(".")
    if not first["loc"]:
        return f"{reason}."
    return f"{PREFIX}{str(first['loc'][0]).upper()}: {reason}."
