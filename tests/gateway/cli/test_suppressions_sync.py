from __future__ import annotations

import json
import os
import signal
from datetime import UTC, datetime, timedelta

import pytest

from gateway.aws import suppression_list
from gateway.aws.suppression_list import Pace
from gateway.cli import account_list
from gateway.store.account_list import SOURCE, AccountListing
from gateway.subjects import parse_subject
from gateway.suppression_drift import AtSes, Listed, ListedReason
from gateway.suppression_policy import Policy, Reason
from tests.support.sandbox import Sandbox
from tests.support.ses_list import aws_environment, emptied, on_list
from tests.support.stores import sqlite_settings


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox() as running:
        yield running


@pytest.fixture
def ses(sandbox):
    """SES's list, empty at the beginning."""
    yield emptied(sandbox)
    sandbox.set_faults()


@pytest.fixture
def sync(sesgate, stores, sandbox, ses, monkeypatch):
    """Runs `sesgate suppressions sync` against the simulated AWS, without waiting between the requests."""
    monkeypatch.setattr(account_list, "Pace", lambda: Pace(0.0))

    def run(*arguments, **environ):
        return sesgate("suppressions", "sync", *arguments, **{**aws_environment(sandbox), **environ})

    return run


def suppress(stores, address, reason=Reason.BOUNCE, **fields):
    stores.suppressions.add(parse_subject(address), reason, source="test", detail="", actor="test", **fields)


def lift(stores, address):
    stores.suppressions.remove(parse_subject(address), why="works again", actor="anna")


def entry(stores, address):
    found = stores.suppressions.of(parse_subject(address))
    return found[0] if found else None


def audited(stores):
    with stores.db.read() as sql:
        return sql.all("SELECT action, subject, detail FROM audit WHERE action LIKE 'suppressions.sync%' ORDER BY id")


def test_pull_suppresses_what_only_ses_has_since_when_ses_says(sync, ses, stores):
    ses.put_suppressed_destination(EmailAddress="Jane@Example.com", Reason="COMPLAINT")
    ses.put_suppressed_destination(EmailAddress="both@example.com", Reason="BOUNCE")
    suppress(stores, "both@example.com")
    at_ses = ses.get_suppressed_destination(EmailAddress="Jane@example.com")["SuppressedDestination"]
    result = sync("pull")
    assert result.exit_code == 0, result.output
    found = entry(stores, "jane@example.com")
    assert (found.address, found.reason, found.source) == ("Jane@example.com", Reason.COMPLAINT, SOURCE)
    assert found.since == at_ses["LastUpdateTime"]
    assert "1 address suppressed here." in result.output
    assert audited(stores) == [("suppressions.sync.pull", SOURCE, "1 suppressed")]


def test_pull_twice_changes_nothing_the_second_time(sync, ses, stores):
    ses.put_suppressed_destination(EmailAddress="jane@example.com", Reason="BOUNCE")
    sync("pull")
    result = sync("pull", "--json")
    report = json.loads(result.stdout)
    assert (report["to_do"], report["done"], report["counts"]["in_step"]) == (0, {}, 1)


def test_pull_takes_over_a_stronger_reason_only(sync, ses, stores):
    ses.put_suppressed_destination(EmailAddress="weak@example.com", Reason="COMPLAINT")
    ses.put_suppressed_destination(EmailAddress="strong@example.com", Reason="BOUNCE")
    suppress(stores, "weak@example.com", Reason.SOFT_BOUNCE)
    suppress(stores, "strong@example.com", Reason.UNSUBSCRIBE)
    assert sync("pull").exit_code == 0
    assert entry(stores, "weak@example.com").reason is Reason.COMPLAINT
    assert entry(stores, "strong@example.com").reason is Reason.UNSUBSCRIBE


def test_pull_leaves_alone_what_a_person_lifted_after_ses_listed_it(sync, ses, stores):
    ses.put_suppressed_destination(EmailAddress="jane@example.com", Reason="BOUNCE")
    suppress(stores, "jane@example.com")
    lift(stores, "jane@example.com")
    result = sync("pull")
    assert result.exit_code == 0
    assert entry(stores, "jane@example.com") is None
    assert "sync push" in result.stderr


def test_what_ses_lists_anew_after_a_lifting_is_pulled(sync, ses, stores):
    suppress(stores, "jane@example.com")
    lift(stores, "jane@example.com")
    ses.put_suppressed_destination(EmailAddress="jane@example.com", Reason="BOUNCE")
    sync("pull")
    assert entry(stores, "jane@example.com").reason is Reason.BOUNCE


