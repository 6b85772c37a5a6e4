"""A gateway that is only tried out mails nobody but its testers, and sends from an address that SES takes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from gateway.settings import Settings
from gateway.store.identities import KnownIdentities
from gateway.store.stores import open_stores
from tests.gateway.smtp.running import running_front
from tests.support.installation import Installation, mail
from tests.support.waiting import until

pytestmark = pytest.mark.timeout(300)

CUSTOMER, TESTER = "customer@example.net", "success+qa@simulator.amazonses.com"


@pytest.fixture(scope="module")
def staging(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with Installation(
        tmp_path_factory.mktemp("staging") / "var",
        SESGATE_ALLOWED_RECIPIENTS=".amazonses.com",
        SESGATE_REWRITE_FROM="gateway@verified.example",
    ) as running:
        yield running


@pytest.fixture(scope="module")
def verified(staging: Installation) -> str:
    """The first identity: from now on the simulated AWS sends from it only."""
    make: Any = boto3.client  # its stubs know each service by its literal name only
    ses = make(
        "sesv2",
        endpoint_url=f"http://127.0.0.1:{staging.sandbox_port}",
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )
    ses.create_email_identity(EmailIdentity="verified.example")
    return "verified.example"


def test_a_customer_is_not_mailed_and_a_tester_is(staging: Installation) -> None:
    assert "Warning: Mail is sent to .amazonses.com only (SESGATE_ALLOWED_RECIPIENTS)" in staging.log
    assert "smtp.staging_guard" in staging.log
    assert "worker.staging_guard" in staging.log
    ulid, _ = staging.send(mail("guard"), CUSTOMER, TESTER)
    assert ulid is not None
    until(lambda: "DELIVERED" in staging.statuses(ulid), seconds=60, what="the tester has the mail")
    told = {one["address"]: (one["status"], one["reason"]) for one in staging.message(ulid)["recipients"]}
    assert told[CUSTOMER][0] == "CANCELLED"
    assert told[CUSTOMER][1].startswith("captured: SESGATE_ALLOWED_RECIPIENTS")
    assert staging.sent_to(CUSTOMER) == []
    assert "the staging guard is on" in staging.cli("queue", "status").stdout
    assert b'sesgate_capturing{kind="outside"} 1.0' in staging.get(staging.admin_port, "/metrics")


def test_mail_that_an_operator_sends_again_is_kept_again(staging: Installation) -> None:
    ulid, _ = staging.send(mail("again"), CUSTOMER)
    assert ulid is not None
    retried = staging.cli("messages", "retry", ulid, "--status", "CANCELLED", "--yes")
    assert retried.returncode == 0, retried.stderr
    until(lambda: "send.captured" in staging.log, what="the worker keeps it")
    until(lambda: staging.statuses(ulid) == {"CANCELLED"}, what="it is ended again")
    assert staging.sent_to(CUSTOMER) == []


def test_a_sender_that_ses_refuses_is_rewritten_as_soon_as_that_is_known(staging: Installation, verified: str) -> None:
    to = "success+rewritten@simulator.amazonses.com"
    ulid, _ = staging.send(mail("rewritten"), to)
    copies = until(lambda: staging.sent_to(to), seconds=90, what="it is sent under another sender")
    header = staging.raw(copies[0]).partition(b"\r\n\r\n")[0].split(b"\r\n")
    assert f"From: Shop <gateway@{verified}>".encode() in header
    assert b"Reply-To: Shop <app@example.com>" in header
    assert ulid is not None
    assert staging.message(ulid)["header_from"] == "Shop <app@example.com>"
    assert "send.sender_rewritten" in staging.log


def test_without_the_rule_such_a_sender_is_refused_at_the_door(
    staging: Installation, verified: str, tmp_path: Path
) -> None:
    """A second front over the same data, whose settings have no rule."""
    stores = open_stores(Settings(data_dir=staging.directory))
    try:
        known = KnownIdentities(stores.db)
        until(lambda: known.get() is not None, seconds=90, what="the list is read anew")
        with running_front(
            tmp_path, messages=stores.messages, suppressions=stores.suppressions, identities=known
        ) as front:
            with front.connect() as client:
                refused = client.mail(mail("refused"))
            with front.connect() as client:
                accepted = client.mail(mail("accepted").replace(b"app@example.com", f"app@sub.{verified}".encode()))
    finally:
        stores.close()
    assert refused == (
        "550 5.7.1 Amazon SES in us-east-1 does not send for <app@example.com> in the From header: verify that address"
        f" or example.com there (it counts here within two minutes), or use an address of {verified}"
    )
    assert accepted.startswith("250 2.0.0 ")
