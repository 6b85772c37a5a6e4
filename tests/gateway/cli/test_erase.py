from __future__ import annotations

import json

import pytest

from gateway.addresses import parse_mailbox
from gateway.suppression_policy import Reason
from tests.support.mail import accept, begun, rows

ANN = parse_mailbox("ann@example.com")


@pytest.fixture
def ended(stores):
    """Ann got a mail, and complained."""
    (recipient,) = accept(stores, "ann@example.com")
    stores.sending.accepted(begun(stores, recipient), "ses-1")
    stores.suppressions.add(ANN, Reason.COMPLAINT, source="SES", detail="", actor="jane")
    return stores


def test_a_dry_run_removes_nothing(sesgate, ended):
    shown = sesgate("erase", "Ann@Example.com", "--dry-run")
    assert shown.exit_code == 0, shown.output
    assert "1 to it alone" in shown.stdout
    assert "kept, so that the address is not mailed again (complaint, " in shown.stdout
    assert rows(ended, "SELECT count(*) FROM recipients") == [(1,)]
    assert json.loads(sesgate("erase", "ann@example.com", "--dry-run", "--json").stdout)["erased"] is False


def test_erasing_needs_a_yes(sesgate, ended):
    refused = sesgate("erase", "ann@example.com")
    assert refused.exit_code == 2
    assert "--yes" in refused.stderr
    assert rows(ended, "SELECT count(*) FROM recipients") == [(1,)]


def test_erasing_keeps_the_suppression_and_says_so(sesgate, ended):
    erased = sesgate("erase", "ann@example.com", "--yes")
    assert erased.exit_code == 0, erased.output
    assert "kept, so that the address is not mailed again" in erased.stdout
    assert "ann@example.com is removed." in erased.stdout
    assert "docs/erase.md" in erased.stderr
    assert ended.suppressions.find(ANN).reason is Reason.COMPLAINT
    assert rows(ended, "SELECT count(*) FROM messages") == [(0,)]


def test_the_suppression_is_forgotten_when_that_is_wanted(sesgate, ended):
    erased = sesgate("erase", "ann@example.com", "--yes", "--forget-suppression", "--json")
    told = json.loads(erased.stdout)
    assert (told["erased"], told["messages"], told["recipients"]) == (True, 1, 1)
    assert ended.suppressions.find(ANN) is None


def test_mail_that_waits_stops_it_with_the_way_on(sesgate, stores):
    accept(stores, "ann@example.com")
    refused = sesgate("erase", "ann@example.com", "--yes")
    assert refused.exit_code == 1
    assert "1 QUEUED" in refused.stderr
    assert "--cancel" in refused.stderr
    assert sesgate("erase", "ann@example.com", "--yes", "--cancel").exit_code == 0
    assert rows(stores, "SELECT count(*) FROM messages") == [(0,)]


def test_content_that_others_need_is_told(sesgate, stores):
    ann, _bob = accept(stores, "ann@example.com", "bob@example.com")
    stores.sending.accepted(begun(stores, ann), "ses-1")
    erased = sesgate("erase", "ann@example.com", "--yes")
    assert erased.exit_code == 0
    assert "SESGATE_RETAIN_CONTENT" in erased.stderr


def test_somebody_unknown_is_no_failure(sesgate, stores):
    erased = sesgate("erase", "nobody@example.com", "--yes")
    assert erased.exit_code == 0
    assert "none: the address can be mailed" in erased.stdout


def test_what_is_no_address_is_bad_usage(sesgate, stores):
    assert sesgate("erase", "ann").exit_code == 2