def test_what_was_lifted_between_the_report_and_the_taking_over_stays_lifted(stores, ses, sandbox):
    suppress(stores, "jane@example.com")
    lift(stores, "jane@example.com")
    listed = Listed("jane@example.com", ListedReason.BOUNCE, datetime.now(UTC) - timedelta(hours=1))
    listing = AccountListing(stores.db, Policy.from_settings(sqlite_settings(sandbox.directory)))
    assert listing.adopt([AtSes("jane@example.com", (listed,))], actor="test") == 0
    assert entry(stores, "jane@example.com") is None


def test_what_lasts_for_a_while_here_is_pulled_with_its_end(sync, ses, stores):
    ses.put_suppressed_destination(EmailAddress="jane@example.com", Reason="BOUNCE")
    sync("pull", SESGATE_SUPPRESS_BOUNCE="30d")
    found = entry(stores, "jane@example.com")
    assert found.expires_at == found.since + timedelta(days=30)


def test_push_lists_what_only_we_have_and_lifts_what_was_lifted_here(sync, ses, stores):
    for spelling in ("Lifted@example.com", "lifted@example.com"):
        ses.put_suppressed_destination(EmailAddress=spelling, Reason="BOUNCE")
    ses.put_suppressed_destination(EmailAddress="Theirs@example.com", Reason="BOUNCE")
    ses.put_suppressed_destination(EmailAddress="Worse@example.com", Reason="BOUNCE")
    suppress(stores, "lifted@example.com")
    lift(stores, "lifted@example.com")
    suppress(stores, "Bounced@example.com")
    suppress(stores, "worse@example.com", Reason.COMPLAINT)
    result = sync("push", "--yes")
    assert result.exit_code == 0, result.output
    assert on_list(ses) == {
        "Theirs@example.com": "BOUNCE",
        "Worse@example.com": "COMPLAINT",
        "Bounced@example.com": "BOUNCE",
    }
    assert "2 addresses listed at SES, 2 addresses lifted there." in result.stdout
    assert audited(stores) == [("suppressions.sync.push", SOURCE, "2 lifted, 2 listed")]


def test_push_keeps_here_what_ses_has_no_place_for(sync, ses, stores):
    suppress(stores, "@example.org")
    suppress(stores, "soft@example.com", Reason.SOFT_BOUNCE)
    suppress(stores, "global@example.com", Reason.GLOBAL_LIST)
    suppress(stores, "hand@example.com", Reason.MANUAL)
    suppress(stores, "optout@example.com", Reason.UNSUBSCRIBE)
    suppress(stores, "local@example.com", scope="local")
    assert sync("push").exit_code == 0
    assert on_list(ses) == {}
    assert sync("push", "--all-reasons").exit_code == 0
    assert on_list(ses) == {"hand@example.com": "BOUNCE", "optout@example.com": "COMPLAINT"}


def test_push_asks_before_it_lifts_and_does_nothing_where_nobody_can_be_asked(sync, ses, stores):
    ses.put_suppressed_destination(EmailAddress="lifted@example.com", Reason="BOUNCE")
    suppress(stores, "lifted@example.com")
    lift(stores, "lifted@example.com")
    suppress(stores, "ours@example.com")
    result = sync("push")
    assert result.exit_code == 2
    assert "lifted@example.com" in result.stderr
    assert on_list(ses) == {"lifted@example.com": "BOUNCE"}


@pytest.mark.parametrize("direction", ["pull", "push"])
def test_a_dry_run_reports_and_changes_neither_side(sync, ses, stores, direction):
    ses.put_suppressed_destination(EmailAddress="theirs@example.com", Reason="BOUNCE")
    suppress(stores, "ours@example.com")
    result = sync(direction, "--dry-run")
    assert result.exit_code == 0
    assert "theirs@example.com" in result.stdout
    assert "ours@example.com" in result.stdout
    assert on_list(ses) == {"theirs@example.com": "BOUNCE"}
    assert entry(stores, "theirs@example.com") is None


def test_the_report_for_scripts_names_every_kind(sync, ses, stores):
    ses.put_suppressed_destination(EmailAddress="theirs@example.com", Reason="BOUNCE")
    ses.put_suppressed_destination(EmailAddress="Theirs@example.com", Reason="BOUNCE")
    result = sync("pull", "--dry-run", "--json")
    report = json.loads(result.stdout)
    assert (report["at_ses"], report["spelled_several_times"], report["to_do"]) == (2, 1, 1)
    assert report["counts"]["only_at_ses"] == 1
    assert report["counts"]["scoped"] == 0
    assert report["dry_run"] is True


