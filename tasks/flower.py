"""Flower's options, taken from our settings: one place for an address, and no open monitor off loopback."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.settings import Settings

# With the arguments, which are the ids of the recipients or notifications.
_COLUMNS = "name,uuid,state,args,received,started,runtime,worker"


class FlowerOptionsError(Exception):
    """Flower may not run like this; the text is one sentence with the fix."""


def flower_environment(settings: Settings, environ: Mapping[str, str]) -> dict[str, str]:
    """The variables that Flower reads its options from.

    FlowerOptionsError when the address is not on loopback and no basic auth is set: without it Flower shows every task
    to everybody.
    """
    listen = settings.flower_listen
    if not listen.is_loopback and not environ.get("FLOWER_BASIC_AUTH"):
        raise FlowerOptionsError(
            f"Flower is to listen on {listen}, which is not loopback, without a password;"
            " set FLOWER_BASIC_AUTH=user:password, or SESGATE_FLOWER_LISTEN=127.0.0.1:5555."
        )
    return {
        "FLOWER_ADDRESS": listen.host,
        "FLOWER_PORT": str(listen.port),
        "FLOWER_TASKS_COLUMNS": environ.get("FLOWER_TASKS_COLUMNS") or _COLUMNS,
    }
