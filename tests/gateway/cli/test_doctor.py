"""What doctor says of this machine and its database, and how it is shown."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from types import SimpleNamespace

import pytest
import trustme

from gateway.cli import doctor
from gateway.cli import doctor_local as local
from gateway.cli import doctor_store as stored
from gateway.cli.doctor_screen import show, summary
from gateway.findings import Ledger, Level, failed, ok, skipped, warning
from gateway.setting_values import HostPort
from gateway.settings import Settings
from gateway.store.control import Lease
from gateway.store.depth import Circuit
from gateway.store.queue import Pause, Stops
from gateway.store.silence import Hearing, Quiet
from tests.support.ports import free_port

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
OK, WARNING, FAILED, SKIPPED = Level.OK, Level.WARNING, Level.FAILED, Level.SKIPPED


@pytest.mark.parametrize(
    ("networks", "level"),
    [
        (["127.0.0.0/8", "::1/128"], OK),
        (["10.0.0.0/8", "fd00::/8", "192.168.1.7/32"], OK),
        ([], OK),
        (["0.0.0.0/0"], WARNING),
        (["::/0"], WARNING),
        (["10.0.0.0/7"], WARNING),
        (["8.8.8.0/24"], WARNING),
        (["2600::/32"], WARNING),
    ],
)
def test_a_public_or_very_wide_network_is_a_warning(networks, level):
    finding = local.judge_networks([ip_network(one) for one in networks])
    assert finding.level is level


@pytest.mark.parametrize(
    ("free", "is_writable", "level"),
    [(10 * 1024**3, True, OK), (10 * 1024**3, False, FAILED), (300 * 1024**2, True, WARNING), (1024, True, FAILED)],
)
def test_disk(tmp_path, free, is_writable, level):
    assert local.judge_disk(Settings(data_dir=tmp_path), free, is_writable=is_writable).level is level


@pytest.mark.parametrize(("days", "level"), [(90, OK), (22, OK), (20, WARNING), (0.5, WARNING), (-1, FAILED)])
def test_a_certificate_is_a_warning_three_weeks_before_it_ends(days, level):
    assert local.judge_expiry(NOW + timedelta(days=days), NOW).level is level


def certificate(directory, expires=None):
    made = trustme.CA().issue_cert("mail.example.com", not_after=expires)
    made.cert_chain_pems[0].write_to_path(directory / "cert.pem")
    made.private_key_pem.write_to_path(directory / "key.pem")
    return {"tls_cert_file": directory / "cert.pem", "tls_key_file": directory / "key.pem"}


def looked_at_certificate(**fields):
    ledger = Ledger()
    local.look_at_certificate(ledger, Settings(**fields), datetime.now(UTC))
    return ledger.findings[0]


def test_the_certificate_is_read_with_its_key(tmp_path):
    files = certificate(tmp_path)
    assert looked_at_certificate(**files).level is OK
    other = trustme.CA().issue_cert("mail.example.com")
    other.private_key_pem.write_to_path(tmp_path / "key.pem")
    finding = looked_at_certificate(**files)
    assert finding.level is FAILED
    assert "is not the key of the certificate" in finding.seen
    assert looked_at_certificate().level is OK


def test_a_certificate_that_has_expired_is_named(tmp_path):
    finding = looked_at_certificate(**certificate(tmp_path, datetime.now(UTC) - timedelta(days=1)))
    assert finding.level is FAILED
    assert "expired" in finding.seen


@pytest.mark.parametrize(
    ("alive", "ready", "reads_queue", "database", "level"),
    [
        (True, True, False, True, OK),
        (False, False, False, True, FAILED),
        (False, False, True, True, SKIPPED),
        (True, False, False, True, FAILED),
        (True, False, False, False, SKIPPED),
    ],
)
def test_webhook(alive, ready, reads_queue, database, level):
    settings = Settings(feedback_queue_url="https://sqs.eu-west-1.amazonaws.com/1/q" if reads_queue else None)
    finding = local.judge_webhook(settings, alive, ready, database=database)
    assert finding.level is level


def test_a_webhook_on_which_nothing_listens_is_neither_alive_nor_ready():
    assert local.ask_webhook(HostPort("127.0.0.1", free_port())) == (False, False)


@pytest.mark.parametrize(
    ("nodes", "dispatches", "level"),
    [(["worker1@a"], True, OK), ([], True, WARNING), ([], False, SKIPPED)],
)
def test_workers(nodes, dispatches, level):
    assert local.judge_workers(nodes, dispatches=dispatches).level is level


def test_without_a_broker_somebody_is_told_and_nothing_fails(tmp_path):
    ledger = Ledger()
    local.look_at_broker(ledger, Settings(data_dir=tmp_path), dispatches=True)
    assert [finding.level for finding in ledger.findings] == [WARNING, SKIPPED]


# The database


class Beating:
    """A lease whose holder moves, or does not."""

    def __init__(self, *leases):
        self.leases = list(leases)

    def read_lease(self):
        return self.leases.pop(0) if len(self.leases) > 1 else self.leases[0]


def dispatcher(*leases):
    now = [0.0]

    def sleep(seconds):
        now[0] += seconds

    return stored.look_at_dispatcher(Beating(*leases), 5.0, clock=lambda: now[0], sleep=sleep)


@pytest.mark.parametrize(
    ("leases", "level", "word"),
    [
        ([Lease("a", 1, 7), Lease("a", 1, 7), Lease("a", 1, 8)], OK, "a works"),
        ([Lease("a", 1, 7), Lease("b", 2, 0)], OK, "b works"),
        ([Lease("a", 1, 7)], FAILED, "a has not moved for 5 s"),
        ([Lease("", 1, 7)], FAILED, "no worker dispatches"),
        ([Lease("a", 1, 7), Lease("", 1, 8)], FAILED, "no worker dispatches"),
    ],
)
def test_the_dispatcher_is_known_by_its_moving(leases, level, word):
    finding = dispatcher(*leases)
    assert finding.level is level
    assert word in finding.seen


@pytest.mark.parametrize(("seconds", "level"), [(0.0, OK), (-0.9, OK), (1.5, WARNING), (-4.0, WARNING), (6.0, FAILED)])
def test_the_clock_of_the_database(seconds, level):
    assert stored.judge_database_clock(seconds).level is level


NOTHING = Stops(pause=None, circuit=None, guard=None, held={})


@pytest.mark.parametrize(
    ("stops", "fields", "word"),
    [
        (Stops(Pause("a move", NOW, "jane"), None, None, {}), {}, "by jane, a move"),
        (Stops(None, Circuit("quota", "Daily message quota exceeded.", NOW, NOW), None, {}), {}, "quota of 24 hours"),
        (Stops(None, None, None, {"shop": "bounces"}), {}, "shop stays held (bounces)"),
        (NOTHING, {"capture_only": True}, "SESGATE_CAPTURE_ONLY is on"),
    ],
)
def test_what_stops_sending_is_a_warning_with_who_and_why(stops, fields, word):
    finding = stored.judge_sending(stops, Settings(**fields))
    assert finding.level is WARNING
    assert word in finding.seen


def test_when_nothing_stops_sending_that_is_said():
    assert stored.judge_sending(NOTHING, Settings()).level is OK


@pytest.mark.parametrize(
    ("fact", "level"),
    [(None, FAILED), ({"reading": True}, OK), ({"reading": False, "reason": "denied"}, FAILED), ({}, FAILED)],
)
def test_reader_of_the_queue(fact, level):
    assert stored.judge_reader(fact).level is level


def test_silence_of_ses_is_a_failure():
    quiet = Quiet(None, NOW - timedelta(hours=2), has_ever=False)
    finding = stored.judge_reports(Hearing(None, (quiet,), promised=True), NOW)
    assert finding.level is FAILED
    assert finding.seen == "SES took mail 2 h ago, and no report has ever come"
    assert "sesgate prove" in finding.fix
    assert stored.judge_reports(Hearing(None, (), promised=True), NOW).level is OK
    assert "2 h ago" in stored.judge_reports(Hearing(NOW - timedelta(hours=2), (), promised=True), NOW).seen


def record(kind, *, hours=1.0, topic="", reason="It is old."):
    return {kind: {"at": (NOW - timedelta(hours=hours)).isoformat(), "topic": topic, "reason": reason}}


@pytest.mark.parametrize(
    ("heard", "level", "word"),
    [
        ({}, OK, "none"),
        ({"webhook": record("notification")}, OK, "none"),
        ({"webhook": record("refused")}, WARNING, "It is old."),
        ({"webhook": record("refused", topic="arn:aws:sns:x")}, WARNING, "of arn:aws:sns:x"),
        ({"queue": record("later", reason="")}, WARNING, "later"),
        ({"webhook": record("refused", hours=30)}, OK, "none since"),
        ({"webhook": record("refused", hours=5), "queue": record("refused", reason="The newer.")}, WARNING, "newer"),
        ({"webhook": "nonsense"}, OK, "none"),
    ],
)
def test_what_was_refused_lately_is_a_warning(heard, level, word):
    finding = stored.judge_refusals(heard, NOW)
    assert finding.level is level
    assert word in finding.seen


def test_reports_that_were_not_understood_are_a_warning():
    status = SimpleNamespace(notifications_not_understood=2, unprocessed_notifications=0)
    assert stored.judge_understanding(status).level is WARNING


# The command

SOME = [ok("a", "fine"), warning("b", "odd\x1b[31m", "mend it"), skipped("c", "needs d"), failed("d", "no", "do that")]


def test_a_line_for_each_with_the_fix_below_and_no_colour_in_a_pipe(capsys):
    show(SOME)
    assert capsys.readouterr().out.splitlines() == [
        "ok       a: fine",
        "warning  b: odd [31m",
        "         -> mend it",
        "skipped  c: needs d",
        "FAILED   d: no",
        "         -> do that",
        "",
        "Broken: d (1 ok, 1 warning, 1 skipped).",
    ]


def test_when_nothing_is_broken_that_is_said():
    assert summary(SOME[:3]) == "Nothing is broken (1 ok, 1 warning, 1 skipped)."


def test_a_setting_that_is_wrong_is_a_finding_and_ends_it(sesgate):
    result = sesgate("doctor", "--json", SESGATE_LISTENERS="nowhere")
    assert result.exit_code == 1
    (finding,) = json.loads(result.stdout)
    assert (finding["check"], finding["level"]) == ("settings", "failed")
    assert "SESGATE_LISTENERS" in finding["seen"]


def test_a_look_that_breaks_off_is_a_finding_and_not_a_traceback():
    ledger = Ledger()
    doctor._guarded(ledger, "AWS", lambda: {}["Account"])
    (finding,) = ledger.findings
    assert finding.level is FAILED
    assert finding.seen == "it broke off: KeyError: 'Account'"


def test_what_is_typed_wrong_is_bad_usage(sesgate):
    assert sesgate("doctor", "--jason").exit_code == 2


def test_what_a_store_logs_does_not_get_into_the_report(sesgate, stores, monkeypatch):
    monkeypatch.setattr(type(stores.db), "clock_skew", lambda _db: 9.0)
    result = sesgate("doctor", "--json", **AWAY)
    assert json.loads(result.stdout)


AWAY = {
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_ENDPOINT_URL": f"http://127.0.0.1:{free_port()}",
    "AWS_CONFIG_FILE": "/dev/null",
    "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
    "SESGATE_LISTENERS": f"127.0.0.1:{free_port()}",
    "SESGATE_WEBHOOK_LISTEN": f"127.0.0.1:{free_port()}",
    "SESGATE_DISPATCHER_LEASE": "1s",
}


def test_on_a_fresh_machine_nothing_runs_and_each_thing_says_how_to_start_it(sesgate):
    result = sesgate(
        "doctor",
        "--json",
        **AWAY,
        SESGATE_DATABASE_URL="postgresql://gateway:s3cret@127.0.0.1:1/none",
    )
    assert result.exit_code == 1
    assert "s3cret" not in result.output
    found = {finding["check"]: finding for finding in json.loads(result.stdout)}
    assert found["database"]["level"] == "failed"
    assert found["dispatcher"]["seen"] == "needs database"
    assert "sesgate up" in found["webhook"]["fix"]
    assert found["credentials"]["level"] == "failed"
