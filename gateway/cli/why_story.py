"""What happened to the mail to one address, as sentences that need no other page to be understood. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from gateway.cli.output import spoken_time
from gateway.cli.why_verdict import SUPPRESSED_FOR
from gateway.feedback import BounceType, EventKind
from gateway.lifecycle import Status
from gateway.store.ambiguity import IN_DOUBT
from gateway.store.histories import Act, EventSeen, History, MailTo
from gateway.store.messages import AttemptRecord
from gateway.store.sending import ACCEPTED, AMBIGUOUS, NOT_ACCEPTED, REFUSED, UNKNOWN
from gateway.store.suppression_rows import SES, Ended, Suppression
from gateway.suppression_policy import rule_of

# Of a mail that was tried over and over, the first and the last attempts are told.
_FIRST, _LAST = 3, 3


@dataclass(frozen=True, slots=True)
class Line:
    """`behind` is the moment of its cause: SES's clock may be behind ours, and no report comes before its mail."""

    at: datetime
    text: str
    behind: datetime | None = None

    @property
    def place(self) -> datetime:
        return self.at if self.behind is None else max(self.at, self.behind)


def tell(history: History, suppressions: Sequence[Suppression], ended: Sequence[Ended], now: datetime) -> list[Line]:
    """Oldest first; what happened at one moment stays in the order of cause."""
    lines = [
        *(line for mail in history.mails for line in _mail(mail)),
        *(Line(event.occurred_at, _elsewhere(event)) for event in history.events),
        *(line for one in ended for line in _past(one)),
        *(_beginning(entry, is_past=not entry.is_in_force(now)) for entry in suppressions),
        *(Line(act.at, _act(act)) for act in history.acts),
    ]
    return sorted(lines, key=lambda line: line.place)


def tell_waiting(waiting: Iterable[MailTo]) -> Iterator[str]:
    """What becomes of each mail that is not at its end."""
    for mail in waiting:
        why = f" ({mail.reason})" if mail.reason else ""
        yield f"Message {mail.message}: {_WAITS[mail.status](mail, why)} [{mail.status}]."


def _queued(mail: MailTo, why: str) -> str:
    due = "its turn" if mail.next_attempt_at is None else spoken_time(mail.next_attempt_at)
    return f"it is tried at {due}, or as soon as sending goes on{why}; it is given up at {spoken_time(mail.expires_at)}"


def _sending(_mail: MailTo, _why: str) -> str:
    return "it is being handed to SES at this moment"


def _ambiguous(mail: MailTo, why: str) -> str:
    return (
        f"SES may have it or may not, for a call ended without an answer{why}. It waits for a report of SES that"
        " settles this; where none comes although SES reports on later mail, it is sent again, or held for a person, as"
        f" SESGATE_AMBIGUOUS says. It is given up at {spoken_time(mail.expires_at)}"
    )


def _held(mail: MailTo, why: str) -> str:
    twice = ", which may make a second copy" if mail.reason.startswith(IN_DOUBT) else ""
    return (
        f"it is set aside for a person{why}. `sesgate messages retry {mail.message}` sends it again{twice};"
        f" `sesgate messages cancel {mail.message}` gives it up"
    )


_WAITS = {
    Status.QUEUED: _queued,
    Status.SENDING: _sending,
    Status.AMBIGUOUS: _ambiguous,
    Status.HELD: _held,
}


# Mails


def _mail(mail: MailTo) -> Iterator[Line]:
    subject = f'"{mail.subject}"' if mail.subject else "without a subject"
    who = f"from {mail.header_from or 'nobody'}, by the credential {mail.credential}, from {mail.client_address}"
    yield Line(mail.accepted_at, f"Accepted message {mail.message}, {subject}, {who}.")
    yield from _attempts(mail)
    begun_at = mail.attempts[0].started_at if mail.attempts else None
    delivered = any(event.kind is EventKind.DELIVERY for event in mail.events)
    yield from (Line(event.occurred_at, _event(event, delivered=delivered), begun_at) for event in mail.events)
    end = _ENDS.get(mail.status)
    if end is not None:
        why = f": {mail.reason}" if mail.reason else ""
        yield Line(mail.changed_at, f"Message {mail.message} {end}{why} [{mail.status}].")


