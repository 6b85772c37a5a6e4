from __future__ import annotations

import json
import os
import pwd
import re
import shlex
from datetime import UTC, datetime, timedelta

import pytest

from gateway.addresses import address_key, parse_mailbox
from gateway.cli.errors import UsageError
from gateway.cli.moments import moment_or_term
from gateway.store.suppression_rows import suppress_by_event
from gateway.subjects import parse_subject
from gateway.suppression_policy import Reason
from tests.gateway.cli.test_commands import failed
from tests.support.mail import change, rows


def add(stores, text, reason=Reason.MANUAL, **fields):
    stores.suppressions.add(parse_subject(text), reason, source="test", detail="", actor="jane", **fields)


@pytest.fixture
def shop(stores):
    stores.credentials.add("shop", application="The shop", actor="jane")


def undated(text):
    return re.sub(r"\d{4}-\d\d-\d\d( \d\d:\d\d:\d\d UTC)?", "DATE", text)


def test_a_suppression_is_added_shown_listed_and_removed(sesgate, stores):
    added = sesgate("suppressions", "add", "Jane@Example.com", "--note", "asked us by phone")
    assert (added.exit_code, undated(added.stdout)) == (0, "Jane@Example.com is suppressed (manual, since DATE).\n")

    shown = sesgate("suppressions", "show", "jane@example.com")
    assert shown.exit_code == 0
    user = pwd.getpwuid(os.getuid()).pw_name
    assert [line.split(maxsplit=1)[1] for line in undated(shown.stdout).splitlines()] == [
        *("Jane@Example.com", "manual", "all credentials", "DATE", "for ever", "operator", "-"),
        *("asked us by phone", user, "DATE", "-"),
    ]

    listed = json.loads(sesgate("suppressions", "list", "--json").stdout)
    assert [(row["address"], row["reason"], row["note"]) for row in listed] == [
        ("Jane@Example.com", "manual", "asked us by phone")
    ]
    assert datetime.fromisoformat(listed[0]["since"]).tzinfo is UTC

    removed = sesgate("suppressions", "remove", "jane@example.com", "--reason", "called again")
    assert (removed.exit_code, undated(removed.stdout)) == (
        0,
        "jane@example.com is no longer suppressed here (was manual, since DATE).\n",
    )
    assert removed.stderr == ""  # SES lists nobody for what is done by hand here
    assert stores.suppressions.find(parse_mailbox("jane@example.com")) is None


@pytest.mark.parametrize("reason", [(), ("--reason", ""), ("--reason", " \t")])
def test_nothing_is_lifted_without_a_reason(sesgate, stores, reason):
    add(stores, "jane@example.com")
    failed(sesgate("suppressions", "remove", "jane@example.com", *reason), 2, "Say why it may be mailed again")
    assert stores.suppressions.find(parse_mailbox("jane@example.com")) is not None


def test_what_was_lifted_is_shown_with_who_and_why(sesgate, stores):
    add(stores, "jane@example.com", Reason.BOUNCE)
    sesgate("suppressions", "remove", "jane@example.com", "--reason", "has a new mailbox")
    shown = sesgate("suppressions", "show", "jane@example.com")
    assert (shown.exit_code, shown.stderr) == (1, "Error: jane@example.com is not suppressed.\n")
    user = pwd.getpwuid(os.getuid()).pw_name
    assert undated(shown.stdout).splitlines()[2].split("\t") == [
        *("jane@example.com", "bounce", "DATE", "DATE", "all credentials", user, "has a new mailbox")
    ]
    document = json.loads(sesgate("suppressions", "show", "jane@example.com", "--json").stdout)
    assert (document["in_force"], document["past"][0]["ended_why"]) == ([], "has a new mailbox")
    assert rows(stores, "SELECT actor, action, subject FROM audit ORDER BY id DESC LIMIT 1") == [
        (user, "suppressions.remove", "jane@example.com")
    ]


