"""Flower's options, taken from our settings: one place for an address, and no open monitor off loopback."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from gateway.settings import Settings

# With the arguments, which are the ids of the recipients or notifications.
_COLUMNS = "name,uuid,state,args,received,runtime,worker"
_AUTH = "FLOWER_BASIC_AUTH"
_AUTH_FILE = "FLOWER_BASIC_AUTH_FILE"


class FlowerOptionsError(Exception):
    """Flower may not run like this; the text is one sentence with the fix."""


def flower_environment(settings: Settings, environ: Mapping[str, str]) -> dict[str, str]:
    """The variables that Flower reads its options from.

    FLOWER_BASIC_AUTH may come from a secret file as our own settings do, named by FLOWER_BASIC_AUTH_FILE; Flower itself
    reads no files. FlowerOptionsError when it cannot be read, and when the address is not on loopback and there is no
    basic auth: without it Flower shows every task to everybody.
    """
    listen = settings.flower_listen
    basic_auth = _basic_auth(environ)
    if not listen.is_loopback and not basic_auth:
        raise FlowerOptionsError(
            f"Flower is to listen on {listen}, which is not loopback, without a password;"
            f" set {_AUTH}=user:password (or {_AUTH_FILE}), or SESGATE_FLOWER_LISTEN=127.0.0.1:5555."
        )
    return {
        "FLOWER_ADDRESS": listen.host,
        "FLOWER_PORT": str(listen.port),
        "FLOWER_TASKS_COLUMNS": environ.get("FLOWER_TASKS_COLUMNS") or _COLUMNS,
        **({_AUTH: basic_auth} if basic_auth else {}),
    }


def _basic_auth(environ: Mapping[str, str]) -> str:
    """`user:password`, or several of them with commas between; empty when none is set."""
    given, file = environ.get(_AUTH, ""), environ.get(_AUTH_FILE, "")
    if given and file:
        raise FlowerOptionsError(f"{_AUTH} and {_AUTH_FILE} are both set; give only one.")
    source, text = (_AUTH_FILE, _read(file)) if file else (_AUTH, given)
    if (text or file) and not all(all(pair.partition(":")) for pair in text.split(",")):
        raise FlowerOptionsError(f"{source} does not hold user:password; several of them have commas between.")
    return text


def _read(file: str) -> str:
    try:
        return Path(file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise FlowerOptionsError(f"{_AUTH_FILE}: {file} cannot be read ({error}).") from None