_ENDS: Mapping[Status, str] = {
    Status.SUPPRESSED: "was not sent, because the address was suppressed when its turn came",
    Status.FAILED: "was given up, because it can never be sent",
    Status.EXPIRED: "was given up, because it had waited for too long",
    Status.CANCELLED: "was kept back or given up on purpose",
}


def _attempts(mail: MailTo) -> Iterator[Line]:
    attempts = mail.attempts
    folded = attempts[_FIRST:-_LAST]
    if len(folded) < 2:  # noqa: PLR2004  to leave out one would take as many lines
        folded = ()
    for attempt in attempts:
        if attempt not in folded:
            yield Line(attempt.started_at, _attempt(mail, attempt))
        elif attempt is folded[-1]:
            text = f"Message {mail.message} was tried {len(folded)} more times until then, with no better outcome."
            yield Line(attempt.started_at, text)


def _attempt(mail: MailTo, attempt: AttemptRecord) -> str:
    outcome = _OUTCOMES.get(attempt.outcome or "", "the outcome is not written down yet")
    id_ = attempt.ses_message_id
    detail = attempt.detail if attempt.detail != id_ else ""
    known = f" (SES message id {id_})" if id_ else ""
    return f"Message {mail.message} was handed to SES: {outcome}{known}{': ' if detail else ''}{detail}."


_OUTCOMES: Mapping[str, str] = {
    ACCEPTED: "SES took it",
    NOT_ACCEPTED: "SES did not take it this time",
    REFUSED: "SES refused it for good",
    AMBIGUOUS: "no answer came, so SES may have it or may not",
    UNKNOWN: "SES answered what is not known here, so it was set aside for a person",
}


# Reports


def _event(event: EventSeen, *, delivered: bool) -> str:
    """A report on mail to the address itself; whether that mail was delivered says what a soft bounce of it is."""
    elsewhere = event.reported_address
    forwarded = ""
    if elsewhere and event.sent_to and elsewhere.casefold() != event.sent_to.casefold():
        forwarded = f" It was reported for {elsewhere}, where the mail seems to have been forwarded to."
    return f"SES reports on message {event.message}: {_said(event, delivered=delivered)}.{forwarded}"


def _elsewhere(event: EventSeen) -> str:
    """A report for the address on mail that was not sent to it from here."""
    if event.sent_to is not None:
        return (
            f"SES reports for this address: {_said(event, whose=event.sent_to)}. The mail was message {event.message}"
            f" to {event.sent_to}, from where it seems to have been forwarded, and that is whom the report is held"
            " against."
        )
    whose = f"of which nothing is known here (SES message id {event.ses_message_id})"
    return f"SES reports for this address: {_said(event)}. It was on a mail {whose}: another system's, or an old one."


def _said(event: EventSeen, *, delivered: bool = False, whose: str = "the address") -> str:
    said = _EVENTS[event.kind] if event.kind in _EVENTS else _failure(event, delivered=delivered, whose=whose)
    types = "/".join(filter(None, (event.bounce_type, event.sub_type, event.complaint_type)))
    kind = " ".join(filter(None, (event.kind.value, types)))
    diagnostic = (event.diagnostic or "").rstrip(".")
    return f"{said} [{kind}]{f': {diagnostic}' if diagnostic else ''}"


