"""`sesgate settings`: every setting in force, and where its value came from."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import click

from gateway.broker import BROKER_URL_FILE, find_broker_url
from gateway.cli.help import example
from gateway.cli.output import show_json, show_table
from gateway.setting_values import NEVER
from gateway.settings import PREFIX, Settings, Source, load_dotenv_into, read_settings, sources

MASK = "***"

_DURATION_UNITS = (("d", timedelta(days=1)), ("h", timedelta(hours=1)), ("m", timedelta(minutes=1)))
_SIZE_UNITS = (("GiB", 1024**3), ("MiB", 1024**2), ("KiB", 1024))
_SIZES = frozenset({"max_message_bytes", "min_free_bytes"})
_LASTING = frozenset({"suppress_soft_bounce", "suppress_global_list", "suppress_bounce", "suppress_complaint"})
# What may be a password is kept out of `repr`, and so it is known here.
_SECRETS = frozenset(name for name, field in Settings.model_fields.items() if not field.repr)
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_USER_AND_PASSWORD = re.compile(r"(//[^/?#@:]*):.*@")  # up to the last @, for a password may hold any
_PASSWORD_PARAMETER = re.compile(r"([?&][^=&#]*(?:password|secret|token)[^=&#]*=)[^&#]*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Shown:
    """A setting as a person reads it. `source` is default, environment, .env or file; `origin` says it in full."""

    name: str
    value: str
    source: str
    origin: str


@click.command(epilog=example("sesgate settings", "sesgate settings --json"))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(as_json: bool) -> None:
    """Show every setting in force and where it came from; passwords are masked.

    It reads what the programs read: SESGATE_* of the environment, the files that SESGATE_*_FILE name, and .env in the
    working directory.
    """
    from_dotenv = load_dotenv_into(os.environ, Path.cwd())
    shown = describe(read_settings(os.environ), sources(os.environ), from_dotenv)
    if as_json:
        show_json(shown)
    else:
        show_table(("SETTING", "VALUE", "FROM"), ((one.name, one.value, one.origin) for one in shown))


def describe(settings: Settings, given: Mapping[str, Source], from_dotenv: Iterable[str]) -> list[Shown]:
    """All settings in the order in which they are declared."""
    dotenv = frozenset(from_dotenv)
    shown = [_shown(settings, field, given.get(field), dotenv) for field in Settings.model_fields]
    return [_broker_of_up(settings, one) for one in shown]


def _shown(settings: Settings, field: str, source: Source | None, dotenv: frozenset[str]) -> Shown:
    value: Any = settings.database if field == "database_url" else getattr(settings, field)
    text = _spell_setting(field, value)
    kind, origin = _origin(source, dotenv)
    return Shown(PREFIX + field.upper(), masked(text) if field in _SECRETS else text, kind, origin)


def _spell_setting(field: str, value: object) -> str:
    if field in _SIZES and isinstance(value, int):
        return spell_size(value)
    return NEVER if field in _LASTING and value is None else spell(value)


def _origin(source: Source | None, dotenv: frozenset[str]) -> tuple[str, str]:
    if source is None:
        return "default", "default"
    place = ".env" if source.variable in dotenv else "environment"
    if source.file is None:
        return place, place
    return "file", f"file {source.file} ({source.variable} in the {place})".replace("the .env", ".env")


def _broker_of_up(settings: Settings, shown: Shown) -> Shown:
    """Programs that are started by hand find the Redis of a running `sesgate up` without a setting."""
    if shown.name != f"{PREFIX}BROKER_URL" or shown.source != "default":
        return shown
    url = find_broker_url(settings)
    noted = f"noted by `sesgate up` in {settings.data_dir / BROKER_URL_FILE}" if url else "`sesgate up` starts its own"
    return Shown(shown.name, masked(url), shown.source, f"default: {noted}")


def spell(value: object) -> str:
    """A value as it is written in a setting; what stands there can be read back."""
    if value is None:
        return ""
    if isinstance(value, timedelta):
        return spell_duration(value)
    if isinstance(value, tuple):
        return ", ".join(map(spell, value))
    return str(value)


def spell_duration(value: timedelta) -> str:
    """`4d`, `90s` or `500ms`: the largest unit in which it is a whole number."""
    for unit, length in _DURATION_UNITS:
        if value and not value % length:
            return f"{value // length}{unit}"
    seconds = value.total_seconds()
    number, unit = (seconds, "s") if seconds >= 1 else (seconds * 1000, "ms")
    return f"{number:.6f}".rstrip("0").rstrip(".") + unit


def spell_size(value: int) -> str:
    for unit, size in _SIZE_UNITS:
        if value and not value % size:
            return f"{value // size} {unit}"
    return str(value)


def masked(text: str) -> str:
    """A URL without the passwords in it, and nothing at all of a secret that is no URL."""
    if not text or not _URL.match(text):
        return MASK if text else ""
    return _PASSWORD_PARAMETER.sub(rf"\1{MASK}", _USER_AND_PASSWORD.sub(rf"\1:{MASK}@", text))
