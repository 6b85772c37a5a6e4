"""Kills and outages: what was acknowledged is sent, and nothing is sent twice."""

from __future__ import annotations

import signal
from collections import Counter
from pathlib import Path

import psutil
import pytest

from tests.support.installation import CHILDREN, Installation, mail
from tests.support.waiting import until

pytestmark = pytest.mark.timeout(300)
DATABASES = ("sqlite", "postgresql")


def send_some(installation: Installation, label: str, count: int) -> dict[str, str]:
    """Mails to as many addresses: the id of each by its address."""
    addresses = [f"success+{label}{number}@simulator.amazonses.com" for number in range(count)]
    return {address: installation.send_patiently(mail(label), address) for address in addresses}


def assert_each_sent_once(installation: Installation, acknowledged: dict[str, str]) -> None:
    """Sent once, or AMBIGUOUS with at most one copy: a call was under way when its worker was killed."""

    def settled() -> bool:
        return all(installation.statuses(ulid) <= {"SENT", "DELIVERED", "AMBIGUOUS"} for ulid in acknowledged.values())

    until(settled, seconds=60, every=0.5, what="every acknowledged mail is sent or ambiguous")
    copies = Counter(address for copy in installation.sent() for address in copy["recipients"])
    for address, ulid in acknowledged.items():
        ambiguous = installation.statuses(ulid) == {"AMBIGUOUS"}
        assert copies[address] <= 1, f"{address} was sent {copies[address]} times"
        assert ambiguous or copies[address] == 1, f"{address} was not sent"


@pytest.mark.parametrize("name", CHILDREN)
def test_a_killed_child_comes_back_and_no_mail_is_lost_or_doubled(installation: Installation, name: str) -> None:
    before = send_some(installation, f"before-{name}-", 4)
    installation.kill(name)
    after = send_some(installation, f"after-{name}-", 2)
    assert_each_sent_once(installation, before | after)


def test_without_redis_mail_is_accepted_and_sent_on(installation: Installation) -> None:
    redis = installation.child("redis")
    redis.send_signal(signal.SIGSTOP)
    try:
        stopped = send_some(installation, "stopped", 5)
        assert_each_sent_once(installation, stopped)
    finally:
        redis.send_signal(signal.SIGCONT)
    assert_each_sent_once(installation, send_some(installation, "going", 3))


def test_a_bounce_that_comes_while_the_webhook_is_dead_is_not_lost(installation: Installation) -> None:
    installation.set_faults(event_delay_ms=1500)
    try:
        installation.send_patiently(mail("late"), "bounce+late@simulator.amazonses.com")
        until(lambda: installation.sent_to("bounce+late@simulator.amazonses.com"))
        installation.kill("webhook")
    finally:
        installation.set_faults()
    until(lambda: installation.cli("suppressions", "show", "bounce+late@simulator.amazonses.com").returncode == 0)


@pytest.mark.parametrize("fault", ["reset_after_accept", "truncate_after_accept"])
def test_a_call_with_a_lost_answer_is_settled_by_its_event_and_not_repeated(
    installation: Installation, fault: str
) -> None:
    address = f"success+{fault.replace('_', '-')}@simulator.amazonses.com"
    installation.set_faults(**{fault: 1})
    try:
        ulid = installation.send_patiently(mail("reset"), address)
        until(lambda: installation.statuses(ulid) == {"DELIVERED"}, what="the event settles it")
    finally:
        installation.set_faults()
    assert len(installation.sent_to(address)) == 1


def test_a_clean_stop_leaves_nothing_behind_and_a_restart_keeps_everything(tmp_path: Path) -> None:
    with Installation(tmp_path / "var", SESGATE_WORKERS="1") as installation:
        ulid = installation.send_patiently(mail("kept"), "bounce+kept@simulator.amazonses.com")
        until(lambda: installation.cli("suppressions", "show", "bounce+kept@simulator.amazonses.com").returncode == 0)
        assert installation.stop() == 0
        installation.start()
        assert installation.statuses(ulid) == {"BOUNCED"}
        assert len(installation.sent_to("bounce+kept@simulator.amazonses.com")) == 1
        assert installation.send(mail("again"), "bounce+kept@simulator.amazonses.com")[0] is None
        up_and_family = installation.family()
        assert installation.stop(signal.SIGTERM) == 0
        assert not any(psutil.pid_exists(process.pid) for process in up_and_family)
