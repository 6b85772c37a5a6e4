"""What still keeps mail from being sent, one sentence each: for commands that would promise too much without them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from gateway.cli.output import counted, printable
from gateway.cli.queue_screen import spoken_pause
from gateway.store.depth import Circuit
from gateway.store.queue import Stops


def spoken_stops(stops: Stops, credentials: Iterable[str] | None = None) -> list[str]:
    """Nothing when mail of these credentials goes out; without `credentials` those of all are looked at."""
    concerned = stops.held if credentials is None else [name for name in credentials if name in stops.held]
    return [
        printable(sentence) for sentence in (*_of_all(stops), *(_held(name, stops.held[name]) for name in concerned))
    ]


def spoken_suppressed(recipients: int) -> str:
    ends = "address is suppressed: it ends" if recipients == 1 else "addresses are suppressed: they end"
    return f"{counted(recipients)} will not be mailed, for the {ends} as SUPPRESSED (see `sesgate suppressions`)."


def _of_all(stops: Stops) -> Iterator[str]:
    if stops.pause is not None:
        yield f"Sending is paused ({spoken_pause(stops.pause)}); `sesgate queue resume` lets it go on."
    if stops.circuit is not None:
        yield _refused(stops.circuit)
    if stops.guard is not None:
        yield f"The staging guard is on: {stops.guard.reason.rstrip('.')}."


def _refused(circuit: Circuit) -> str:
    what = circuit.what[0].upper() + circuit.what[1:]
    return f"{what} ({circuit.reason.rstrip('.')}); sending goes on by itself once SES takes mail again."


def _held(name: str, reason: str) -> str:
    return f"{name} stays held ({reason}); `sesgate queue resume --credential {name}` releases it."
