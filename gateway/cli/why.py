"""`sesgate why`: what happened to the mail to an address, and whether a mail to it would be sent now."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import click

from gateway.addresses import AddressError, a_labels, address_key, parse_forward_path
from gateway.cli.context import load_settings, opened_stores
from gateway.cli.errors import CommandError, UsageError
from gateway.cli.help import example
from gateway.cli.output import plain, printable, show_json, spoken_time
from gateway.cli.why_story import Line, tell, tell_waiting
from gateway.cli.why_verdict import Sender, Verdict, judge, spoken_verdict
from gateway.guard import captured
from gateway.settings import Settings
from gateway.store.histories import Histories, History
from gateway.store.queue import Queue, Stops
from gateway.store.stores import Stores
from gateway.store.suppression_rows import Ended, Suppression
from gateway.subjects import Subject, domain_key_of, parse_subject

_NO_MAIL = History((), 0, (), ())
_ONLY_IN_THE_LOG = (
    "What was refused at the door (at RCPT) is in the log of the SMTP front only, and what ended longer ago than"
    " SESGATE_RETAIN_EVENTS is forgotten."
)


@dataclass(frozen=True, slots=True)
class Answer:
    """All that is said about an address or a domain."""

    subject: Subject
    history: History
    suppressions: tuple[Suppression, ...]
    ended: tuple[Ended, ...]
    verdict: Verdict

    @property
    def is_known(self) -> bool:
        history = self.history
        return bool(history.mails or history.older or history.events or self.suppressions or self.ended)


@click.command(epilog=example("sesgate why jane@example.com", "sesgate why @example.com"))
@click.argument("address")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="How many mails to tell of.")
@click.option("--credential", metavar="NAME", help="Only mail of this credential.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(address: str, limit: int, credential: str | None, as_json: bool) -> None:
    """Tell what happened to the mail to ADDRESS, oldest first, and whether a mail to it would be sent now.

    Of a whole domain (@example.com) its own suppressions are told, and whether mail to it would be sent.
    """
    subject, malformed = _read(address)
    settings = load_settings()
    now = datetime.now(UTC)
    with opened_stores(settings) as stores:
        answer = _answer(stores, settings, subject, malformed, limit, credential, now)
    if as_json:
        show_json(_as_json(answer))
    else:
        _show(answer)


def _read(text: str) -> tuple[Subject, str | None]:
    """Who is meant, and why it is no address that can be mailed, if it is none. UsageError when it is nobody at all.

    SES may have reported what could never be sent to, so that is looked up all the same.
    """
    local_part, at, domain = text.strip().rpartition("@")
    if not local_part:
        try:
            return parse_subject(text.strip()), None
        except AddressError as error:
            raise UsageError(f"{text!r} is no address and no domain: {error}.") from None
    if not at or not domain:
        raise UsageError(f"{text!r} is no address; it needs a local part, an @ and a domain.")
    with suppress(UnicodeError):
        domain = domain if domain.isascii() else a_labels(domain)  # as the front does with what a client says
    spelled = f"{local_part}@{domain}"
    try:
        return Subject(str(parse_forward_path(spelled)), address_key(spelled)), None
    except AddressError as error:
        return Subject(spelled, address_key(spelled)), str(error)


def _answer(
    stores: Stores,
    settings: Settings,
    subject: Subject,
    malformed: str | None,
    limit: int,
    credential: str | None,
    now: datetime,
) -> Answer:
    senders, stops = _senders(stores, credential)
    subjects = [subject]
    if not subject.is_domain:
        domain = domain_key_of(subject.key)
        subjects.append(Subject(domain, domain))
    entries = tuple(entry for one in subjects for entry in stores.suppressions.of(one))
    history = _NO_MAIL
    if not subject.is_domain:
        history = Histories(stores.db).of(subject.key, limit=limit, credential=credential)
    return Answer(
        subject=subject,
        history=history,
        suppressions=entries,
        ended=tuple(ended for one in subjects for ended in stores.suppressions.history(one)),
        verdict=judge(
            malformed=malformed,
            captured=captured(f"anybody{subject}" if subject.is_domain else str(subject), settings),
            stops=stops,
            entries=entries,
            senders=senders,
            now=now,
        ),
    )


def _senders(stores: Stores, name: str | None) -> tuple[list[Sender], Stops]:
    """Those that are enabled, or the one that is named. CommandError when there is no such credential."""
    stops = Queue(stores.db).stops()
    found = [Sender(one.name, one.enabled, stops.held.get(one.name)) for one in stores.credentials.all()]
    if name is None:
        return [sender for sender in found if sender.enabled], stops
    named = [sender for sender in found if sender.name == name]
    if not named:
        raise CommandError(f"There is no credential {name}.")
    return named, stops


def _show(answer: Answer) -> None:
    for sentence in _known(answer):
        click.echo(sentence)
    for line in _story(answer):
        click.echo(f"{spoken_time(line.at)}  {printable(line.text)}")
    waiting = list(tell_waiting(answer.history.waiting))
    if waiting:
        click.echo("\nStill under way:")
        for sentence in waiting:
            click.echo(f"  {printable(sentence)}")
    who = f"anybody at {str(answer.subject)[1:]}" if answer.subject.is_domain else str(answer.subject)
    click.echo(f"\nWould a mail to {printable(who)} be sent now?")
    for sentence in spoken_verdict(answer.verdict):
        click.echo(f"  {printable(sentence)}")


def _known(answer: Answer) -> list[str]:
    """What stands above the story: how much is left out of it, or that there is none."""
    subject, history = printable(str(answer.subject)), answer.history
    if subject.startswith("@"):
        return [] if answer.is_known else [f"The domain {subject[1:]} has no suppression, and had none."]
    if not answer.is_known:
        nothing = "no mail to it was accepted, SES has reported nothing about it, and it was never suppressed"
        return [f"Nothing is known of {subject}: {nothing}. {_ONLY_IN_THE_LOG}"]
    if history.older:
        mails = "mail is" if history.older == 1 else "mails are"
        return [f"{history.older} more {mails} not told of here; --limit tells more, the newest first."]
    if not history.mails:
        return [f"No mail to {subject} was accepted, as far as is known. {_ONLY_IN_THE_LOG}"]
    return []


def _as_json(answer: Answer) -> dict[str, Any]:
    history, verdict = answer.history, answer.verdict
    return {
        "address": str(answer.subject),
        "known": answer.is_known,
        "mails": plain(history.mails),
        "older_mails": history.older,
        "waiting": [mail.message for mail in history.waiting],
        "other_reports": plain(history.events),
        "suppressions": plain(answer.suppressions),
        "ended_suppressions": [{**plain(one.suppression), **_end(one)} for one in answer.ended],
        "acts": plain(history.acts),
        "would_be_sent": verdict.is_clear,
        "obstacles": [
            {"credential": name, **plain(obstacle)}
            for name, obstacles in ((None, verdict.common), *verdict.own.items())
            for obstacle in obstacles
        ],
        "told": [{"at": plain(line.at), "text": line.text} for line in _story(answer)],
    }


def _story(answer: Answer) -> list[Line]:
    return tell(answer.history, answer.suppressions, answer.ended, datetime.now(UTC))


def _end(one: Ended) -> dict[str, Any]:
    return {"ended_at": plain(one.ended_at), "ended_by": one.ended_by, "ended_why": one.ended_why}
