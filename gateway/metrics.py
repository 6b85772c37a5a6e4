"""What a monitor can read about the gateway, and how it is written down for Prometheus."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

# Why a circuit can be open; each is a series of its own that is 0 or 1.
_CIRCUITS = ("account", "quota")
_CAPTURED = ("everything", "outside")


@dataclass(frozen=True, slots=True)
class Window:
    """What SES took in a window, and how much of it bounced for good or was complained of; `credential` None is all."""

    credential: str | None
    name: str
    sends: int
    bounces: int
    complaints: int


@dataclass(frozen=True, slots=True)
class Waiting:
    """Recipients that SES does not surely have, by status, and ages in seconds: 0 when there is nothing to have one."""

    recipients: Mapping[str, int]
    oldest_age: float
    oldest_due_age: float
    oldest_ambiguous_age: float


@dataclass(frozen=True, slots=True)
class Counts:
    """What only grows, also when the rows that were counted are gone: by status reached, by outcome, by class."""

    outcomes: Mapping[str, int]
    attempts: Mapping[str, int]
    ses_errors: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Rate:
    """Recipients a second, and the part of the account's rate that SES's throttling leaves of it."""

    rate: float
    factor: float


@dataclass(frozen=True, slots=True)
class AccountLimits:
    """What SES grants: recipients a second, and in 24 hours (-1: no limit), and how many of these are used."""

    rate: float
    quota: float
    quota_used: float


@dataclass(frozen=True, slots=True)
class Stops:
    """What keeps mail back: the kind of the open circuit, a pause, for each credential whether it is held, and what
    the staging guard keeps (`everything`, or what goes `outside`).
    """

    circuit: str | None
    paused: bool
    held_credentials: Mapping[str, bool]
    captured: str | None = None


@dataclass(frozen=True, slots=True)
class Inbox:
    """What SES reports.

    `feedback_silent`: mail was taken, and no report came for longer than is allowed (SESGATE_FEEDBACK_SILENCE).
    `evidence_silent` is told of mail in doubt alone: some waits for a report, and none came on what was sent after it.
    `last_event_age` is in seconds, infinite before the first report.
    """

    evidence_silent: bool
    feedback_silent: bool
    last_event_age: float
    unprocessed: int
    not_understood: int
    suppressions: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Dispatching:
    """The holder of the lease, empty when nobody has it. `beat_age` is in seconds, infinite before the first beat."""

    holder: str
    epoch: int
    beat: int
    beat_age: float


@dataclass(frozen=True, slots=True)
class Gauges:
    """What SQL knows at one moment. What is None is not known, and left out."""

    waiting: Waiting
    counts: Counts
    rate: Rate | None
    account: AccountLimits | None
    stops: Stops
    windows: tuple[Window, ...]
    inbox: Inbox
    dispatching: Dispatching
    database_bytes: int


def exposition(gauges: Gauges) -> bytes:
    """The metrics in Prometheus's text format, with nothing of this process among them.

    Every process answers alike, since all of it comes from SQL; the registry lives for this call only.
    """
    registry = CollectorRegistry()
    registry.register(_Once(gauges))
    return generate_latest(registry)


class _Once(Collector):
    def __init__(self, gauges: Gauges) -> None:
        self._gauges = gauges

    def describe(self) -> Iterator[Metric]:
        """Nothing: registering must not collect."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        gauges = self._gauges
        yield from _waiting(gauges.waiting)
        yield from _counts(gauges.counts)
        yield from _rate(gauges.rate)
        yield from _account(gauges.account)
        yield from _stops(gauges.stops)
        yield from _all_windows(gauges.windows)
        yield from _inbox(gauges.inbox)
        yield from _dispatching(gauges.dispatching)
        yield _plain("sesgate_database_bytes", "Size of the database.", gauges.database_bytes)


def _waiting(waiting: Waiting) -> Iterator[Metric]:
    yield _by_label(
        "sesgate_recipients", "Recipients that SES does not surely have, by status.", "status", waiting.recipients
    )
    yield _plain(
        "sesgate_oldest_waiting_age_seconds",
        "How long ago the mail was accepted that has waited longest and is not at SES.",
        waiting.oldest_age,
    )
    yield _plain(
        "sesgate_oldest_due_age_seconds",
        "How long the longest waiting of the due recipients has been due; retries that wait for their time are not.",
        waiting.oldest_due_age,
    )
    yield _plain(
        "sesgate_oldest_ambiguous_age_seconds",
        "How long the oldest AMBIGUOUS recipient has waited for evidence.",
        waiting.oldest_ambiguous_age,
    )


def _counts(counts: Counts) -> Iterator[Metric]:
    yield _counter("sesgate_outcomes", "Times that a recipient reached a status.", "status", counts.outcomes)
    yield _counter("sesgate_attempts", "Calls to SES by their outcome.", "outcome", counts.attempts)
    yield _counter("sesgate_ses_errors", "Calls to SES that failed, by class of error.", "class", counts.ses_errors)


