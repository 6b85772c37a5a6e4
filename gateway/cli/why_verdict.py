"""Whether a mail to an address would be sent now, under which credential, and what to do if not. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from gateway.cli.output import spoken_time
from gateway.cli.queue_screen import spoken_pause
from gateway.cli.suppressions_screen import spoken_removal
from gateway.store.queue import Stops
from gateway.store.suppression_rows import Suppression
from gateway.suppression_policy import Reason

SUPPRESSED_FOR: Mapping[Reason, str] = {
    Reason.BOUNCE: "mail to it bounced for good",
    Reason.SOFT_BOUNCE: "several mails to it bounced one after another, each for a passing reason",
    Reason.GLOBAL_LIST: "SES has it on a list of addresses that bounced lately for any of its customers",
    Reason.COMPLAINT: "somebody there reported a mail as spam",
    Reason.MANUAL: "a person asked for it",
    Reason.UNSUBSCRIBE: "the recipient has unsubscribed",
}
_WILL_OF_THE_RECIPIENT = (Reason.COMPLAINT, Reason.UNSUBSCRIBE)


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Why a mail would not be sent now. `waits`: it would be accepted, and go out later; else it is not sent at all.

    `remedy` is a command, or None when there is none.
    """

    kind: str
    text: str
    remedy: str | None = None
    waits: bool = False


@dataclass(frozen=True, slots=True)
class Sender:
    """A credential, by what matters here."""

    name: str
    enabled: bool = True
    held: str | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """`common` stands in the way of everybody's mail, `own` in that of one credential, by its name."""

    senders: tuple[str, ...]
    common: tuple[Obstacle, ...]
    own: Mapping[str, tuple[Obstacle, ...]]

    @property
    def is_clear(self) -> bool:
        """Whether a mail would be sent now, whoever sends it."""
        return not self.common and not self.own


def judge(
    *,
    malformed: str | None,
    captured: str | None,
    stops: Stops,
    entries: Sequence[Suppression],
    senders: Iterable[Sender],
    now: datetime,
) -> Verdict:
    """`malformed`: why the address is none that can be mailed; `captured`: why the staging guard of this machine keeps
    the mail. `entries` are the suppressions of the address and of its domain, whatever their scope.
    """
    asked = tuple(senders)
    in_force = [entry for entry in entries if entry.is_in_force(now)]
    return Verdict(
        senders=tuple(sender.name for sender in asked),
        common=(*_nobody(asked), *_common(malformed, captured, stops, in_force)),
        own={sender.name: found for sender in asked if (found := tuple(_own(sender, in_force)))},
    )


def _nobody(senders: Sequence[Sender]) -> Iterator[Obstacle]:
    if not senders:
        yield Obstacle(
            "disabled", "no credential is enabled, so nobody may send anything", "sesgate credentials enable NAME"
        )


def _common(
    malformed: str | None, captured: str | None, stops: Stops, in_force: Iterable[Suppression]
) -> Iterator[Obstacle]:
    if malformed is not None:
        text = f"it is no address that mail can be sent to: {malformed}. A client that tries reads 501 or 553"
        yield Obstacle("address", text)
    yield from (_suppressed(entry) for entry in in_force if not entry.scope)
    yield from _guarded(captured, stops)
    if stops.pause is not None:
        text = f"sending is paused ({spoken_pause(stops.pause)}); mail is accepted and waits"
        yield Obstacle("paused", text, "sesgate queue resume", waits=True)
    if stops.circuit is not None:
        reason = stops.circuit.reason.rstrip(".")
        text = f"{stops.circuit.what} ({reason}); mail is accepted and waits, until SES takes mail again"
        yield Obstacle("circuit", text, waits=True)


def _guarded(captured: str | None, stops: Stops) -> Iterator[Obstacle]:
    """By the settings of this machine, and by what the workers tell of theirs."""
    if captured is not None:
        yield Obstacle("guard", f"the staging guard keeps it: {captured.removeprefix('captured: ')}")
    elif stops.guard is not None:
        yield Obstacle("guard", f"the staging guard of the workers is on: {stops.guard.reason.rstrip('.')}")


def _own(sender: Sender, in_force: Iterable[Suppression]) -> Iterator[Obstacle]:
    if not sender.enabled:
        text = f"the credential {sender.name} is disabled: what logs in as it is refused"
        yield Obstacle("disabled", text, f"sesgate credentials enable {sender.name}")
    yield from (_suppressed(entry) for entry in in_force if entry.scope == sender.name)
    if sender.held is not None:
        text = f"the credential {sender.name} is held ({sender.held}): its mail is accepted and waits"
        yield Obstacle("held", text, f"sesgate queue resume --credential {sender.name}", waits=True)


def _suppressed(entry: Suppression) -> Obstacle:
    who = f"everybody at {entry.address.removeprefix('@')}" if entry.is_domain else entry.address
    until = "until somebody lifts it" if entry.expires_at is None else f"until {spoken_time(entry.expires_at)}"
    whose = f" for {entry.scope}" if entry.scope else ""
    because = f"{SUPPRESSED_FOR[entry.reason]} [{entry.reason}]"
    text = f"{who} is suppressed{whose} since {spoken_time(entry.since)}, {until}: {because}"
    if entry.reason in _WILL_OF_THE_RECIPIENT:
        text += "; lift it only if the recipient asks for it"
    return Obstacle("suppressed", text, spoken_removal(entry))


# In words


def spoken_verdict(verdict: Verdict) -> Iterator[str]:
    """One sentence a line."""
    if verdict.is_clear:
        yield "Mail to it would be sent."
        return
    yield from (_sentence(obstacle) for obstacle in verdict.common)
    for name, obstacles in verdict.own.items():
        yield from (f"Under {name}: {_lower(_sentence(obstacle))}" for obstacle in obstacles)
    others = [name for name in verdict.senders if name not in verdict.own]
    if not verdict.common and others:
        yield f"Under {_few(others)}: mail to it would be sent."


_NAMED = 5


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _sentence(obstacle: Obstacle) -> str:
    begin = "Not now" if obstacle.waits else "No"
    then = "" if obstacle.remedy is None else f" This changes it: `{obstacle.remedy}`."
    return f"{begin}: {obstacle.text}.{then}"


def _lower(text: str) -> str:
    return text[0].lower() + text[1:]
