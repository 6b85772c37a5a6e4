from __future__ import annotations

import json
from datetime import timedelta

import pytest

from gateway.cli.queue_screen import spoken_rates
from gateway.feedback import EventKind
from gateway.reputation import Limits, Rates
from gateway.store.control import ACCOUNT, CIRCUIT, GUARD, PACE
from gateway.store.queue import Queue
from tests.gateway.store.test_notifications import apply, feedback
from tests.support.mail import accept, begun, change, lease_of


@pytest.fixture
def restored(stores):
    """A database that came from a backup, with one recipient from before it."""
    accept(stores, "a@example.com")
    return Queue(stores.db).pause_restored(None, actor="jane")


def value_of(name, result):
    (line,) = (line for line in result.stdout.splitlines() if line.startswith(f"{name}  "))
    return line.removeprefix(name).strip()


def test_the_status_is_read_by_people_and_by_scripts(sesgate, stores):
    accept(stores, "a@example.com", "b@example.com")
    shown = sesgate("queue", "status")
    assert shown.exit_code == 0
    assert value_of("sending", shown) == "goes on"
    assert value_of("waiting", shown).startswith("2 QUEUED; the oldest was accepted ")
    assert value_of("due now", shown).startswith("2 recipients, the first since ")
    assert value_of("dispatcher", shown) == "none is active; is a worker running?"
    assert "GetAccount did not answer yet, and until then it is 1 a second" in value_of("rate", shown)
    assert "local\t2\tnothing sent\tnothing sent\tsends" in shown.stdout.splitlines()
    assert "AWS reviews an account at 5% bounces or 0.1% complaints." in shown.stdout
    assert "Mail to the mailbox simulator of SES counts nowhere" in shown.stdout
    assert "over 4% or 0.08%" in shown.stdout
    assert "\x1b" not in shown.stdout
    found = json.loads(sesgate("queue", "status", "--json").stdout)
    assert (found["due"], found["pause"], found["recipients"]["QUEUED"]) == (2, None, 2)
    assert found["credentials"][0]["credential"] == "local"
    assert found["together"]["day"]["bounce_rate"] is None
    assert found["ambiguous"] == {"waiting": 0, "oldest_at": None, "channel": "unknown"}
    assert found["concerns"] == ["no dispatcher has ever worked"]


def test_the_status_tells_rate_quota_and_circuit(sesgate, stores):
    stores.control.put(PACE, {"rate": 6.65, "factor": 0.5})
    stores.control.put(ACCOUNT, {"max_send_rate": 14.0, "max_24_hour_send": 50_000.0, "sent_last_24_hours": 49_000.0})
    stores.control.put(
        CIRCUIT, {"kind": "quota", "reason": "SES answered: quota exceeded"}, lasting=timedelta(minutes=9)
    )
    shown = sesgate("queue", "status")
    assert value_of("rate", shown) == (
        "6.65 recipients a second, slowed down to 50% by SES's throttling; the account's is 14"
    )
    assert value_of("quota", shown).startswith("49,000 of 50,000 used in 24 hours, 1,000 left (")
    sending = value_of("sending", shown)
    assert "the quota of 24 hours is used up: SES answered: quota exceeded; one mail tries in " in sending


def test_the_status_tells_what_is_held_and_what_is_in_doubt(sesgate, stores):
    doubtful, held = accept(stores, "a@example.com", "b@example.com")
    stores.sending.ambiguous(begun(stores, doubtful), "time-out")
    stores.sending.parked(begun(stores, held), "SES answered: teapot")
    stores.reputation.hold("local", "45 of 1000 bounced", actor="the dispatcher")
    shown = sesgate("queue", "status")
    assert "1 recipient AMBIGUOUS, the first since " in value_of("in doubt", shown)
    assert "nothing was sent later that could show whether reports arrive" in value_of("in doubt", shown)
    assert any(line.startswith("SES answered: teapot\t1\t") for line in shown.stdout.splitlines())
    assert "by the dispatcher: 45 of 1000 bounced" in shown.stdout
    assert value_of("for a person", shown).startswith("local is held (45 of 1000 bounced); 1 recipient held; ")


def beat(stores):
    stores.control.beat(lease_of(stores))


def test_a_monitor_reads_one_line_and_an_exit_code(sesgate, stores):
    beat(stores)
    well = sesgate("queue", "status", "--check")
    assert (well.exit_code, well.stdout) == (0, "Nothing needs a person.\n")
    sesgate("queue", "pause", "--reason", "new templates")
    ill = sesgate("queue", "status", "--check")
    assert (ill.exit_code, ill.stdout) == (1, "sending is paused (new templates)\n")
    found = sesgate("queue", "status", "--check", "--json")
    assert (found.exit_code, json.loads(found.stdout)["concerns"]) == (1, ["sending is paused (new templates)"])


