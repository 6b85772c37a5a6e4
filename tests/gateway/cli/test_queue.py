from __future__ import annotations

import json

import pytest

from gateway.store.queue import Queue
from tests.support.mail import accept


@pytest.fixture
def restored(stores):
    """A database that came from a backup, with one recipient from before it."""
    accept(stores, "a@example.com")
    return Queue(stores.db).pause_restored(None, actor="jane")


def test_the_status_is_read_by_people_and_by_scripts(sesgate, stores):
    accept(stores, "a@example.com", "b@example.com")
    lines = sesgate("queue", "status").stdout.splitlines()
    assert "sending     goes on" in lines
    assert lines[1].startswith("due now     2 recipients, the first ")
    assert lines[-1] == "QUEUED\t2"
    found = json.loads(sesgate("queue", "status", "--json").stdout)
    assert (found["due"], found["pause"], found["recipients"]) == (2, None, {"QUEUED": 2})


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
