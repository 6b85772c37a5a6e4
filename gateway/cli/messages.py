"""`sesgate messages`: what became of accepted messages, and what a person does about it."""

from __future__ import annotations

from collections import Counter
from datetime import datetime

import click

from gateway.cli.context import load_settings, mailbox_argument, message_id_argument, opened_stores
from gateway.cli.errors import CommandError
from gateway.cli.help import example
from gateway.cli.orders import cancel, retry
from gateway.cli.output import plain, show_json, show_pairs, show_table, spoken_time
from gateway.lifecycle import Status
from gateway.store.messages import AttemptRecord, EventRecord, MessageDetail, MessageSummary, RecipientRecord

_STATUSES = click.Choice([status.value for status in Status], case_sensitive=False)


@click.group(epilog=example("sesgate messages list --address jane@example.com"))
def command() -> None:
    """See what became of accepted messages; send them again, or give them up."""


command.add_command(retry)
command.add_command(cancel)


@command.command("list", epilog=example("sesgate messages list --status BOUNCED --limit 20"))
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="How many to show.")
@click.option("--status", type=_STATUSES, help="Only messages with a recipient in this status.")
@click.option("--address", help="Only messages to this recipient.")
@click.option("--before", metavar="ID", help="Go on behind this message.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_(limit: int, status: str | None, address: str | None, before: str | None, as_json: bool) -> None:
    """List messages, the newest first."""
    recipient = None if address is None else str(mailbox_argument(address))
    older_than = None if before is None else message_id_argument(before)
    with opened_stores(load_settings()) as stores:
        found = stores.messages.list(
            limit=limit, status=Status(status) if status else None, address=recipient, before=older_than
        )
    if as_json:
        show_json(found)
        return
    show_table(("ID", "ACCEPTED", "FROM", "RECIPIENTS", "STATUS", "SUBJECT"), map(_row, found))
    if len(found) == limit:
        click.echo(f"There may be more: add --before {found[-1].ulid}", err=True)


def _row(message: MessageSummary) -> tuple[str, ...]:
    first, *others = (recipient.address for recipient in message.recipients)
    recipients = f"{first} and {len(others)} more" if others else first
    statuses = Counter(recipient.status.value for recipient in message.recipients)
    spoken = ", ".join(f"{count} {name}" if len(message.recipients) > 1 else name for name, count in statuses.items())
    accepted = spoken_time(message.accepted_at)
    return (message.ulid, accepted, _path(message.reverse_path), recipients, spoken, message.subject)


@command.command(epilog=example("sesgate messages show 01KAMV7M0Q3W8Y4ZC9H2B6D5TN"))
@click.argument("message_id", metavar="ID")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show(message_id: str, as_json: bool) -> None:
    """Show everything about the message ID (the one in `250 OK: queued as`)."""
    ulid = message_id_argument(message_id)
    with opened_stores(load_settings()) as stores:
        detail = stores.messages.show(ulid)
    if detail is None:
        raise CommandError(f"There is no message {ulid}.")
    if as_json:
        # The summary is the way the store builds it; a script finds one flat object.
        flat = plain(detail)
        show_json({**flat.pop("summary"), **flat})
        return
    _show_envelope(detail)
    click.echo()
    show_table(("RECIPIENT", "STATUS", "WHY", "ATTEMPTS", "NEXT ATTEMPT"), map(_recipient_row, detail.recipients))
    click.echo()
    show_table(("TIME", "RECIPIENT", "WHAT", "DETAIL"), history(detail))


def _show_envelope(detail: MessageDetail) -> None:
    summary, origin = detail.summary, detail.origin
    show_pairs(
        (
            ("message", summary.ulid),
            ("reverse-path", _path(summary.reverse_path)),
            ("From", detail.header_from),
            ("Subject", summary.subject),
            ("Message-ID", detail.header_message_id or "-"),
            ("size", f"{summary.size} bytes{'' if detail.has_content else ', content no longer kept'}"),
            ("accepted", spoken_time(summary.accepted_at)),
            ("client", f"{origin.client_address} ({origin.helo}), {origin.protocol}"),
            ("credential", summary.credential),
        )
    )


def _path(reverse_path: str | None) -> str:
    return "<>" if reverse_path is None else reverse_path


def _recipient_row(recipient: RecipientRecord) -> tuple[str, ...]:
    due = "-" if recipient.next_attempt_at is None else spoken_time(recipient.next_attempt_at)
    return (recipient.address, recipient.status.value, recipient.reason or "-", str(recipient.attempts), due)


def history(detail: MessageDetail) -> list[tuple[str, ...]]:
    """Everything that happened to a message, in the order of time."""
    moments = [(detail.summary.accepted_at, ("", "accepted", f"from {detail.origin.client_address}"))]
    for attempt in detail.attempts:
        moments.extend(_attempt_moments(attempt))
    moments.extend((event.occurred_at, _event_cells(event)) for event in detail.events)
    # The sort is stable: what happened in the same microsecond stays in the order of cause.
    return [(spoken_time(moment), *cells) for moment, cells in sorted(moments, key=lambda pair: pair[0])]


def _attempt_moments(attempt: AttemptRecord) -> list[tuple[datetime, tuple[str, str, str]]]:
    moments = [(attempt.started_at, (attempt.address, "attempt", attempt.attempt_id))]
    if attempt.finished_at is not None:
        moments.append((attempt.finished_at, (attempt.address, attempt.outcome or "ended", _said(attempt))))
    return moments


def _said(attempt: AttemptRecord) -> str:
    ses_message_id = attempt.ses_message_id
    if ses_message_id is None or ses_message_id in attempt.detail:
        return attempt.detail
    return "; ".join(filter(None, (attempt.detail, f"SES message id {ses_message_id}")))


def _event_cells(event: EventRecord) -> tuple[str, str, str]:
    what = f"{event.kind} ({event.sub_kind})" if event.sub_kind else event.kind
    elsewhere = event.reported_address if event.reported_address != event.recipient else None
    detail = "; ".join(filter(None, (event.diagnostic, elsewhere and f"reported for {elsewhere}")))
    return (event.recipient or "", what, detail)
