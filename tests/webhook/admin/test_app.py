from __future__ import annotations

import dataclasses

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway.metrics import Gauges
from gateway.store.errors import StoreUnavailableError
from tests.support.gauges import GAUGES
from tests.support.stores import sqlite_stores
from webhook.admin.app import create_app


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
        ("sesgate_recipients", "HELD"): 0,
        ("sesgate_oldest_waiting_age_seconds",): 60,
        ("sesgate_oldest_due_age_seconds",): 1.5,
        ("sesgate_oldest_ambiguous_age_seconds",): 30,
        ("sesgate_outcomes_total", "SENT"): 5,
        ("sesgate_outcomes_total", "FAILED"): 1,
        ("sesgate_attempts_total", "accepted"): 5,
        ("sesgate_ses_errors_total", "message"): 1,
        ("sesgate_rate",): 13.3,
        ("sesgate_rate_factor",): 0.95,
        ("sesgate_account_rate",): 14,
        ("sesgate_account_quota",): 50_000,
        ("sesgate_account_quota_used",): 7,
        ("sesgate_circuit_open", "account"): 0,
        ("sesgate_circuit_open", "quota"): 1,
        ("sesgate_paused",): 0,
        ("sesgate_capturing", "everything"): 0,
        ("sesgate_capturing", "outside"): 1,
        ("sesgate_credential_held", "shop"): 1,
        ("sesgate_credential_held", "local"): 0,
        ("sesgate_credential_sends", "shop", "day"): 1000,
        ("sesgate_credential_bounces", "shop", "day"): 50,
        ("sesgate_credential_complaints", "shop", "day"): 1,
        ("sesgate_overall_sends", "last_thousand"): 1000,
        ("sesgate_overall_bounces", "last_thousand"): 60,
        ("sesgate_overall_complaints", "last_thousand"): 2,
        ("sesgate_reports_silent",): 1,
        ("sesgate_feedback_silent",): 0,
        ("sesgate_feedback_last_event_age_seconds",): 2.5,
        ("sesgate_unprocessed_notifications",): 3,
        ("sesgate_notifications_not_understood",): 1,
        ("sesgate_suppressions", "bounce"): 4,
        ("sesgate_dispatcher_info", 'host "a"\n1'): 1,
        ("sesgate_dispatcher_epoch",): 2,
        ("sesgate_dispatcher_beats_total",): 99,
        ("sesgate_dispatcher_beat_age_seconds",): 0.5,
        ("sesgate_database_bytes",): 8192,
    }


def test_what_is_not_known_is_left_out():
    gauges = dataclasses.replace(GAUGES, rate=None, account=None)
    names = {name for name, *_ in samples(client(Reports(gauges)).get("/metrics"))}
    assert not names & {"sesgate_rate", "sesgate_rate_factor", "sesgate_account_rate", "sesgate_account_quota"}


def test_every_metric_says_what_it_is():
    families = list(text_string_to_metric_families(client().get("/metrics").text))
    assert all(len(family.documentation) > 10 and family.type != "unknown" for family in families)


def test_metrics_come_from_the_real_store(tmp_path):
    stores = sqlite_stores(tmp_path)
    try:
        assert samples(client(stores.reports).get("/metrics"))[("sesgate_recipients", "QUEUED")] == 0
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
