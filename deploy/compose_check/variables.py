"""Whether every variable that the files name exists, and the programs start with what they are given."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path

import flower.options  # noqa: F401  defines the options below
from tornado.options import options as flower_options

from deploy.compose.make_secrets import make_secrets, write_secrets
from deploy.compose_check.composefile import FILE, SECRETS, Compose, Service
from deploy.compose_check.dockerfile import FILE as DOCKERFILE
from deploy.compose_check.dockerfile import Dockerfile
from gateway.setting_values import parse_duration
from gateway.settings import PREFIX, Settings, SettingsError, read_settings
from tasks.flower import FlowerOptionsError, flower_environment

# Variables of other programs: AWS's SDK, and the official image of PostgreSQL.
_KNOWN = {
    "AWS_REGION",
    "POSTGRES_USER",
    "POSTGRES_DB",
    "POSTGRES_PASSWORD_FILE",
    "POSTGRES_INITDB_ARGS",
}
_DRAINING = {"smtp", "webhook", "feedback-queue", "admin", "worker"}
_SLACK = timedelta(seconds=5)
_DOCKERS_GRACE = "10s"


def check_variables(compose: Compose, dockerfile: Dockerfile) -> Iterator[str]:
    """The names exist; read_settings and Flower take the values, with secrets as make_secrets.py writes them."""
    for name in sorted(compose.variables):
        if not _is_known(name):
            yield f"{FILE} interpolates {name}, which is no setting of any program."
    ours = {name for name in dockerfile.environment if name.startswith(PREFIX)}
    yield from _check_names(f"{DOCKERFILE}: the image", ours)
    with tempfile.TemporaryDirectory() as directory:
        secrets = Path(directory) / "secrets"
        write_secrets(secrets, make_secrets())
        for service in compose.services.values():
            yield from _check_names(f"{FILE}: {service.name}", service.environment)
            if service.is_ours:
                yield from _check_values(service, {**dockerfile.environment, **service.environment}, secrets)


def _is_known(name: str) -> bool:
    if name.startswith("FLOWER_"):
        return name == "FLOWER_BASIC_AUTH_FILE" or name.removeprefix("FLOWER_").lower() in flower_options
    if name.startswith(PREFIX):
        field = name.removeprefix(PREFIX).lower()
        return {field, field.removesuffix("_file")} & set(Settings.model_fields) != set()
    return name in _KNOWN


def _check_names(where: str, names: Iterable[str]) -> Iterator[str]:
    for name in names:
        if not _is_known(name):
            yield f"{where} is given {name}, which is no setting of any program."


def _check_values(service: Service, environment: Mapping[str, str], secrets: Path) -> Iterator[str]:
    environ = {name: value.replace(SECRETS, f"{secrets}/") for name, value in environment.items() if _is_known(name)}
    try:
        settings = read_settings(environ)
        if "flower" in service.command:
            flower_environment(settings, environ)
    except (SettingsError, FlowerOptionsError) as error:
        yield f"{FILE}: {service.name} would not start: {str(error).replace(f'{secrets}/', SECRETS)}"
        return
    yield from _check_grace(service, settings)


def _check_grace(service: Service, settings: Settings) -> Iterator[str]:
    grace = str(service.raw.get("stop_grace_period", _DOCKERS_GRACE))
    if _DRAINING & set(service.command) and parse_duration(grace) < settings.drain_timeout + _SLACK:
        yield (
            f"{FILE}: {service.name} is killed {grace} after it is asked to stop, but may drain for"
            f" {settings.drain_timeout.total_seconds():g} s; set stop_grace_period to 5 s more than that."
        )
