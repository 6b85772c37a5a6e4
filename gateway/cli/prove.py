"""`sesgate prove`: mail to every address of the mailbox simulator, and back comes every report, or the missing link."""

from __future__ import annotations

import os
import secrets
import smtplib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click

from gateway.addresses import parse_mailbox
from gateway.cli.context import actor, load_settings, mailbox_argument, opened_stores
from gateway.cli.errors import FAILED, CommandError, UsageError
from gateway.cli.help import example
from gateway.cli.output import printable, show_json, show_table
from gateway.cli.progress import bar, ending_between_steps
from gateway.cli.proof_mail import Door, Login, ask, choose_door, send
from gateway.cli.proving_links import diagnosis
from gateway.feedback import EventKind
from gateway.proving import TRIALS, Seen, Trial, is_settled, missing
from gateway.setting_values import parse_duration
from gateway.settings import Settings
from gateway.store.messages import MessageDetail
from gateway.store.operations import Action, Operations, Order, Selection
from gateway.store.schema import require_stamp, stamp_of_environment
from gateway.store.sending import ACCEPTED
from gateway.store.stores import Stores

_WHY = "it was a proof of `sesgate prove`"
_PAUSE = 0.2  # seconds between two looks
_NAMES = click.Choice([trial.local_part for trial in TRIALS])


@dataclass(slots=True)
class _Proof:
    """One trial on its way."""

    trial: Trial
    address: str
    seen: Seen = field(default_factory=Seen)
    ulid: str | None = None
    began: float = 0.0


@dataclass(frozen=True, slots=True)
class Result:
    """One line of the table, for scripts: times in seconds from the beginning of the mail's SMTP session."""

    address: str
    message: str | None
    accepted: float | None
    taken_by_ses: float | None
    reported: float | None
    status: str | None
    suppressed_for: str | None
    refused_again: bool | None
    missing_link: str | None
    why: str


@click.command(
    epilog=example("sesgate prove --from you@example.com", "sesgate prove --from you@example.com --only bounce --json")
)
@click.option(
    "--from", "sender", required=True, metavar="ADDRESS", help="The sender: an address that SES has verified."
)
@click.option("--only", multiple=True, type=_NAMES, help="Only this address of the simulator; may be repeated.")
@click.option("--user", metavar="NAME", help="Log in under this credential.")
@click.option(
    "--secret-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The file with the credential's secret; without it the secret is asked for.",
)
@click.option("--timeout", default="120s", show_default=True, metavar="DURATION", help="How long to wait for reports.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def command(
    context: click.Context,
    sender: str,
    only: tuple[str, ...],
    user: str | None,
    secret_file: Path | None,
    timeout: str,
    as_json: bool,
) -> None:
    """Prove the whole loop: SMTP, sending, SES's reports, statuses, suppressions.

    Sends to every address of SES's mailbox simulator through the gateway's own SMTP port, waits for what comes back,
    and lifts the suppressions that it caused. The same against the simulated AWS and the real one, which charges for
    five mails and counts them neither as bounces nor as complaints.
    """
    settings = load_settings()
    sender = str(mailbox_argument(sender))
    patience = _patience(timeout)
    door = choose_door(settings, _login(user, secret_file))
    with opened_stores(settings) as stores:
        require_stamp(stores.db, stamp_of_environment(os.environ))
        prover = _Prover(settings, stores, door, sender)
        try:
            prover.run([trial for trial in TRIALS if not only or trial.local_part in only], patience)
        finally:
            prover.clean_up()
        results = prover.results()
    _show(results, door, as_json=as_json)
    if not results or any(result.missing_link for result in results):
        context.exit(FAILED)


def _patience(text: str) -> timedelta:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise UsageError(f"--timeout: {error}.") from None


def _login(user: str | None, secret_file: Path | None) -> Login | None:
    if user is None:
        if secret_file is not None:
            raise UsageError("--secret-file belongs to a --user.")
        return None
    if secret_file is not None:
        return Login(user, secret_file.read_text(encoding="utf-8").strip())
    return Login(user, click.prompt(f"Secret of {user}", hide_input=True, err=True))


