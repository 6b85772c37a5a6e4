from __future__ import annotations

import pytest

from gateway.aws.identities import IdentitiesUnknownError, IdentityPage
from gateway.settings import Settings
from gateway.store.control import GUARD, IDENTITIES, IDENTITY_REFUSED
from tasks.guard_notice import GuardNotice
from tasks.identity_watch import IdentityWatch
from tests.support.mail import lease_of


class Aws:
    """Answers with pages of one name each, or fails."""

    def __init__(self):
        self.pages = [("example.com",)]
        self.error = None
        self.asked = []

    def __call__(self, token):
        self.asked.append(token)
        if self.error is not None:
            raise self.error
        number = int(token or 0)
        more = str(number + 1) if number + 1 < len(self.pages) else None
        return IdentityPage(self.pages[number], 0, "eu-west-1", more)


class Running:
    """Housekeeping that runs the chore every time it wants to be run."""

    def __init__(self, stores, aws):
        self.now = 0.0
        self.lease = lease_of(stores)
        self.watch = IdentityWatch(stores.control, aws, lambda: self.now, wall=lambda: 1000.0 + self.now)

    def go_on(self, seconds):
        end = self.now + seconds
        while self.now < end:
            self.now += self.watch.run(self.lease)


@pytest.fixture
def aws():
    return Aws()


@pytest.fixture
def running(stores, aws):
    return Running(stores, aws)


def test_the_list_is_written_down_at_once_and_every_minute(stores, aws, running):
    running.go_on(1)
    assert stores.control.get(IDENTITIES) == {
        "identities": ["example.com"],
        "complete": True,
        "others": 0,
        "region": "eu-west-1",
        "at": 1000.0,
    }
    running.go_on(121)
    assert len(aws.asked) == 3


def test_one_page_a_second_is_read_and_only_the_whole_list_is_written_down(stores, aws, running):
    aws.pages = [("a.test",), ("b.test",), ("c.test",)]
    running.go_on(2)
    assert aws.asked == [None, "1"]
    assert stores.control.get(IDENTITIES) is None
    running.go_on(1)
    assert stores.control.get(IDENTITIES)["identities"] == ["a.test", "b.test", "c.test"]


def test_after_a_refused_sender_the_list_is_read_soon_but_not_for_each(stores, aws, running):
    running.go_on(2)
    for number in range(8):
        stores.control.put(IDENTITY_REFUSED, {"at": float(number)})
        running.go_on(1)
    assert len(aws.asked) == 2
    running.go_on(20)
    assert len(aws.asked) == 3, "one that was refused while the list was just read is heeded when it may be"


def test_credentials_that_may_not_list_leave_everything_to_ses_and_one_warning(stores, aws, running, capsys):
    running.go_on(1)
    aws.error = IdentitiesUnknownError("AccessDenied", is_denied=True)
    running.go_on(200)
    assert stores.control.get(IDENTITIES)["complete"] is False
    assert len(aws.asked) == 4
    told = capsys.readouterr().out
    assert told.count("housekeeping.identities_unknown") == 1
    assert "ses:ListEmailIdentities" in told
    aws.error = None
    running.go_on(60)
    assert stores.control.get(IDENTITIES)["complete"] is True


def test_a_failure_of_the_moment_leaves_what_was_known(stores, aws, running):
    running.go_on(1)
    aws.error = IdentitiesUnknownError("time-out", is_denied=False)
    running.go_on(90)
    assert stores.control.get(IDENTITIES)["identities"] == ["example.com"]
    assert len(aws.asked) == 5, "at 0, 60, 70, 80 and 90"


def test_the_guard_of_the_workers_is_told_to_everybody(stores):
    lease = lease_of(stores)
    GuardNotice(stores.control, Settings(capture_only=True)).run(lease)
    assert stores.control.get(GUARD)["kind"] == "everything"
    GuardNotice(stores.control, Settings(allowed_recipients=("example.com",))).run(lease)
    assert stores.control.get(GUARD) == {
        "kind": "outside",
        "reason": "Mail is sent to example.com only (SESGATE_ALLOWED_RECIPIENTS); what goes elsewhere is accepted and"
        " kept.",
    }
    GuardNotice(stores.control, Settings()).run(lease)
    assert stores.control.get(GUARD) is None
