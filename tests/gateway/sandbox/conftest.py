"""One sandbox and one webhook for the tests of this folder that leave it as they found it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.gateway.sandbox.receiver import Receiver
from tests.support.sandbox import Sandbox
from tests.support.waiting import until


@pytest.fixture(scope="package")
def webhook() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.fixture(scope="package")
def running(webhook: Receiver) -> Iterator[Sandbox]:
    with Sandbox(webhook_url=webhook.url) as sandbox:
        until(sandbox.confirmed, what="the subscription is confirmed")
        yield sandbox


def waiting(row: dict[str, Any]) -> bool:
    return row["type"] == "Notification" and row["status"] == "PENDING"


@pytest.fixture
def sandbox(running: Sandbox) -> Iterator[Sandbox]:
    """The running one, with the default account, no faults, no fates, no identities and no suppressions afterwards."""
    yield running
    until(lambda: not any(waiting(row) for row in running.notifications()), what="all notifications have ended")
    running.set_faults()
    running.set_account()
    running.set_fates()
    ses = running.client("sesv2")
    for identity in ses.list_email_identities()["EmailIdentities"]:
        ses.delete_email_identity(EmailIdentity=identity["IdentityName"])
    for listed in ses.list_suppressed_destinations()["SuppressedDestinationSummaries"]:
        ses.delete_suppressed_destination(EmailAddress=listed["EmailAddress"])
