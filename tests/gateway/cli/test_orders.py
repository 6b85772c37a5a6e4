from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.addresses import parse_mailbox
from gateway.store.control import CIRCUIT, GUARD
from gateway.store.operations import BATCH
from gateway.store.queue import Queue
from gateway.suppression_policy import Reason
from tests.support.environment import own_environment
from tests.support.mail import accept, begun, change, column, rows, status
from tests.support.waiting import until


@pytest.fixture
def failed(stores):
    ids = accept(stores, "a@example.com", "b@example.com", "c@example.com")
    change(stores, "UPDATE recipients SET status = 'FAILED', ended_at = 1, reason = 'not verified'")
    return ids


def statuses(stores):
    return dict(rows(stores, "SELECT status, count(*) FROM recipients GROUP BY status"))


def test_failed_mail_is_sent_again_and_the_audit_knows_who_and_why(sesgate, stores, failed):
    done = sesgate("messages", "retry", "--status", "FAILED", "--reason", "sender is verified", "--yes")
    assert (done.exit_code, done.stdout) == (0, "3 recipients queued, to be sent now.\n")
    assert statuses(stores) == {"QUEUED": 3}
    ((action, detail),) = rows(stores, "SELECT action, detail FROM audit")
    assert (action, detail) == ("messages.retry", "3 of 3; status FAILED; why: sender is verified")
    assert column(stores, failed[0], "reason").endswith(": sender is verified")


OBSTACLES = {
    "pause": "Sending is paused (since ",
    "circuit": "SES refuses everything (account paused); ",
    "guard": "The staging guard is on: SESGATE_CAPTURE_ONLY is on.",
    "hold": "local stays held (careless); `sesgate queue resume --credential local` releases it.",
    "suppression": "1 recipient will not be mailed, for the address is suppressed: it ends as SUPPRESSED",
}


def put_in_the_way(stores, obstacle):
    match obstacle:
        case "pause":
            Queue(stores.db).pause("new templates", actor="jane")
        case "circuit":
            stores.control.put(CIRCUIT, {"kind": "account", "reason": "account paused"})
        case "guard":
            stores.control.put(GUARD, {"kind": "everything", "reason": "SESGATE_CAPTURE_ONLY is on."})
        case "hold":
            stores.reputation.hold("local", "careless", actor="jane")
        case "suppression":
            stores.suppressions.add(parse_mailbox("B@example.com"), Reason.MANUAL, source="", detail="", actor="")


@pytest.mark.parametrize("obstacle", OBSTACLES)
def test_nobody_is_told_that_mail_is_sent_now_while_something_stops_it(sesgate, stores, failed, obstacle):
    put_in_the_way(stores, obstacle)
    done = sesgate("messages", "retry", "--status", "FAILED", "--yes")
    assert (done.exit_code, done.stdout) == (0, "3 recipients queued.\n")
    asked, told = done.stderr.splitlines()
    assert asked == "3 recipients would be sent again."
    assert told.startswith(OBSTACLES[obstacle])


def test_a_hold_of_another_credential_stops_nothing(sesgate, stores, failed):
    change(stores, "INSERT INTO credentials (name, created_at) VALUES ('shop', 1)")
    stores.reputation.hold("shop", "careless", actor="jane")
    done = sesgate("messages", "retry", "--status", "FAILED", "--yes", "--json")
    assert (json.loads(done.stdout)["done"], done.stderr) == (3, "3 recipients would be sent again.\n")


@pytest.mark.parametrize("action", ["retry", "cancel"])
def test_without_a_terminal_it_needs_a_yes(sesgate, stores, failed, action):
    refused = sesgate("messages", action, "--address", "a@example.com", "--status", "FAILED", "--status", "QUEUED")
    if action == "retry":
        assert refused.exit_code == 2
        assert "1 recipient would be sent again." in refused.stderr
        assert "add --yes" in refused.stderr
    else:
        assert refused.exit_code == 0  # there is nothing to ask for
        assert "1 left as it is: ended already." in refused.stderr
    assert statuses(stores) == {"FAILED": 3}


def test_a_dry_run_counts_and_changes_nothing(sesgate, stores, failed):
    change(stores, "UPDATE recipients SET status = 'SENT' WHERE id = ?", failed[0])
    ((ulid,),) = rows(stores, "SELECT ulid FROM messages")
    dry = sesgate("messages", "retry", ulid.lower(), "--dry-run", "--json")
    assert dry.exit_code == 0
    assert json.loads(dry.stdout) == {
        "matched": 3,
        "to_do": 2,
        "done": 0,
        "in_doubt": 0,
        "skipped": {"at_ses": 1},
        "dry_run": True,
        "interrupted": False,
    }
    assert rows(stores, "SELECT count(*) FROM audit") == [(0,)]
    assert statuses(stores) == {"FAILED": 2, "SENT": 1}


def test_a_script_reads_what_was_done_and_what_was_not(sesgate, stores, failed):
    change(stores, "UPDATE recipients SET status = 'SUPPRESSED' WHERE id = ?", failed[1])
    ((ulid,),) = rows(stores, "SELECT ulid FROM messages")
    found = json.loads(sesgate("messages", "retry", ulid, "--yes", "--json").stdout)
    assert (found["matched"], found["done"], found["skipped"]) == (3, 2, {"not_named": 1})


def test_doing_it_twice_does_nothing_more(sesgate, stores, failed):
    sesgate("messages", "retry", "--status", "FAILED", "--yes")
    again = sesgate("messages", "retry", "--status", "FAILED", "--yes")
    assert (again.exit_code, again.stdout) == (0, "")
    assert again.stderr == "0 recipients would be sent again.\n"


