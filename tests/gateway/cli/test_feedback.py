from __future__ import annotations

import json
import threading
from datetime import UTC, datetime

import pytest

from gateway.store.notifications import NewNotification
from tasks.feedback import FeedbackProcessor
from tests.support.mail import change, rows
from tests.support.payloads import ses
from tests.support.waiting import until

AT = datetime(2026, 11, 21, 22, 0, tzinfo=UTC)


def arrived(stores, message, number=1):
    text = message if isinstance(message, str) else json.dumps(message)
    return stores.notifications.store(NewNotification(f"sns-{number}", "arn:aws:sns:us-east-1:1:t", text, AT))


def processed(stores, message, number=1):
    id_ = arrived(stores, message, number)
    FeedbackProcessor(stores.notifications).process(id_)
    return id_


BOUNCE = ses.event("Bounce", bounce=ses.bounce())


def test_notifications_are_listed_with_their_state_and_why(sesgate, stores):
    done, unknown = processed(stores, BOUNCE, 1), processed(stores, '{"eventType": "Sun\\u001brise"}', 2)
    listed = sesgate("feedback", "list")
    assert listed.exit_code == 0
    assert "\x1b" not in listed.stdout
    heading, first, second = listed.stdout.splitlines()
    assert heading.split("\t") == ["ID", "RECEIVED", "STATE", "SNS MESSAGE ID", "WHY"]
    assert first.split("\t")[:4:2] == [str(unknown), "not understood"]
    assert "rise" in first.split("\t")[4]
    assert second.split("\t")[::2] == [str(done), "processed", "-"]


def test_pages_of_a_list_and_its_filters(sesgate, stores):
    ids = [processed(stores, BOUNCE, number) for number in range(3)]
    page = sesgate("feedback", "list", "--limit", "2", "--json")
    assert [one["id"] for one in json.loads(page.stdout)] == [ids[2], ids[1]]
    rest = sesgate("feedback", "list", "--before", str(ids[1]), "--json")
    assert [(one["id"], one["state"]) for one in json.loads(rest.stdout)] == [(ids[0], "processed")]
    assert json.loads(sesgate("feedback", "list", "--day", "2001-01-01", "--json").stdout) == []
    assert json.loads(sesgate("feedback", "list", "--not-understood", "--json").stdout) == []
    assert "--before" in sesgate("feedback", "list", "--limit", "2").stderr


def test_a_notification_is_shown_by_either_id(sesgate, stores):
    id_ = processed(stores, BOUNCE)
    by_id, by_sns = sesgate("feedback", "show", str(id_)), sesgate("feedback", "show", "sns-1")
    assert by_id.exit_code == by_sns.exit_code == 0
    assert by_id.stdout == by_sns.stdout
    assert '"bounceType": "Permanent"' in by_id.stdout
    assert "Bounce Permanent/General: smtp; 550 5.1.1 user unknown" in by_id.stdout
    shown = json.loads(sesgate("feedback", "show", str(id_), "--json").stdout)
    assert json.loads(shown["message"]) == BOUNCE
    assert [event["recipient"] for event in shown["events"]] == [ses.RECIPIENT]


@pytest.mark.parametrize("text", ['{"a": "\\u001b[31m"}', "\x1b[31mhello\x07", "{" * 9999])
def test_a_notification_of_a_stranger_reaches_the_terminal_as_characters(sesgate, stores, text):
    shown = sesgate("feedback", "show", str(processed(stores, text)))
    assert shown.exit_code == 0
    assert shown.stdout.replace("\n", "").isprintable()


def test_a_text_that_is_no_longer_kept_is_told_with_the_setting(sesgate, stores):
    id_ = processed(stores, BOUNCE)
    change(stores, "UPDATE notifications SET message = NULL")
    assert "SESGATE_RETAIN_NOTIFICATIONS keeps it for 14 days" in sesgate("feedback", "show", str(id_)).stdout
    refused = sesgate("feedback", "replay", str(id_))
    assert refused.exit_code == 1
    assert "SESGATE_RETAIN_NOTIFICATIONS" in refused.stderr


@pytest.mark.parametrize("command", ["show", "replay"])
def test_what_is_not_there_is_one_sentence(sesgate, stores, command):
    refused = sesgate("feedback", command, "4711")
    assert (refused.exit_code, refused.stderr) == (1, "Error: There is no notification 4711.\n")


@pytest.mark.parametrize(
    "arguments",
    [(), ("1", "--not-understood"), ("1", "--day", "2026-11-21"), ("--day", "yesterday"), ("--day", "2026-13-01")],
)
def test_what_to_replay_must_be_said(sesgate, stores, arguments):
    refused = sesgate("feedback", "replay", *arguments)
    assert refused.exit_code == 2
    assert refused.stderr


def test_a_day_is_replayed_and_what_waits_is_left_alone(sesgate, stores):
    ids = [processed(stores, BOUNCE, number) for number in range(3)]
    change(stores, "UPDATE notifications SET received_at = ?", int(AT.timestamp() * 1_000_000))
    done = sesgate("feedback", "replay", "--day", "2026-11-21")
    assert (done.exit_code, done.stdout) == (0, "3 notifications to be processed again by the workers.\n")
    assert rows(stores, "SELECT count(*) FROM notifications WHERE processed_at IS NULL") == [(3,)]
    again = sesgate("feedback", "replay", *map(str, ids), "--json")
    assert json.loads(again.stdout) == {
        "replayed": 0,
        "left_alone": 3,
        "processed": 0,
        "not_understood": 0,
        "waiting": 3,
    }


def test_waiting_tells_what_the_workers_have_made_of_them(sesgate, stores):
    ids = [processed(stores, BOUNCE, 1), processed(stores, '{"eventType": "Sunrise"}', 2)]

    def work():
        until(stores.notifications.has_due)
        for id_ in ids:
            FeedbackProcessor(stores.notifications).process(id_)

    worker = threading.Thread(target=work)
    worker.start()
    done = sesgate("feedback", "replay", str(ids[0]), "sns-2", "--wait")
    worker.join()
    assert done.exit_code == 0
    assert done.stdout.splitlines()[-3:] == [  # behind what the worker logs
        "2 notifications to be processed again.",
        "1 understood, 1 not.",
        "`sesgate feedback list --not-understood` tells why.",
    ]


def test_nothing_to_replay_is_no_failure(sesgate, stores):
    done = sesgate("feedback", "replay", "--not-understood", "--wait")
    assert (done.exit_code, done.stdout.splitlines()[0]) == (0, "0 notifications to be processed again.")


@pytest.mark.parametrize("command", [(), ("list",), ("show",), ("replay",)])
def test_every_help_has_an_example(sesgate, command):
    told = sesgate("feedback", *command, "--help")
    assert told.exit_code == 0
    assert "Example:" in told.stdout