def test_push_says_how_long_it_will_take(sync, ses, stores):
    for number in range(130):
        suppress(stores, f"u{number}@example.com")
    result = sync("push", "--dry-run")
    assert "130 requests at one a second: about 2 minutes." in result.stderr


def test_push_that_is_interrupted_finishes_its_step_and_can_be_repeated(sync, ses, stores, monkeypatch):
    for number in range(5):
        suppress(stores, f"u{number}@example.com")
    requests = []

    class Interrupting(Pace):
        def wait(self):
            requests.append(1)
            if len(requests) == 3:  # the first reads the list, the second lists u0
                os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(account_list, "Pace", Interrupting)
    result = sync("push")
    assert result.exit_code == 1
    assert "Interrupted" in result.stderr
    assert len(on_list(ses)) == 2
    monkeypatch.setattr(account_list, "Pace", lambda: Pace(0.0))
    assert sync("push").exit_code == 0
    assert len(on_list(ses)) == 5


def test_an_interrupted_reading_changes_nothing(sync, ses, stores, monkeypatch):
    ses.put_suppressed_destination(EmailAddress="theirs@example.com", Reason="BOUNCE")

    class Interrupting(Pace):
        def wait(self):
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(account_list, "Pace", Interrupting)
    result = sync("pull")
    assert result.exit_code == 1
    assert "nothing was changed" in result.stderr
    assert entry(stores, "theirs@example.com") is None


def test_an_address_that_ses_refuses_is_named_and_the_others_are_done(sync, ses, sandbox, stores):
    for number in range(3):
        suppress(stores, f"u{number}@example.com")
    sandbox.set_faults(
        error_code="BadRequestException",
        error_status=400,
        error_calls=1,
        error_operations=["PutSuppressedDestination"],
    )
    result = sync("push")
    assert result.exit_code == 1
    assert "u0@example.com" in result.stderr
    assert "SES did not take 1 address" in result.stderr
    assert set(on_list(ses)) == {"u1@example.com", "u2@example.com"}


def test_a_permission_that_is_missing_halfway_ends_the_run_with_what_was_done(sync, ses, sandbox, stores):
    suppress(stores, "ours@example.com")
    sandbox.set_faults(
        error_code="AccessDeniedException",
        error_status=403,
        error_calls=1,
        error_operations=["PutSuppressedDestination"],
    )
    result = sync("push")
    assert result.exit_code == 1
    assert "ses:PutSuppressedDestination" in result.stderr
    assert "the same command does the rest" in result.stderr


def test_a_list_that_cannot_be_read_is_no_empty_list(sync, ses, sandbox, stores):
    suppress(stores, "ours@example.com")
    sandbox.set_faults(
        error_code="AccessDeniedException",
        error_status=403,
        error_calls=1,
        error_operations=["ListSuppressedDestinations"],
    )
    result = sync("push", "--yes")
    assert result.exit_code == 1
    assert "ses:ListSuppressedDestinations" in result.stderr
    assert on_list(ses) == {}


def test_data_of_the_simulation_is_never_compared_with_a_real_account(sync, stores):
    result = sync("pull", AWS_ENDPOINT_URL="https://email.eu-west-1.amazonaws.com")
    assert result.exit_code == 1
    assert "simulated AWS" in result.stderr


def test_what_changed_here_while_push_was_running_is_not_told_to_ses(sync, ses, stores, monkeypatch):
    for address in ("back1@example.com", "back2@example.com"):
        ses.put_suppressed_destination(EmailAddress=address, Reason="BOUNCE")
        suppress(stores, address)
        lift(stores, address)
    suppress(stores, "first@example.com")
    suppress(stores, "second@example.com")
    # The first request reads the list, the second lifts back1, the third lists first.
    changes = [
        lambda: None,
        lambda: suppress(stores, "back2@example.com", Reason.MANUAL),
        lambda: lift(stores, "second@example.com"),
    ]

    class Changing(Pace):
        def wait(self):
            changes.pop(0)()

    monkeypatch.setattr(account_list, "Pace", Changing)
    assert sync("push", "--yes").exit_code == 0
    assert changes == []
    assert on_list(ses) == {"back2@example.com": "BOUNCE", "first@example.com": "BOUNCE"}


def test_a_list_of_many_pages_is_compared_whole(sync, ses, stores, monkeypatch):
    monkeypatch.setattr(suppression_list, "_PAGE_SIZE", 3)
    for number in range(10):
        ses.put_suppressed_destination(EmailAddress=f"u{number}@example.com", Reason="BOUNCE")
    report = json.loads(sync("pull", "--json").stdout)
    assert (report["at_ses"], report["done"]) == (10, {"suppressed": 10})