class _Prover:
    def __init__(self, settings: Settings, stores: Stores, door: Door, sender: str) -> None:
        self._stores = stores
        self._door = door
        self._sender = sender
        self._operations = Operations(stores.db, settings.max_age)
        self._label = f"prove-{secrets.token_hex(4)}"
        self._refuses = settings.suppressed_recipients == "reject"
        self._began_at = datetime.now(UTC)
        self._proofs: list[_Proof] = []

    def run(self, trials: Sequence[Trial], patience: timedelta) -> None:
        """Send, wait, and try the suppressed ones again; Ctrl-C ends the waiting."""
        with bar("Proving", 2 * len(trials)) as advance, ending_between_steps() as is_asked:
            for trial in trials:
                if is_asked():
                    return
                self._send(trial)
                advance(1)
            self._wait(patience, advance, is_asked)
            for proof in self._proofs:
                if is_settled(proof.trial, proof.seen) and proof.trial.suppressed_for is not None and self._refuses:
                    self._try_again(proof)

    def _send(self, trial: Trial) -> None:
        proof = _Proof(trial, trial.address(self._label), began=time.monotonic())
        self._proofs.append(proof)
        try:
            answer = send(self._door, self._sender, proof.address, f"sesgate prove {self._label}")
        except (OSError, smtplib.SMTPException) as error:
            proof.seen = replace(proof.seen, reply=_said(error))
            return
        took = time.monotonic() - proof.began
        proof.seen = replace(proof.seen, reply=answer.text)
        if answer.ulid is not None and self._is_ours(answer.ulid, proof.address):
            proof.ulid = answer.ulid
            proof.seen = replace(proof.seen, accepted=took)

    def _is_ours(self, ulid: str, address: str) -> bool:
        """What answers may be another program, or a gateway with another database, and what it says is not believed."""
        detail = self._stores.messages.show(ulid)
        return detail is not None and [each.address for each in detail.recipients] == [address]

    def _wait(self, patience: timedelta, advance: Callable[[int], None], is_asked: Callable[[], bool]) -> None:
        ends = time.monotonic() + patience.total_seconds()
        open_ones = list(self._proofs)
        while open_ones:
            for proof in open_ones:
                self._look(proof)
            settled = [one for one in open_ones if one.ulid is None or is_settled(one.trial, one.seen)]
            advance(len(settled))
            open_ones = [one for one in open_ones if one not in settled]
            if is_asked() or time.monotonic() >= ends:
                return
            if open_ones:
                time.sleep(_PAUSE)

    def _look(self, proof: _Proof) -> None:
        detail = None if proof.ulid is None else self._stores.messages.show(proof.ulid)
        if detail is None:
            return
        since = time.monotonic() - proof.began
        found = self._stores.suppressions.find(parse_mailbox(proof.address))
        proof.seen = replace(_seen(proof, detail, since), suppression=None if found is None else found.reason)

    def _try_again(self, proof: _Proof) -> None:
        try:
            answer = ask(self._door, self._sender, proof.address)
        except (OSError, smtplib.SMTPException) as error:
            proof.seen = replace(proof.seen, refused=False, second_reply=_said(error))
            return
        proof.seen = replace(proof.seen, refused=answer.is_refusal, second_reply=answer.text)

    def clean_up(self) -> None:
        """Give up what still waits, and lift what the proof has caused.

        The messages stay for their time of keeping, like any other.
        """
        self._cancel([proof.ulid for proof in self._proofs if proof.ulid is not None and proof.seen.taken is None])
        for proof in self._proofs:
            self._stores.suppressions.remove(parse_mailbox(proof.address), why=_WHY, actor=actor())

    def _cancel(self, unsent: Sequence[str]) -> None:
        if not unsent:
            return
        order = Order(Action.CANCEL, Selection(messages=tuple(unsent)), actor(), _WHY)
        for _ in self._operations.run(order, self._operations.find(order)):
            pass

    def results(self) -> list[Result]:
        return list(self._results())

    def _results(self) -> Iterator[Result]:
        for proof in self._proofs:
            seen = proof.seen
            link = missing(proof.trial, seen, refuses=self._refuses)
            yield Result(
                address=proof.address,
                message=proof.ulid,
                accepted=_rounded(seen.accepted),
                taken_by_ses=_rounded(seen.taken),
                reported=_rounded(seen.reported),
                status=seen.status and seen.status.value,
                suppressed_for=seen.suppression and seen.suppression.value,
                refused_again=seen.refused,
                missing_link=link and link.value,
                why="" if link is None else diagnosis(self._stores, proof.trial, seen, link, self._began_at),
            )


def _seen(proof: _Proof, detail: MessageDetail, since: float) -> Seen:
    """What the database tells by now; a time stays what it was when it was first seen."""
    recipient = detail.recipients[0]
    reports = frozenset(EventKind(event.kind) for event in detail.events)
    is_taken = any(attempt.outcome == ACCEPTED for attempt in detail.attempts)
    return replace(
        proof.seen,
        taken=_first(proof.seen.taken, since if is_taken else None),
        status=recipient.status,
        reason=recipient.reason,
        reports=reports,
        reported=_first(proof.seen.reported, since if proof.trial.report in reports else None),
    )


def _first(before: float | None, now: float | None) -> float | None:
    return now if before is None else before


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 2)


def _said(error: OSError | smtplib.SMTPException) -> str:
    """What went wrong, in the server's words where it said some."""
    if isinstance(error, smtplib.SMTPResponseException):
        text = error.smtp_error
        return f"{error.smtp_code} {text.decode(errors='replace') if isinstance(text, bytes) else text}"
    return str(error) or type(error).__name__


def _show(results: Sequence[Result], door: Door, *, as_json: bool) -> None:
    failed = [result for result in results if result.missing_link]
    if as_json:
        show_json({"ok": not failed and bool(results), "smtp": door.spoken, "results": list(results)})
        return
    if not results:
        raise CommandError("Nothing was proved.")
    show_table(
        ("ADDRESS", "ACCEPTED", "AT SES", "REPORTED", "STATUS", "SUPPRESSED", "REFUSED AGAIN", "MISSING"),
        map(_row, results),
    )
    if not failed:
        click.echo(f"The loop holds: {len(results)} of {len(results)} addresses, through {door.spoken} and back.")
        return
    for why in dict.fromkeys(f"Missing link, {result.missing_link}: {result.why}" for result in failed):
        click.echo(printable(why), err=True)


def _row(result: Result) -> tuple[str, ...]:
    return (
        result.address.partition("+")[0],
        _spoken(result.accepted),
        _spoken(result.taken_by_ses),
        _spoken(result.reported),
        result.status or "-",
        result.suppressed_for or "-",
        "-" if result.refused_again is None else ("yes" if result.refused_again else "no"),
        result.missing_link or "nothing",
    )


def _spoken(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds:.2f} s"