def taken(stores, address="a@example.com"):
    """SES took a mail an hour ago."""
    (id_,) = accept(stores, address)
    claim = begun(stores, id_)
    stores.sending.accepted(claim, f"ses-{id_}")
    change(stores, "UPDATE attempts SET started_at = started_at - 3600000000")
    return claim.attempt_id


def test_an_installation_without_reports_needs_a_person(sesgate, stores):
    beat(stores)
    assert value_of("last report", sesgate("queue", "status")) == "none has ever come"
    attempt_id = taken(stores)
    ill = sesgate("queue", "status", "--check")
    assert ill.exit_code == 1
    assert ill.stdout.startswith("SES took mail 60 min ago, and no report has ever come (does the configuration set ")
    assert "no report has ever come" in value_of("last report", sesgate("queue", "status"))
    found = json.loads(sesgate("queue", "status", "--json").stdout)
    assert (found["reports"]["silent"], found["reports"]["last_report_at"]) == (True, None)
    apply(stores, feedback(EventKind.SEND, attempt_id))
    assert sesgate("queue", "status", "--check").exit_code == 0
    assert value_of("last report", sesgate("queue", "status")).endswith(" s ago")


def test_reports_that_come_no_more_need_a_person(sesgate, stores):
    beat(stores)
    apply(stores, feedback(EventKind.SEND, taken(stores)))
    change(stores, "UPDATE events SET stored_at = stored_at - 7200000000")
    taken(stores, "b@example.com")
    ill = sesgate("queue", "status", "--check")
    assert "SES took mail 60 min ago and has reported nothing since (look at the event destination" in ill.stdout


def test_silence_is_no_alarm_where_no_report_need_come(sesgate, stores):
    beat(stores)
    taken(stores)
    calm = sesgate("queue", "status", "--check", SESGATE_FEEDBACK="identity")
    assert (calm.exit_code, calm.stdout) == (0, "Nothing needs a person.\n")
    shown = sesgate("queue", "status", SESGATE_FEEDBACK="identity")
    assert value_of("last report", shown).endswith("so silence is no alarm")


def test_what_stands_still_needs_a_person(sesgate, stores):
    beat(stores)
    accept(stores)
    change(stores, "UPDATE recipients SET next_attempt_at = next_attempt_at - 660000000")
    change(stores, "UPDATE control SET changed_at = changed_at - 40000000")
    ill = sesgate("queue", "status", "--check")
    assert ill.exit_code == 1
    assert "the first of 1 recipient has been due for 11 min; no dispatcher has worked for " in ill.stdout


@pytest.mark.parametrize(
    ("rates", "said"),
    [
        (Rates(0, 0, 0), "nothing sent"),
        (Rates(999, 50, 1), "999 sent (too few to judge), 50 bounced, 1 complained"),
        (Rates(1000, 45, 1), "1,000 sent, 4.5% bounced, 0.1% complained"),
    ],
)
def test_rates_are_told_only_of_enough_sends(rates, said):
    assert spoken_rates(rates, Limits(0.04, 0.0008, 1000)) == said


def test_one_credential_is_held_and_released_by_hand(sesgate, stores):
    held = sesgate("queue", "pause", "--credential", "local", "--reason", "careless")
    assert (held.exit_code, held.stdout) == (
        0,
        "Nothing of local is sent from now on: its mail is accepted and waits.\n",
    )
    assert "careless); nothing was changed." in sesgate("queue", "pause", "--credential", "local").stdout
    assert Queue(stores.db).find_pause() is None
    resumed = sesgate("queue", "resume")
    assert resumed.stdout == "Sending was not paused.\n"
    assert resumed.stderr == "local stays held (careless); `sesgate queue resume --credential local` releases it.\n"
    released = sesgate("queue", "resume", "--credential", "local")
    assert released.exit_code == 0
    assert released.stdout.startswith("local is released (it was held by ")
    assert ": careless)." in released.stdout
    assert released.stderr == ""
    assert "Its last 24 hours: nothing sent." in released.stdout
    assert "It is judged anew, by what it sends from now on." in released.stdout
    assert sesgate("queue", "resume", "--credential", "local").stdout == "local was not held.\n"


@pytest.mark.parametrize("action", ["pause", "resume"])
def test_a_credential_that_does_not_exist_is_no_success(sesgate, stores, action):
    result = sesgate("queue", action, "--credential", "shop")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "There is no credential 'shop'." in result.stderr


