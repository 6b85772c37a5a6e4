"""Every program started by hand, as the README says, on either database."""

from __future__ import annotations

import smtplib
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.support.by_hand import ByHand
from tests.support.installation import mail
from tests.support.postgres import Postgres
from tests.support.waiting import until

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(params=["sqlite", "postgresql"])
def by_hand(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ByHand]:
    url = ""
    if request.param == "postgresql":
        postgres: Postgres = request.getfixturevalue("postgres")
        url = postgres.url(postgres.new_database())
    # A child that is killed between its attempt's row and its call leaves a claim that only the lease ends.
    with ByHand(tmp_path / "var", url, SESGATE_CLAIM_LEASE="20s") as programs:
        yield programs


def send(by_hand: ByHand, to: str) -> None:
    with smtplib.SMTP("127.0.0.1", by_hand.smtp_port, timeout=30) as client:
        client.sendmail("app@example.com", [to], mail("by hand"))


def suppressed(by_hand: ByHand, address: str) -> bool:
    return any(entry["address"] == address for entry in by_hand.shown("suppressions", "list"))


def test_the_loop_goes_round(by_hand: ByHand) -> None:
    by_hand.smtp()
    by_hand.webhook()
    by_hand.worker("worker1")
    by_hand.worker("worker2")
    by_hand.flower()
    send(by_hand, "success@simulator.amazonses.com")
    send(by_hand, "bounce@simulator.amazonses.com")
    until(lambda: suppressed(by_hand, "bounce@simulator.amazonses.com"))
    with pytest.raises(smtplib.SMTPRecipientsRefused, match=r"suppressed \(bounce"):
        send(by_hand, "bounce@simulator.amazonses.com")
    for name in ("smtp", "worker1", "worker2", "webhook"):
        assert by_hand.stop(name) == 0, by_hand.log(name)


def test_the_default_pool_survives_killed_children(by_hand: ByHand) -> None:
    """`celery -A tasks worker` as it comes: prefork. What a killed child had claimed comes back to another."""
    by_hand.smtp()
    by_hand.webhook()
    by_hand.worker("worker", "-c", "2")
    worker = psutil.Process(by_hand.pid("worker"))
    for number in range(10):
        for part in range(4):
            send(by_hand, f"success+n{number}p{part}@simulator.amazonses.com")
        children = [child for child in worker.children() if child.status() != "zombie"]
        if children:
            children[number % len(children)].kill()

    def settled() -> bool:
        statuses = {
            recipient["status"]
            for message in by_hand.shown("messages", "list", "--limit", "100")
            for recipient in message["recipients"]
        }
        return statuses <= {"SENT", "DELIVERED", "AMBIGUOUS"}

    until(settled, seconds=60, every=0.5, what="everything is sent or ambiguous")
    addresses = [address for copy in by_hand.sent() for address in copy["recipients"]]
    assert len(addresses) == len(set(addresses))
    ambiguous = [
        recipient["address"]
        for message in by_hand.shown("messages", "list", "--limit", "100", "--status", "AMBIGUOUS")
        for recipient in message["recipients"]
    ]
    assert len(set(addresses) | set(ambiguous)) == 40
