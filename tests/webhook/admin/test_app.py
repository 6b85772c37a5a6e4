from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway.metrics import Gauges
from gateway.store.errors import StoreUnavailableError
from tests.support.stores import sqlite_stores
from webhook.admin.app import create_app

GAUGES = Gauges(
    recipients={"QUEUED": 2, "SENT": 5},
    oldest_due_age=1.5,
    messages=7,
    unprocessed_notifications=3,
    suppressions={"bounce": 4},
    dispatcher_holder='host "a"\n1',
    dispatcher_epoch=2,
    dispatcher_beat=99,
    circuit_open=True,
    paused=False,
    database_bytes=8192,
)


class Reports:
    def __init__(self, outcome=GAUGES) -> None:
        self.outcome = outcome

    def gauges(self) -> Gauges:
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


def client(reports=None, listen_host="127.0.0.1"):
    return create_app(reports=reports or Reports(), listen_host=listen_host).test_client()


def samples(response):
    families = text_string_to_metric_families(response.text)
    return {(sample.name, *sample.labels.values()): sample.value for family in families for sample in family.samples}


def test_metrics_are_what_sql_knows():
    response = client().get("/metrics")
    assert response.content_type.startswith("text/plain; version=0.0.4")
    assert samples(response) == {
        ("sesgate_recipients", "QUEUED"): 2,
        ("sesgate_recipients", "SENT"): 5,
        ("sesgate_oldest_due_age_seconds",): 1.5,
        ("sesgate_messages",): 7,
        ("sesgate_unprocessed_notifications",): 3,
        ("sesgate_suppressions", "bounce"): 4,
        ("sesgate_dispatcher_info", 'host "a"\n1'): 1,
        ("sesgate_dispatcher_epoch",): 2,
        ("sesgate_dispatcher_beats_total",): 99,
        ("sesgate_circuit_open",): 1,
        ("sesgate_paused",): 0,
        ("sesgate_database_bytes",): 8192,
    }


def test_metrics_come_from_the_real_store(tmp_path):
    stores = sqlite_stores(tmp_path)
    try:
        assert samples(client(stores.reports).get("/metrics"))[("sesgate_messages",)] == 0
    finally:
        stores.close()


def test_without_a_database_there_are_no_metrics_but_a_reason():
    response = client(Reports(StoreUnavailableError("the disk is gone"))).get("/metrics")
    assert (response.status_code, response.json["status"]) == (503, "later")
    assert client(Reports(StoreUnavailableError("the disk is gone"))).get("/healthz").status_code == 200


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST:8025", "127.0.0.1:8025", "127.8.8.8", "[::1]:8025", "192.0.2.7:8025", "metrics.lan:1"],
)
def test_the_hosts_that_a_person_or_a_monitor_types_are_answered(host):
    for path in ("/metrics", "/healthz"):
        assert client(listen_host="metrics.lan").get(path, headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8025",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "[evil]:1",
        "",
        "2130706433",
    ],
)
def test_a_name_that_somebody_pointed_here_is_not(host):
    for path in ("/metrics", "/healthz", "/nothing"):
        response = client().get(path, headers={"Host": host})
        assert (response.status_code, response.json["status"]) == (403, "refused")


def test_only_reading_is_possible():
    assert client().post("/metrics").status_code == 405
    assert client().get("/sns").status_code == 404