def test_what_waited_for_evidence_in_a_backup_may_be_sent_again_too(sesgate, stores):
    doubtful, held = accept(stores, "a@example.com", "b@example.com")
    stores.sending.ambiguous(begun(stores, doubtful), "time-out")
    stores.sending.parked(begun(stores, held), "teapot")
    Queue(stores.db).pause_restored(None, actor="jane")
    told = sesgate("queue", "resume", "--yes").stderr
    assert "0 recipients from before it will be sent that may have been sent already" in told
    assert "1 recipient waited for evidence then: where none comes, it is sent again after a while" in told
    assert "1 recipient waited for a person then, and still will." in told


def test_pausing_says_what_it_does_and_twice_changes_nothing(sesgate, stores):
    assert "Sending is paused" in sesgate("queue", "pause", "--reason", "new templates").stdout
    again = sesgate("queue", "pause")
    assert again.exit_code == 0
    assert "new templates); nothing was changed." in again.stdout
    assert "new templates" in sesgate("queue", "status").stdout


def test_resuming_needs_no_question_after_an_ordinary_pause(sesgate, stores):
    sesgate("queue", "pause", "--reason", "new templates")
    assert sesgate("queue", "resume").stdout == "Sending goes on (it was paused: new templates).\n"
    again = sesgate("queue", "resume")
    assert (again.exit_code, again.stdout) == (0, "Sending was not paused.\n")


def test_lifting_the_pause_says_what_still_stops_the_sending(sesgate, stores):
    stores.control.put(CIRCUIT, {"kind": "account", "reason": "SES answered: account paused."})
    stores.control.put(GUARD, {"kind": "everything", "reason": "SESGATE_CAPTURE_ONLY is on."})
    stores.reputation.hold("local", "careless", actor="jane")
    sesgate("queue", "pause", "--reason", "new templates")
    resumed = sesgate("queue", "resume")
    assert resumed.stdout == "The pause is lifted (it was paused: new templates).\n"
    assert resumed.stderr.splitlines() == [
        "SES refuses everything (SES answered: account paused); sending goes on by itself once SES takes mail again.",
        "The staging guard is on: SESGATE_CAPTURE_ONLY is on.",
        "local stays held (careless); `sesgate queue resume --credential local` releases it.",
    ]


def test_releasing_a_credential_says_what_still_stops_the_sending(sesgate, stores):
    stores.reputation.hold("local", "careless", actor="jane")
    sesgate("queue", "pause", "--reason", "new templates")
    stores.control.put(CIRCUIT, {"kind": "quota", "reason": "SES answered: quota exceeded"})
    paused, used_up = sesgate("queue", "resume", "--credential", "local").stderr.splitlines()
    assert paused.endswith(", new templates); `sesgate queue resume` lets it go on.")
    assert used_up.startswith("The quota of 24 hours is used up (SES answered: quota exceeded); ")


def test_a_restored_database_is_not_resumed_without_a_yes(sesgate, stores, restored):
    refused = sesgate("queue", "resume")
    assert refused.exit_code == 2
    assert "1 recipient from before it will be sent that may have been sent already" in refused.stderr
    assert "--yes" in refused.stderr
    assert Queue(stores.db).find_pause() == restored

    allowed = sesgate("queue", "resume", "--yes")
    assert allowed.exit_code == 0
    assert "1 recipient" in allowed.stderr
    assert Queue(stores.db).find_pause() is None


def test_a_restored_database_with_nothing_from_before_the_backup_asks_nothing(sesgate, stores):
    Queue(stores.db).pause_restored(None, actor="jane")
    accept(stores, "a@example.com")
    result = sesgate("queue", "resume")
    assert result.exit_code == 0
    assert "nothing is sent twice" in result.stderr


def test_restored_pauses_and_lists_what_had_not_ended(sesgate, stores):
    accept(stores, "a@example.com")
    first = sesgate("restored")
    assert first.exit_code == 0
    assert first.stdout.splitlines()[1].startswith("QUEUED\t1\t")
    assert "sesgate queue resume" in first.stderr
    again = json.loads(sesgate("restored", "--json").stdout)
    assert again["waiting"][0]["recipients"] == 1
    assert again["pause"]["backup_at"] is not None


def test_restored_takes_the_moment_that_is_told(sesgate, stores):
    accept(stores, "a@example.com")
    told = json.loads(sesgate("restored", "--json", "--made-at", "2020-01-01T03:00:00").stdout)
    assert told["pause"]["backup_at"] == "2020-01-01T03:00:00Z"
    assert told["waiting"] == []


def test_a_moment_that_is_none_is_bad_usage(sesgate, stores):
    result = sesgate("restored", "--made-at", "yesterday")
    assert result.exit_code == 2
    assert "'yesterday' is no time" in result.stderr