@pytest.mark.parametrize("typed", ["@Example.com", "Example.com"])
def test_a_domain_is_suppressed_as_a_whole(sesgate, stores, typed):
    added = sesgate("suppressions", "add", typed)
    assert undated(added.stdout) == "@Example.com (everybody there) is suppressed (manual, since DATE).\n"
    assert "@Example.com (everybody at this domain)" in sesgate("suppressions", "show", "jane@example.com").stdout
    refused = sesgate("suppressions", "remove", "jane@example.com", "--reason", "x")
    assert refused.exit_code == 1
    assert undated(refused.stderr) == (
        "Error: jane@example.com is not suppressed. @Example.com (everybody there) is suppressed (manual, since DATE);"
        ' `sesgate suppressions remove @Example.com --reason "..."` lifts it.\n'
    )
    lifted = sesgate("suppressions", "remove", "example.com", "--reason", "x")
    assert (lifted.exit_code, lifted.stderr) == (0, "")
    assert sesgate("suppressions", "show", "sub.example.com").stderr == "Error: @sub.example.com is not suppressed.\n"


def test_an_entry_of_one_credential_is_shown_and_lifted_apart(sesgate, stores, shop):
    add(stores, "jane@example.com", Reason.BOUNCE)
    added = sesgate("suppressions", "add", "jane@example.com", "--credential", "shop", "--reason", "unsubscribe")
    assert undated(added.stdout) == "jane@example.com for shop is suppressed (unsubscribe, since DATE).\n"
    document = json.loads(sesgate("suppressions", "show", "jane@example.com", "--json").stdout)
    assert [(entry["reason"], entry["scope"]) for entry in document["in_force"]] == [
        ("bounce", ""),
        ("unsubscribe", "shop"),
    ]
    removed = sesgate("suppressions", "remove", "jane@example.com", "--reason", "x")
    assert "jane@example.com for shop is suppressed (unsubscribe, since " in removed.stderr
    assert '`sesgate suppressions remove jane@example.com --credential shop --reason "..."`' in removed.stderr
    listed = json.loads(sesgate("suppressions", "list", "--json", "--credential", "shop").stdout)
    assert [entry["key"] for entry in listed] == ["jane@example.com/shop"]
    assert sesgate("suppressions", "remove", "jane@example.com", "--credential", "shop", "--reason", "x").exit_code == 0
    assert stores.suppressions.list() == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("list", "--credential", "shp"),
        ("add", "jane@example.com", "--credential", "shp"),
        ("remove", "jane@example.com", "--credential", "shp", "--reason", "x"),
    ],
)
def test_a_credential_that_is_not_there_is_named(sesgate, stores, arguments):
    failed(sesgate("suppressions", *arguments), 1, "There is no credential shp.")
    assert rows(stores, "SELECT 1 FROM suppressions") == []


def test_an_entry_may_have_an_end(sesgate, stores):
    added = sesgate("suppressions", "add", "jane@example.com", "--expires", "30d")
    assert undated(added.stdout) == "jane@example.com is suppressed (manual, since DATE, until DATE).\n"
    left = stores.suppressions.list()[0].expires_at - datetime.now(UTC)
    assert timedelta(days=29) < left <= timedelta(days=30)
    change(stores, "UPDATE suppressions SET expires_at = 1")
    assert json.loads(sesgate("suppressions", "list", "--json").stdout) == []
    assert len(json.loads(sesgate("suppressions", "list", "--json", "--expired").stdout)) == 1
    assert sesgate("suppressions", "show", "jane@example.com").exit_code == 1


@pytest.mark.parametrize(
    ("arguments", "lasts"),
    [
        (("--reason", "soft-bounce"), timedelta(days=14)),
        (("--reason", "soft-bounce", "--expires", "never"), None),
        (("--reason", "bounce"), None),
    ],
)
def test_without_an_end_an_entry_lasts_as_long_as_its_reason_does(sesgate, stores, arguments, lasts):
    assert sesgate("suppressions", "add", "jane@example.com", *arguments).exit_code == 0
    (entry,) = stores.suppressions.list()
    if lasts is None:
        assert entry.expires_at is None
    else:
        assert abs(entry.expires_at - entry.since - lasts) < timedelta(minutes=5)


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("soon", "'soon' is no time and no term"),
        ("2020-01-01", "'2020-01-01' is over already"),
        ("0s", "'0s' is over already"),
        ("999999999d", "longer than time can be counted"),
    ],
)
def test_an_end_that_is_none_is_bad_usage(sesgate, stores, typed, said):
    failed(sesgate("suppressions", "add", "jane@example.com", "--expires", typed), 2, said)