def _failure(event: EventSeen, *, delivered: bool, whose: str) -> str:
    """What a bounce or a complaint says, and what follows for `whose` mail. SES echoes its lists as both."""
    special = _SUB_TYPES.get(event.sub_type or "")
    if special is not None:
        return special
    if event.kind is EventKind.COMPLAINT:
        return _COMPLAINTS.get((event.complaint_type or "").casefold(), "the recipient called it spam")
    if event.bounce_type is BounceType.PERMANENT:
        return f"it bounced for good, and {whose} is not mailed any more"
    counted = rule_of(event.kind, event.bounce_type, event.sub_type, event.complaint_type).strike
    if counted and delivered:
        return "after its delivery something came back, such as an out-of-office reply, which does not count"
    return "it bounced for a passing reason" + (f", which counts a little against {whose}" if counted else "")


_SUB_TYPES: Mapping[str, str] = {
    "NoEmail": "it bounced for good, for there is no such mailbox",
    "Suppressed": "SES did not try, for the address is on its list of those that bounced lately for any customer",
    "OnAccountSuppressionList": "SES did not try, for the address is on the suppression list of the AWS account",
    "OnTenantSuppressionList": "SES did not try, for the address is on the suppression list of the SES tenant",
    "EmailValidationSuppressed": "SES did not try, for it takes the address for a bad one",
    "UnsubscribedRecipient": "SES did not try, for the recipient has unsubscribed",
    "MailboxFull": "it bounced, for the mailbox is full",
    "MessageTooLarge": "it bounced, for it was too large for the other side",
    "ContentRejected": "it bounced, for the other side did not like its content",
    "AttachmentRejected": "it bounced, for the other side did not like an attachment",
    "CustomTimeoutExceeded": "it could not be delivered within the time that is set at SES",
}
_COMPLAINTS: Mapping[str, str] = {
    "not-spam": "the recipient said that it is no spam",
    "auth-failure": "the other side could not confirm who sent it (DKIM or SPF), which is no complaint of the reader",
    "fraud": "it was reported as fraud",
    "virus": "it was reported to carry a virus",
}
_EVENTS: Mapping[EventKind, str] = {
    EventKind.SEND: "it has taken the mail and is going to deliver it",
    EventKind.DELIVERY: "the recipient's mail server took it, be it into the inbox or among the spam",
    EventKind.REJECT: "it did not send the mail, for it found a virus",
    EventKind.DELIVERY_DELAY: "delivery takes longer, and it goes on trying",
    EventKind.OPEN: "the mail was opened",
    EventKind.CLICK: "a link in the mail was followed",
    EventKind.RENDERING_FAILURE: "it did not send the mail, for a template could not be filled in",
    EventKind.SUBSCRIPTION: "the recipient changed a subscription",
}


# Suppressions and acts


def _beginning(entry: Suppression, *, is_past: bool) -> Line:
    return Line(entry.created_at or entry.since, _begun(entry, is_past=is_past), entry.since)


def _begun(entry: Suppression, *, is_past: bool) -> str:
    who = f"Everybody at {entry.address.removeprefix('@')}" if entry.is_domain else entry.address
    whose = f" for mail of the credential {entry.scope}" if entry.scope else ""
    by = "" if not entry.actor else " by what SES reported" if entry.actor == SES else f" by {entry.actor}"
    end = "" if entry.expires_at is None else f", until {spoken_time(entry.expires_at)}"
    more = "; ".join(filter(None, (entry.detail, entry.note and f"note: {entry.note}")))
    was = "was suppressed" if is_past else "is suppressed since then"
    return (
        f"{who} {was}{whose}{by}{end}: {SUPPRESSED_FOR[entry.reason]} [{entry.reason}]{f' ({more})' if more else ''}."
    )


def _past(one: Ended) -> Iterator[Line]:
    entry = one.suppression
    yield _beginning(entry, is_past=True)
    whose = f" for mail of the credential {entry.scope}" if entry.scope else ""
    by = f" by {one.ended_by}" if one.ended_by else ""
    text = f"The suppression of {entry.address}{whose} [{entry.reason}] ended{by}: {one.ended_why}."
    yield Line(one.ended_at, text, entry.since)


def _act(act: Act) -> str:
    what = "ordered mail to be sent again" if act.action == "messages.retry" else "gave mail up"
    return f"{act.actor} {what}: {act.detail}."
