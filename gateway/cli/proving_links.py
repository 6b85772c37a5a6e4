"""Why a link of the loop is missing, and what to do about it, as far as this machine can tell."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from gateway.cli.stops import spoken_stops
from gateway.lifecycle import Status
from gateway.proving import Link, Seen, Trial
from gateway.store.queue import Queue
from gateway.store.replays import Replays
from gateway.store.stores import Stores


@dataclass(frozen=True, slots=True)
class _Case:
    stores: Stores
    trial: Trial
    seen: Seen
    began_at: datetime


def diagnosis(stores: Stores, trial: Trial, seen: Seen, link: Link, began_at: datetime) -> str:
    """One or two sentences: what was seen at the link that did not hold, and what to do."""
    return _BY_LINK[link](_Case(stores, trial, seen, began_at))


def _door(case: _Case) -> str:
    reply = case.seen.reply
    if reply.startswith("250"):
        return (
            f"What listens there took the mail ({reply}), but not into the database that this command reads: is it"
            " another program, or a gateway with another SESGATE_DATABASE_URL or SESGATE_DATA_DIR?"
        )
    if reply[:3].isdecimal():
        return f"The gateway answered: {reply}"
    return f"There is no talking with the SMTP front ({reply}); is `sesgate smtp` or `sesgate up` running?"


def _sending(case: _Case) -> str:
    queue = Queue(case.stores.db)
    stops = spoken_stops(queue.stops())
    if stops:
        return " ".join(stops)
    if not queue.status().dispatcher.holder:
        return "No worker dispatches: start `celery -A tasks worker -P threads`, or see the worker's log."
    status, reason = case.seen.status, case.seen.reason
    if status is None or status is Status.QUEUED:
        why = f" ({reason})" if reason else ""
        return f"The mail still waits{why}; `sesgate queue status` and the worker's log tell more."
    return f"The mail is {status}: {reason or 'see the log of the workers'}."


def _report(case: _Case) -> str:
    status = Queue(case.stores.db).status()
    if status.unprocessed_notifications:
        return (
            f"{status.unprocessed_notifications} reports of SES are stored, but no worker has processed them:"
            " is one running?"
        )
    if _arrived_since(case):
        return (
            f"Reports arrived, but none of kind {case.trial.report}: does the event destination have every event,"
            " and does this configuration set publish to this topic? `sesgate doctor` looks."
        )
    return (
        "SES took the mail, and nothing was reported to the gateway: look at the configuration set, its event"
        " destination, the topic and the subscription; `sesgate doctor` looks at each."
    )


def _arrived_since(case: _Case) -> bool:
    newest = Replays(case.stores.db).list(limit=1)
    return bool(newest) and newest[0].received_at >= case.began_at


def _status(case: _Case) -> str:
    return f"The report arrived, but the mail is {case.seen.status} and not {case.trial.status} ({case.seen.reason})."


def _suppression(case: _Case) -> str:
    expected, found = case.trial.suppressed_for, case.seen.suppression
    if expected is None:
        return f"The address was suppressed ({found}) and should not be; `sesgate why` tells what did it."
    return f"The address should be suppressed ({expected}) and is {f'for {found}' if found else 'not'}."


def _refusal(case: _Case) -> str:
    return f"The suppressed recipient was not refused; the gateway answered: {case.seen.second_reply}"


_BY_LINK: dict[Link, Callable[[_Case], str]] = {
    Link.DOOR: _door,
    Link.SENDING: _sending,
    Link.REPORT: _report,
    Link.STATUS: _status,
    Link.SUPPRESSION: _suppression,
    Link.REFUSAL: _refusal,
}