def test_cancelling_gives_up_what_waits_and_says_what_may_have_been_sent(sesgate, stores):
    first, second, taken = accept(stores, "a@example.com", "b@example.com", "c@example.com")
    stores.sending.ambiguous(begun(stores, second), "time-out")
    begun(stores, taken)
    done = sesgate("messages", "cancel", "--all", "--yes")
    assert done.exit_code == 0
    assert "1 of them may have been sent already, and cannot be called back then." in done.stderr
    assert done.stdout == ("2 recipients cancelled.\n1 left as it is: being handed to SES at this moment.\n")
    assert [status(stores, id_) for id_ in (first, second, taken)] == ["CANCELLED", "CANCELLED", "SENDING"]


def test_an_ambiguous_mail_is_sent_again_only_by_name_and_with_a_warning(sesgate, stores):
    (id_,) = accept(stores)
    stores.sending.ambiguous(begun(stores, id_), "time-out")
    assert sesgate("messages", "retry", "--all", "--yes").exit_code == 0
    assert status(stores, id_) == "AMBIGUOUS"
    done = sesgate("messages", "retry", "--status", "AMBIGUOUS", "--yes")
    assert "1 of them may have been sent already, and then arrive a second time." in done.stderr
    assert status(stores, id_) == "QUEUED"


def test_ages_and_times_choose_by_acceptance(sesgate, stores, failed):
    change(stores, "UPDATE messages SET accepted_at = accepted_at - 7200000000")
    accept(stores)

    def matched(*arguments):
        return json.loads(sesgate("messages", "cancel", *arguments, "--dry-run", "--json").stdout)["to_do"]

    change(stores, "UPDATE recipients SET status = 'QUEUED'")
    assert matched("--all") == 4
    assert matched("--since", "1h") == 1
    assert matched("--before", "1h") == 3
    assert matched("--since", "2020-01-01", "--before", "2020-01-02T00:00:00+02:00") == 0


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        ((), 2, "Say which messages: give IDs or a filter such as --status, or --all."),
        (("--all", "--status", "FAILED"), 2, "--all stands alone"),
        (("nonsense",), 2, "'nonsense' is no message id"),
        (("--since", "yesterday"), 2, "'yesterday' is no time and no age"),
        (("--since", "99999999d"), 2, "longer ago than time can be counted"),
        (("--address", "nobody"), 2, "'nobody' is no address"),
        (("--status", "LOST"), 2, "'LOST'"),
        (("--credential", "shop"), 1, "There is no credential shop."),
        (("01KAMV7M0Q3W8Y4ZC9H2B6D5TN",), 1, "There is no message 01KAMV7M0Q3W8Y4ZC9H2B6D5TN; nothing was done."),
    ],
)
def test_bad_usage_is_told_in_one_sentence(sesgate, stores, arguments, code, sentence):
    for action in ("retry", "cancel"):
        told = sesgate("messages", action, *arguments)
        assert (told.exit_code, told.stdout) == (code, "")
        assert sentence in told.stderr


def spawn(stores_directory, *arguments, **streams):
    environ = own_environment()
    return subprocess.Popen(
        [sys.executable, "-m", "gateway.cli", "messages", *arguments],
        env={**environ, "SESGATE_DATA_DIR": str(stores_directory), "SESGATE_GATE_TIMEOUT": "60s", "TERM": "xterm"},
        **streams,
    )


def test_on_a_terminal_it_asks_and_shows_a_bar(stores, tmp_path, failed):
    terminal, inner = pty.openpty()
    try:
        child = spawn(tmp_path / "var", "retry", "--all", stdin=inner, stdout=subprocess.PIPE, stderr=inner)
        os.close(inner)
        os.write(terminal, b"y\n")
        seen = b""
        while b"Send them again? [y/N]" not in seen:
            seen += os.read(terminal, 4096)
        assert child.communicate(timeout=60)[0] == b"3 recipients queued, to be sent now.\n"
        assert b"3 recipients would be sent again." in seen
        assert b"Looking" in seen
    finally:
        os.close(terminal)
    assert statuses(stores) == {"QUEUED": 3}


def test_a_signal_ends_it_between_two_batches_and_the_count_is_true(stores, tmp_path):
    for _ in range(3):
        for start in range(0, BATCH, 100):
            accept(stores, *(f"n{start + number}@example.com" for number in range(100)))
    # The gate is held, so the signal comes while the first batch waits for it.
    child = None
    with stores.db.exclusive():
        child = spawn(
            tmp_path / "var", "cancel", "--all", "--yes", stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert child.stderr is not None
        assert child.stderr.readline() == f"{3 * BATCH} recipients would be cancelled.\n"
        until(lambda: catches(child.pid, signal.SIGTERM), what="the command takes care of the signal")
        child.send_signal(signal.SIGTERM)
    told, complaint = child.communicate(timeout=60)
    assert child.returncode == 1
    assert told == f"{BATCH} recipients cancelled.\n"
    assert complaint == f"Error: Interrupted after {BATCH} recipients; the same command does the rest.\n"
    assert statuses(stores) == {"CANCELLED": BATCH, "QUEUED": 2 * BATCH}
    ((detail,),) = rows(stores, "SELECT detail FROM audit")
    assert detail == f"{BATCH} of {BATCH}; all"


def catches(pid, number):
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    caught = next(int(line.split()[1], 16) for line in lines if line.startswith("SigCgt"))
    return bool(caught >> (number - 1) & 1)
