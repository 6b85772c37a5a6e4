from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from gateway.addresses import address_key
from gateway.suppression_drift import (
    MOST_EXAMPLES,
    AccountSide,
    AtSes,
    Kind,
    Listed,
    ListedReason,
    Local,
    compare,
    kind_at_ses,
    kind_here,
    told_to_ses,
)
from gateway.suppression_policy import Reason

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def here(address, reason=Reason.BOUNCE, scope=""):
    key = address.casefold() if address.startswith("@") else address_key(address)
    return Local(f"{key}/{scope}" if scope else key, address, reason, scope)


@pytest.mark.parametrize("reason", Reason)
@pytest.mark.parametrize("theirs", [None, ListedReason.BOUNCE])
def test_what_ends_by_itself_here_is_never_told_to_ses(reason, theirs):
    """Nothing ends by itself there, and pull would bring it back without an end."""
    local = replace(here("a@example.com", reason), is_temporary=True)
    found = None if theirs is None else at_ses(listed("a@example.com", theirs))
    assert kind_here(local, found) in (Kind.TEMPORARY, Kind.IN_STEP, Kind.STRONGER_AT_SES)


def listed(address, reason=ListedReason.BOUNCE, at=NOON):
    return Listed(address, reason, at)


def at_ses(*entries):
    return AtSes(address_key(entries[0].address), entries)


def never_lifted(keys):
    return {}


def lasting(reason, since):
    return False


@pytest.mark.parametrize(
    ("reason", "theirs", "kind"),
    [
        (Reason.BOUNCE, None, Kind.ONLY_HERE),
        (Reason.COMPLAINT, None, Kind.ONLY_HERE),
        (Reason.SOFT_BOUNCE, None, Kind.TEMPORARY),
        (Reason.GLOBAL_LIST, None, Kind.TEMPORARY),
        (Reason.MANUAL, None, Kind.BY_HAND),
        (Reason.UNSUBSCRIBE, None, Kind.BY_HAND),
        (Reason.BOUNCE, ListedReason.BOUNCE, Kind.IN_STEP),
        (Reason.COMPLAINT, ListedReason.COMPLAINT, Kind.IN_STEP),
        (Reason.COMPLAINT, ListedReason.BOUNCE, Kind.STRONGER_HERE),
        (Reason.BOUNCE, ListedReason.COMPLAINT, Kind.STRONGER_AT_SES),
        (Reason.SOFT_BOUNCE, ListedReason.BOUNCE, Kind.STRONGER_AT_SES),
        (Reason.GLOBAL_LIST, ListedReason.BOUNCE, Kind.STRONGER_AT_SES),
        (Reason.MANUAL, ListedReason.BOUNCE, Kind.IN_STEP),
        (Reason.UNSUBSCRIBE, ListedReason.BOUNCE, Kind.IN_STEP),
        (Reason.UNSUBSCRIBE, ListedReason.COMPLAINT, Kind.STRONGER_AT_SES),
    ],
)
def test_an_entry_here_stands_to_ses_as_its_reason_says(reason, theirs, kind):
    found = None if theirs is None else at_ses(listed("jane@example.com", theirs))
    assert kind_here(here("jane@example.com", reason), found) is kind


def test_domains_and_entries_of_one_credential_are_not_for_ses():
    found = at_ses(listed("jane@example.com"))
    assert kind_here(here("@example.com"), None) is Kind.DOMAIN
    assert kind_here(here("jane@example.com", scope="shop"), found) is Kind.SCOPED


@pytest.mark.parametrize(
    ("lifted_at", "kind"),
    [
        (None, Kind.ONLY_AT_SES),
        (NOON - HOUR, Kind.ONLY_AT_SES),
        (NOON, Kind.LIFTED_HERE),
        (NOON + HOUR, Kind.LIFTED_HERE),
    ],
)
def test_only_what_a_person_lifted_after_ses_listed_it_counts_as_lifted(lifted_at, kind):
    assert kind_at_ses(at_ses(listed("jane@example.com")), lifted_at, lasting) is kind


def test_one_new_spelling_at_ses_undoes_an_older_lifting_for_all():
    found = at_ses(listed("jane@example.com"), listed("Jane@example.com", at=NOON + 2 * HOUR))
    assert kind_at_ses(found, NOON + HOUR, lasting) is Kind.ONLY_AT_SES


@pytest.mark.parametrize("address", ["jos\u00e9@example.com", "nobody", "a b@example.com"])
def test_what_cannot_be_mailed_from_here_is_not_taken_over(address):
    assert kind_at_ses(at_ses(listed(address)), None, lasting) is Kind.UNMAILABLE


