"""What an operator can set: `SESGATE_*`, read once by each entry point and passed on as one frozen value."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Literal, Self

from dotenv import dotenv_values
from pydantic import Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from gateway.setting_values import (
    Address,
    ConfigurationSet,
    Duration,
    HostPort,
    Lasting,
    Listener,
    Listeners,
    MailAddress,
    Networks,
    RecipientRules,
    Share,
    Size,
    SqsQueue,
    TopicArns,
)

PREFIX = "SESGATE_"
SANDBOX_ACCOUNT = "000000000000"
# Set for a child by a parent that has loaded `.env` already.
DOTENV_LOADED = "_SESGATE_DOTENV_LOADED"

# What keeps a copied configuration from mailing customers: a variable that came out empty must not switch it off.
_GUARDS = frozenset({"capture_only", "allowed_recipients"})


class SettingsError(Exception):
    """A setting is unknown or malformed; the text is one sentence that names it and the fix."""


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
    feedback_queue_url: SqsQueue = None
    ses_configuration_set: ConfigurationSet = None
    feedback: Literal["configuration-set", "identity"] = "configuration-set"
    feedback_silence: Duration = timedelta(minutes=30)
    rewrite_from: MailAddress = None
    capture_only: bool = False
    allowed_recipients: RecipientRules = ()

    ambiguous: Literal["resend", "hold"] = "resend"
    ambiguous_wait: Duration = timedelta(minutes=15)
    hold_bounce_rate: Share = 0.04
    hold_complaint_rate: Share = 0.0008
    hold_min_sends: int = Field(default=1000, ge=1)

    soft_bounces: int = Field(default=5, ge=1, le=100)
    soft_bounce_window: Duration = timedelta(days=7)
    suppress_soft_bounce: Lasting = timedelta(days=14)
    suppress_global_list: Lasting = timedelta(days=14)
    suppress_bounce: Lasting = None
    suppress_complaint: Lasting = None

    max_age: Duration = timedelta(days=4)
    rate_factor: float = Field(default=0.95, gt=0, le=1, allow_inf_nan=False)
    claim_lease: Duration = timedelta(seconds=120)
    dispatcher_lease: Duration = timedelta(seconds=5)
    dispatch_timeout: Duration = timedelta(seconds=5)
    gate_timeout: Duration = timedelta(seconds=5)
    fronts: int = Field(default=1, ge=1, le=64)
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
