"""What a monitor can read about the gateway, and how it is written down for Prometheus."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True, slots=True, kw_only=True)
class Gauges:
    """What SQL knows at one moment.

    `recipients` is by status and `suppressions` by reason; the names are those that the database has.
    `oldest_due_age` is how many seconds the longest waiting of the recipients that are due has been due: 0 when none
    is, and never about retries that wait for their time. `messages` counts the messages that are still in the
    database; old ones leave it. `dispatcher_holder` is empty when no dispatcher holds the lease.
    """

    recipients: Mapping[str, int]
    oldest_due_age: float
    messages: int
    unprocessed_notifications: int
    suppressions: Mapping[str, int]
    dispatcher_holder: str
    dispatcher_epoch: int
    dispatcher_beat: int
    circuit_open: bool
    paused: bool
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
        yield _by_label("sesgate_recipients", "Recipients by status.", "status", gauges.recipients)
        yield _plain(
            "sesgate_oldest_due_age_seconds",
            "How long the longest waiting of the due recipients has been due.",
            gauges.oldest_due_age,
        )
        yield _plain("sesgate_messages", "Messages in the database.", gauges.messages)
        yield _plain(
            "sesgate_unprocessed_notifications",
            "Stored SNS notifications that are not understood yet.",
            gauges.unprocessed_notifications,
        )
        yield _by_label("sesgate_suppressions", "Suppressed addresses by reason.", "reason", gauges.suppressions)
        yield from _dispatcher(gauges)
        yield _plain("sesgate_circuit_open", "1 while sending is stopped because SES refuses it.", gauges.circuit_open)
        yield _plain("sesgate_paused", "1 while an operator has paused sending.", gauges.paused)
        yield _plain("sesgate_database_bytes", "Size of the database.", gauges.database_bytes)


def _dispatcher(gauges: Gauges) -> Iterator[Metric]:
    holder = InfoMetricFamily("sesgate_dispatcher", "The process that holds the dispatcher's lease.")
    holder.add_metric([], {"holder": gauges.dispatcher_holder})
    yield holder
    yield _plain(
        "sesgate_dispatcher_epoch", "How often the dispatcher's lease has changed hands.", gauges.dispatcher_epoch
    )
    # A counter, so that `rate()` copes with its start from 0 at each take-over. Standing still means: nothing is sent.
    beat = CounterMetricFamily("sesgate_dispatcher_beats", "Heartbeats of the active dispatcher in its epoch.")
    beat.add_metric([], gauges.dispatcher_beat)
    yield beat


def _plain(name: str, documentation: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, documentation, value=float(value))


def _by_label(name: str, documentation: str, label: str, counts: Mapping[str, int]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, documentation, labels=[label])
    for value, count in sorted(counts.items()):
        family.add_metric([value], count)
    return family