def test_what_would_have_ended_by_now_is_not_taken_over():
    assert kind_at_ses(at_ses(listed("jane@example.com")), None, lambda reason, since: True) is Kind.OUTLIVED


def test_spellings_share_a_key_and_the_strongest_reason_of_them_counts():
    side = AccountSide(
        [
            listed("Jane@example.com", ListedReason.COMPLAINT),
            listed("jane@example.com", at=NOON + HOUR),
            listed("JANE@example.com", at=NOON - HOUR),
        ]
    )
    found = side.find("jane@example.com")
    assert found is not None
    assert (found.reason, found.address, found.updated_at) == (Reason.COMPLAINT, "jane@example.com", NOON + HOUR)
    assert (side.addresses, side.spelled_several_times) == (3, 1)


def test_an_address_that_a_changing_list_names_twice_is_one():
    side = AccountSide([listed("jane@example.com"), listed("jane@example.com", ListedReason.COMPLAINT)])
    assert side.addresses == 1
    found = side.find("jane@example.com")
    assert found is not None
    assert [one.reason for one in found.spellings] == [ListedReason.COMPLAINT]


def test_the_comparison_counts_each_address_once_and_says_what_is_to_be_done():
    side = AccountSide(
        [
            listed("Both@example.com"),
            listed("theirs@example.com"),
            listed("lifted@example.com"),
            listed("complained@example.com", ListedReason.COMPLAINT),
            listed("scoped@example.com"),
        ]
    )
    local = [
        here("both@example.com"),
        here("complained@example.com"),
        here("ours@example.com"),
        here("hand@example.com", Reason.MANUAL),
        here("soft@example.com", Reason.SOFT_BOUNCE),
        here("scoped@example.com", scope="shop"),
        here("@example.org"),
    ]
    drift = compare(local, side, lambda keys: {"lifted@example.com": NOON + HOUR}, lasting)
    assert drift.counts == {
        Kind.IN_STEP: 1,
        Kind.ONLY_HERE: 1,
        Kind.BY_HAND: 1,
        Kind.TEMPORARY: 1,
        Kind.SCOPED: 1,
        Kind.DOMAIN: 1,
        Kind.STRONGER_AT_SES: 1,
        Kind.ONLY_AT_SES: 2,
        Kind.LIFTED_HERE: 1,
    }
    assert {one.key for one in drift.to_adopt} == {
        "theirs@example.com",
        "scoped@example.com",
        "complained@example.com",
    }
    assert [one.key for one in drift.to_lift] == ["lifted@example.com"]
    assert drift.examples[Kind.ONLY_HERE] == ["ours@example.com"]
    assert Kind.IN_STEP not in drift.examples


def test_what_ses_had_before_a_lifting_does_not_strengthen_what_began_after_it():
    side = AccountSide([listed("jane@example.com", ListedReason.COMPLAINT)])
    drift = compare([here("jane@example.com")], side, lambda keys: {"jane@example.com": NOON + HOUR}, lasting)
    assert drift.counts == {Kind.IN_STEP: 1}
    assert drift.to_adopt == []


def test_of_each_kind_a_few_are_named_and_all_are_counted():
    side = AccountSide(listed(f"u{number}@example.com") for number in range(1200))
    asked = []

    def lifted(keys):
        asked.append(len(keys))
        return {}

    drift = compare([], side, lifted, lasting)
    assert drift.counts[Kind.ONLY_AT_SES] == len(drift.to_adopt) == 1200
    assert len(drift.examples[Kind.ONLY_AT_SES]) == MOST_EXAMPLES
    assert asked == [500, 500, 200]


@pytest.mark.parametrize(
    ("reason", "usually", "with_all"),
    [
        (Reason.BOUNCE, ListedReason.BOUNCE, ListedReason.BOUNCE),
        (Reason.COMPLAINT, ListedReason.COMPLAINT, ListedReason.COMPLAINT),
        (Reason.MANUAL, None, ListedReason.BOUNCE),
        (Reason.UNSUBSCRIBE, None, ListedReason.COMPLAINT),
        (Reason.SOFT_BOUNCE, None, None),
        (Reason.GLOBAL_LIST, None, None),
    ],
)
def test_ses_is_told_its_own_two_reasons_and_the_will_of_people_only_when_asked(reason, usually, with_all):
    assert told_to_ses(reason, all_reasons=False) is usually
    assert told_to_ses(reason, all_reasons=True) is with_all