def test_a_term_is_counted_from_now_and_a_time_is_in_utc():
    now = datetime(2026, 11, 22, tzinfo=UTC)
    assert moment_or_term("30d", now) == now + timedelta(days=30)
    assert moment_or_term("2026-12-31", now) == datetime(2026, 12, 31, tzinfo=UTC)
    with pytest.raises(UsageError):
        moment_or_term("2026-11-22", now)


def test_an_address_that_is_not_suppressed_fails(sesgate, stores):
    failed(sesgate("suppressions", "show", "jane@example.com"), 1, "jane@example.com is not suppressed.")
    removed = sesgate("suppressions", "remove", "jane@example.com", "--reason", "x")
    failed(removed, 1, "jane@example.com is not suppressed.")


def test_a_weaker_reason_changes_nothing_and_says_so(sesgate, stores):
    add(stores, "jane@example.com", Reason.COMPLAINT)
    result = sesgate("suppressions", "add", "jane@example.com")
    assert result.exit_code == 0
    assert "suppressed already (complaint, since " in result.stdout
    assert result.stdout.endswith("; nothing was changed.\n")


@pytest.mark.parametrize("command", [("show",), ("add",), ("remove", "--reason", "x"), ("list", "--after")])
def test_what_is_no_address_is_bad_usage(sesgate, stores, command):
    failed(sesgate("suppressions", *command, "jane"), 2, "'jane' is no address and no domain: ")


def test_a_list_goes_on_where_it_ended(sesgate, stores, shop):
    for text, scope in (("a@example.com", ""), ("a@example.com", "shop"), ("@example.com", "shop"), ("c@x.test", "")):
        add(stores, text, scope=scope)
    first = sesgate("suppressions", "list", "--limit", "1")
    names = [line.split("\t")[0] for line in first.stdout.splitlines()]
    seen = [names[1]]
    while match := re.search(r"--after (\S+)", first.stderr):
        first = sesgate("suppressions", "list", "--limit", "1", "--after", match[1])
        seen += [line.split("\t")[0] for line in first.stdout.splitlines()[1:]]
    assert seen == ["@example.com", "a@example.com", "a@example.com", "c@x.test"]


REPORTED = "jürgen groß@example.com"


def reported(stores, address=REPORTED):
    """As an event that names something which is no address leaves it."""
    stores.db.write(
        lambda sql: suppress_by_event(
            sql,
            address,
            address_key(address),
            Reason.BOUNCE,
            source="SES Bounce",
            detail="",
            at=1,
            event_id=None,
            expires_at=None,
        )
    )


def test_a_list_goes_on_behind_what_is_no_address(sesgate, stores):
    texts = ["1@example.com", '"@ here"', "mailer.example.com", "o'brien@example.com", REPORTED, "z@example.com"]
    for text in texts:
        reported(stores, text)
    found, page = [], sesgate("suppressions", "list", "--limit", "1")
    while match := re.search(r"--after (.+)", page.stderr):
        found.append(page.stdout.splitlines()[1].split("\t")[0])
        (after,) = shlex.split(match[1])
        page = sesgate("suppressions", "list", "--limit", "1", "--after", after)
    assert page.exit_code == 0
    assert sorted(found) == sorted(texts)


def test_what_is_no_address_but_was_reported_can_be_shown_and_lifted(sesgate, stores):
    reported(stores)
    assert sesgate("suppressions", "show", REPORTED).exit_code == 0
    assert sesgate("suppressions", "remove", REPORTED.upper(), "--reason", "a slip", "--not-at-ses").exit_code == 0
    assert "a slip" in sesgate("suppressions", "show", REPORTED).stdout


@pytest.mark.parametrize("address", ["o'brien@example.com", "`id`@example.com", "$HOME@example.com", "a&b@example.com"])
def test_a_command_that_is_told_is_safe_in_a_shell(sesgate, stores, address):
    add(stores, address)
    (told,) = re.findall(r"This changes it: `(.*)`\.", sesgate("why", address).stdout)
    assert shlex.split(told)[:4] == ["sesgate", "suppressions", "remove", address]


@pytest.mark.parametrize(
    "arguments",
    [("suppressions", "add", "a@example.com", "--note"), ("suppressions", "list", "--credential"), ("why",)],
)
def test_what_is_no_text_is_bad_usage(sesgate, stores, arguments):
    failed(sesgate(*arguments, "\udcff@example.com"), 2, "'\\udcff@example.com' is not UTF-8 text.")