def _rate(rate: Rate | None) -> Iterator[Metric]:
    if rate is not None:
        yield _plain("sesgate_rate", "Recipients a second that are sent at most, now.", rate.rate)
        yield _plain("sesgate_rate_factor", "The part of the rate that SES's throttling leaves, of 1.", rate.factor)


def _account(account: AccountLimits | None) -> Iterator[Metric]:
    if account is None:
        return
    yield _plain("sesgate_account_rate", "Recipients a second that the SES account may send.", account.rate)
    yield _plain(
        "sesgate_account_quota", "Recipients that the SES account may send in 24 hours; -1: no limit.", account.quota
    )
    yield _plain(
        "sesgate_account_quota_used", "Recipients that the SES account sent in the last 24 hours.", account.quota_used
    )


def _stops(stops: Stops) -> Iterator[Metric]:
    kinds = dict.fromkeys((*_CIRCUITS, stops.circuit or _CIRCUITS[0]))
    yield _by_label(
        "sesgate_circuit_open",
        "1 while sending is stopped because SES refuses all of it: the account, or its quota of 24 hours.",
        "kind",
        {kind: int(stops.circuit == kind) for kind in kinds},
    )
    yield _plain("sesgate_paused", "1 while an operator has paused sending.", stops.paused)
    yield _by_label(
        "sesgate_capturing",
        "1 while the staging guard keeps mail and does not send it: all, or what goes outside its list.",
        "kind",
        {kind: int(stops.captured == kind) for kind in _CAPTURED},
    )
    yield _by_label(
        "sesgate_credential_held",
        "1 while nothing of a credential is sent, because of its rates or by hand.",
        "credential",
        {name: int(held) for name, held in stops.held_credentials.items()},
    )


def _all_windows(windows: Iterable[Window]) -> Iterator[Metric]:
    own = [window for window in windows if window.credential is not None]
    total = [window for window in windows if window.credential is None]
    yield from _windows("sesgate_credential", " of a credential", ("credential", "window"), own)
    yield from _windows("sesgate_overall", " of all credentials", ("window",), total)


def _windows(prefix: str, whose: str, labels: tuple[str, ...], windows: Iterable[Window]) -> Iterator[Metric]:
    sends = GaugeMetricFamily(f"{prefix}_sends", f"Recipients{whose} that SES took in a window.", labels=labels)
    bounces = GaugeMetricFamily(f"{prefix}_bounces", f"Those{whose} in a window that bounced for good.", labels=labels)
    complaints = GaugeMetricFamily(
        f"{prefix}_complaints", f"Those{whose} in a window that were complained of.", labels=labels
    )
    for window in windows:
        values = [value for value in (window.credential, window.name) if value is not None]
        sends.add_metric(values, window.sends)
        bounces.add_metric(values, window.bounces)
        complaints.add_metric(values, window.complaints)
    yield from (sends, bounces, complaints)


def _inbox(inbox: Inbox) -> Iterator[Metric]:
    yield _plain(
        "sesgate_reports_silent",
        "1 while mail in doubt waits for a report and SES reports nothing on what it took later.",
        inbox.evidence_silent,
    )
    yield _plain(
        "sesgate_feedback_silent",
        "1 while SES has taken mail and reported nothing for longer than SESGATE_FEEDBACK_SILENCE.",
        inbox.feedback_silent,
    )
    yield _plain(
        "sesgate_feedback_last_event_age_seconds",
        "How long ago the last report of SES was stored; infinite before the first.",
        inbox.last_event_age,
    )
    yield _plain(
        "sesgate_unprocessed_notifications",
        "Stored SNS notifications that are still to be understood.",
        inbox.unprocessed,
    )
    yield _plain(
        "sesgate_notifications_not_understood",
        "Stored SNS notifications that are of an unknown kind.",
        inbox.not_understood,
    )
    yield _by_label("sesgate_suppressions", "Suppressed addresses by reason.", "reason", inbox.suppressions)


def _dispatching(dispatching: Dispatching) -> Iterator[Metric]:
    holder = InfoMetricFamily("sesgate_dispatcher", "The process that holds the dispatcher's lease.")
    holder.add_metric([], {"holder": dispatching.holder})
    yield holder
    yield _plain("sesgate_dispatcher_epoch", "How often the dispatcher's lease has changed hands.", dispatching.epoch)
    # A counter, so that `rate()` copes with its start from 0 at each take-over. Standing still means: nothing is sent.
    beat = CounterMetricFamily("sesgate_dispatcher_beats", "Heartbeats of the active dispatcher in its epoch.")
    beat.add_metric([], dispatching.beat)
    yield beat
    yield _plain("sesgate_dispatcher_beat_age_seconds", "How long ago the last heartbeat was.", dispatching.beat_age)


def _plain(name: str, documentation: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, documentation, value=float(value))


def _by_label(name: str, documentation: str, label: str, counts: Mapping[str, int]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, documentation, labels=[label])
    for value, count in sorted(counts.items()):
        family.add_metric([value], count)
    return family


def _counter(name: str, documentation: str, label: str, counts: Mapping[str, int]) -> CounterMetricFamily:
    family = CounterMetricFamily(name, documentation, labels=[label])
    for value, count in sorted(counts.items()):
        family.add_metric([value], count)
    return family
