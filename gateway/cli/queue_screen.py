"""`sesgate queue status` for people: one screen."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

import click

from gateway.cli.output import counted, printable, show_table, spoken_length, spoken_time
from gateway.cli.queue_look import Look, concerns, spoken_quiet
from gateway.evidence import Channel
from gateway.reputation import LAST_SENDS, REVIEW_BOUNCE_RATE, REVIEW_COMPLAINT_RATE, Limits, Rates
from gateway.store.depth import AccountSeen, Pace
from gateway.store.queue import Pause
from gateway.store.reputation import Standing

_BAD, _WARNING = "red", "yellow"
_AS_GOOD_AS_ONE = 0.97  # the dispatcher tells its pace only when it has changed by more than a trifle

_CHANNELS = {
    Channel.ALIVE: "reports of later mail arrive",
    Channel.SILENT: "SES reports nothing, although it took mail later: look at SNS and the webhook",
    Channel.UNKNOWN: "nothing was sent later that could show whether reports arrive",
    Channel.NONE: "no reports are to be expected (SESGATE_FEEDBACK=identity)",
}


@dataclass(frozen=True, slots=True)
class _Line:
    name: str
    text: str
    colour: str | None = None


def show(look: Look, now: datetime) -> None:
    lines = list(_lines(look, now))
    width = max(len(line.name) for line in lines)
    colours = None if "NO_COLOR" not in os.environ else False  # None: click leaves them out where no terminal is
    for line in lines:
        text = f"{line.name:<{width}}  {printable(line.text)}".rstrip()
        click.echo(click.style(text, fg=line.colour) if line.colour else text, color=colours)
    if look.queue.held_for:
        click.echo()
        show_table(
            ("HELD FOR", "RECIPIENTS", "THE FIRST"),
            ((one.reason, str(one.recipients), _when(one.oldest_at, now)) for one in look.queue.held_for),
        )
    click.echo()
    show_table(
        ("CREDENTIAL", "QUEUED", "LAST 24 HOURS", f"LAST {LAST_SENDS:,} SENDS", "STATE"),
        (_standing_row(one, look.limits, now) for one in look.standings),
    )
    click.echo(
        f"AWS reviews an account at {_share(REVIEW_BOUNCE_RATE)} bounces or {_share(REVIEW_COMPLAINT_RATE)} complaints."
        f" A credential is held here over {_share(look.limits.bounce_rate)} or {_share(look.limits.complaint_rate)}."
    )
    click.echo("Mail to the mailbox simulator of SES counts nowhere in these.")


def _lines(look: Look, now: datetime) -> Iterator[_Line]:
    queue = look.queue
    yield _sending(look, now)
    yield _Line("rate", _rate(queue.pace, queue.account), None if queue.account else _WARNING)
    yield _Line("quota", _quota(queue.account, now))
    yield _Line("waiting", _waiting(look, now))
    yield _Line("due now", _due(look, now))
    yield _Line("next retry", _when(queue.next_retry_at, now))
    yield _in_doubt(look, now)
    yield _Line("dispatcher", _dispatcher(look, now), None if queue.dispatcher.holder else _BAD)
    yield _Line(
        "reports",
        f"{queue.unprocessed_notifications} to process, {queue.notifications_not_understood} not understood",
    )
    yield _last_report(look, now)
    found = concerns(look, now)
    yield _Line("for a person", "; ".join(found) or "nothing", _BAD if found else None)


def _sending(look: Look, now: datetime) -> _Line:
    if look.queue.pause:
        return _Line("sending", f"paused: {spoken_pause(look.queue.pause)}", _WARNING)
    circuit = look.queue.circuit
    if circuit is None:
        return _Line("sending", "goes on")
    probe = circuit.probe_at
    tries = "one mail at a time tries" if probe is None or probe <= now else f"one mail tries {_when(probe, now)}"
    since = spoken_time(circuit.since)
    return _Line("sending", f"stopped since {since}, {circuit.what}: {circuit.reason}; {tries}", _BAD)


def spoken_pause(pause: Pause) -> str:
    by = f" by {pause.actor}" if pause.actor else ""
    return f"since {spoken_time(pause.since)}{by}, {pause.reason}"


def _rate(pace: Pace | None, account: AccountSeen | None) -> str:
    now = "unknown: no dispatcher has told it" if pace is None else f"{pace.rate:.3g} recipients a second"
    if account is None:
        return f"{now}; the account's is unknown: GetAccount did not answer yet, and until then it is 1 a second"
    slowed = (
        ""
        if pace is None or pace.factor > _AS_GOOD_AS_ONE
        else f", slowed down to {pace.factor:.0%} by SES's throttling"
    )
    return f"{now}{slowed}; the account's is {account.max_send_rate:g}"


def _quota(account: AccountSeen | None, now: datetime) -> str:
    if account is None:
        return "unknown: GetAccount did not answer yet"
    used, quota = account.sent_last_24_hours, account.max_24_hour_send
    asked = f" ({_when(account.asked_at, now)})"
    if quota < 0:
        return f"{used:,.0f} sent in 24 hours, no limit{asked}"
    return f"{used:,.0f} of {quota:,.0f} used in 24 hours, {max(0.0, quota - used):,.0f} left{asked}"


def _waiting(look: Look, now: datetime) -> str:
    counts = ", ".join(f"{count} {status}" for status, count in look.queue.recipients.items() if count)
    oldest = look.queue.oldest_accepted_at
    if not counts:
        return "nothing"
    return counts if oldest is None else f"{counts}; the oldest was accepted {_when(oldest, now)}"


def _due(look: Look, now: datetime) -> str:
    if look.queue.oldest_due_at is None:
        return "nothing"
    return f"{counted(look.queue.due)}, the first since {spoken_length(now - look.queue.oldest_due_at)}"


def _in_doubt(look: Look, now: datetime) -> _Line:
    outlook = look.ambiguous
    if not outlook.waiting or outlook.oldest_at is None:
        return _Line("in doubt", "nothing")
    text = f"{counted(outlook.waiting)} AMBIGUOUS, the first since {spoken_length(now - outlook.oldest_at)};"
    colour = _BAD if outlook.is_silent else _WARNING
    return _Line("in doubt", f"{text} {_CHANNELS[outlook.channel]}", colour)


def _last_report(look: Look, now: datetime) -> _Line:
    """Below the alarm itself, for whoever reads the last line first: when SES was heard of."""
    last, quiet = look.reports.last_report_at, look.reports.quiet
    came = "none has ever come" if last is None else f"came {_when(last, now)}"
    if quiet:
        return _Line("last report", f"{came}; {spoken_quiet(quiet[0], now)}", _BAD)
    if not look.reports.promised:
        return _Line("last report", f"{came}; none need come with SESGATE_FEEDBACK=identity, so silence is no alarm")
    return _Line("last report", came)


def _dispatcher(look: Look, now: datetime) -> str:
    dispatcher = look.queue.dispatcher
    if not dispatcher.holder:
        return "none is active; is a worker running?"
    return f"{dispatcher.holder}, last beat {_when(dispatcher.last_beat_at, now)}"


def _standing_row(standing: Standing, limits: Limits, now: datetime) -> tuple[str, ...]:
    return (
        "all together" if standing.credential is None else standing.credential,
        str(standing.queued),
        spoken_rates(standing.day, limits),
        spoken_rates(standing.last, limits),
        _state(standing, now),
    )


def spoken_rates(rates: Rates, limits: Limits) -> str:
    """With the numbers instead of rates while there are too few sends to say anything by."""
    if rates.bounce_rate is None or rates.complaint_rate is None:
        return "nothing sent"
    if rates.sends < limits.min_sends:
        few = f"{rates.bounces} bounced, {rates.complaints} complained"
        return f"{rates.sends:,} sent (too few to judge), {few}"
    return f"{rates.sends:,} sent, {_share(rates.bounce_rate)} bounced, {_share(rates.complaint_rate)} complained"


def _state(standing: Standing, now: datetime) -> str:
    if standing.credential is None:
        return "-"
    if standing.held_at is None:
        return "sends"
    return f"held {_when(standing.held_at, now)} by {standing.held_by}: {standing.held_reason}"


def _share(part: float) -> str:
    """With as many places as the smallest limit needs: 0.08%."""
    return f"{part * 100:.2f}".rstrip("0").rstrip(".") + "%"


def _when(moment: datetime | None, now: datetime) -> str:
    if moment is None:
        return "none"
    return f"in {spoken_length(moment - now)}" if moment > now else f"{spoken_length(now - moment)} ago"
