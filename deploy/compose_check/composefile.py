"""docker-compose.yml as the checks see it: merged and interpolated.

Interpolation follows the compose specification (https://github.com/compose-spec/compose-spec/blob/main/12-interpolation.md)
as far as the file uses it: `$NAME`, `${NAME}`, with a default (`-`, `:-`) or a demand (`?`, `:?`), and `$$`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from deploy.compose_check.outcome import NotReadableError

FILE = "docker-compose.yml"
SECRETS = "/run/secrets/"

# What an operator must give; any correct value does.
EXAMPLE = {
    "AWS_REGION": "eu-west-1",
    "SESGATE_SES_CONFIGURATION_SET": "sesgate",
    "SESGATE_SNS_TOPIC_ARNS": "arn:aws:sns:eu-west-1:123456789012:sesgate",
}

_VARIABLE = re.compile(
    r"\$(?:(?P<dollar>\$)|(?P<plain>[A-Za-z_]\w*)|\{(?P<name>[A-Za-z_]\w*)(?:(?P<how>:?[-?])(?P<text>[^{}]*))?\}|)"
)
_SECRET = re.compile(re.escape(SECRETS) + r"([\w.-]+)")


@dataclass(frozen=True)
class Service:
    """One service; `raw` is all that the file says of it."""

    name: str
    raw: Mapping[str, Any]

    @property
    def is_ours(self) -> bool:
        return "build" in self.raw

    @property
    def command(self) -> tuple[str, ...]:
        """Empty when the image's own is used."""
        command = self.raw.get("command") or ()
        return tuple(command.split() if isinstance(command, str) else map(str, command))

    @property
    def health_command(self) -> tuple[str, ...]:
        """The words behind CMD; empty when there is no such check."""
        test = (self.raw.get("healthcheck") or {}).get("test") or ()
        return tuple(map(str, test[1:])) if not isinstance(test, str) and test and test[0] == "CMD" else ()

    @property
    def has_health_check(self) -> bool:
        check = self.raw.get("healthcheck") or {}
        return bool(check.get("test")) and not check.get("disable")

    @property
    def environment(self) -> dict[str, str]:
        given = self.raw.get("environment") or {}
        if isinstance(given, Mapping):
            return {name: "" if value is None else str(value) for name, value in given.items()}
        return {name: value for name, _, value in (entry.partition("=") for entry in given)}

    @property
    def depends_on(self) -> dict[str, str]:
        """The services that are waited for, each with the condition."""
        given = self.raw.get("depends_on") or {}
        if isinstance(given, Mapping):
            return {name: (entry or {}).get("condition", "service_started") for name, entry in given.items()}
        return dict.fromkeys(given, "service_started")

    @property
    def secrets(self) -> set[str]:
        return {entry if isinstance(entry, str) else entry["source"] for entry in self.raw.get("secrets") or ()}

    @property
    def mentioned_secrets(self) -> set[str]:
        """Those whose file is named in the command, the health check or the environment."""
        check = self.raw.get("healthcheck") or {}
        places = (self.raw.get("command"), check.get("test"), self.raw.get("environment"))
        return {name for text in _texts(places) for name in _SECRET.findall(text)}


@dataclass(frozen=True)
class Compose:
    """The whole file; `variables` are the names that it interpolates."""

    raw: Mapping[str, Any]
    services: Mapping[str, Service]
    variables: frozenset[str]

    @property
    def secret_files(self) -> dict[str, str]:
        return {name: (entry or {}).get("file", "") for name, entry in (self.raw.get("secrets") or {}).items()}


def read_compose(root: Path) -> Compose:
    """NotReadableError when the file is missing, is no YAML, or asks for a variable without a default."""
    try:
        document = YAML(typ="safe", pure=True).load(root / FILE)
    except OSError as error:
        raise NotReadableError(f"{FILE} cannot be read ({error.strerror}).") from None
    except YAMLError as error:
        raise NotReadableError(f"{FILE} is no YAML ({' '.join(str(error).split())}).") from None
    if not isinstance(document, Mapping) or not isinstance(document.get("services"), Mapping):
        raise NotReadableError(f"{FILE} has no services.")
    variables = frozenset(
        match["plain"] or match["name"]
        for text in _texts(document)
        for match in _VARIABLE.finditer(text)
        if match["plain"] or match["name"]
    )
    raw = _interpolated(document)
    services = {name: Service(name, entry or {}) for name, entry in raw["services"].items()}
    return Compose(raw, services, variables)


def interpolate(text: str, environ: Mapping[str, str]) -> str:
    """NotReadableError for a variable that must be set and is not, and for a lone dollar sign."""

    def value(match: re.Match[str]) -> str:
        if match["dollar"]:
            return "$"
        name = match["plain"] or match["name"]
        if name is None:
            raise NotReadableError(f"{FILE}: {text!r} has a dollar sign that begins no variable; write two for one.")
        return _value(name, match["how"] or ":-", match["text"] or "", environ)

    return _VARIABLE.sub(value, text)


def _value(name: str, how: str, text: str, environ: Mapping[str, str]) -> str:
    given = environ.get(name)
    if given or (given == "" and not how.startswith(":")):
        return given
    if how.endswith("?"):
        raise NotReadableError(f"{FILE} asks for {name}, which no example value is known for ({text}).")
    return text


def _interpolated(value: Any) -> Any:
    if isinstance(value, str):
        return interpolate(value, EXAMPLE)
    if isinstance(value, Mapping):
        return {name: _interpolated(entry) for name, entry in value.items()}
    if isinstance(value, list):
        return [_interpolated(entry) for entry in value]
    return value


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for entry in value.values():
            yield from _texts(entry)
    elif isinstance(value, list | tuple):
        for entry in value:
            yield from _texts(entry)
