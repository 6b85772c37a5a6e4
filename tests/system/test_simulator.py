"""Every address of the mailbox simulator, through all that `make run` starts: status, reason, suppression, why."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass

import pytest

from tests.support.installation import mail
from tests.support.waiting import until

DATABASES = ("sqlite", "postgresql")
SIMULATOR = "simulator.amazonses.com"


@dataclass(frozen=True)
class Case:
    """`events` in any order; `second` is the beginning of the reply to the next mail; `why` stands in the answer."""

    local_part: str
    status: str
    reason: str
    events: frozenset[str]
    suppressed_for: str | None
    second: str
    why: tuple[str, ...]


CASES = (
    Case("success", "DELIVERED", "Delivery: 250 ", frozenset({"Send", "Delivery"}), None, "250", ("would be sent",)),
    Case(
        "bounce",
        "BOUNCED",
        "Bounce Permanent/General: smtp; 550 5.1.1 user unknown",
        frozenset({"Send", "Bounce"}),
        "bounce",
        "550 5.1.1",
        ("user unknown", "suppressions remove"),
    ),
    Case(
        "complaint",
        "COMPLAINED",
        "Complaint abuse",
        frozenset({"Send", "Delivery", "Complaint"}),
        "complaint",
        "550 5.7.1",
        ("complain", "suppressions remove"),
    ),
    Case(
        "ooto",
        "DELIVERED",
        "Delivery: 250 ",
        frozenset({"Send", "Delivery", "Bounce"}),
        None,
        "250",
        ("would be sent",),
    ),
    Case(
        "suppressionlist",
        "BOUNCED",
        "Bounce Permanent/Suppressed: ",
        frozenset({"Send", "Bounce"}),
        "global-list",
        "550 5.1.1",
        ("suppress", "suppressions remove"),
    ),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.local_part)
def test_what_the_simulator_does_is_seen_everywhere(installation, case):
    address = f"{case.local_part}+{secrets.token_hex(4)}@{SIMULATOR}"
    ulid, refused = installation.send(mail("A first one"), address)
    assert refused == {}
    until(lambda: installation.event_kinds(ulid) >= case.events, what=f"the events of {address}")

    shown = installation.message(ulid)
    assert [one["status"] for one in shown["recipients"]] == [case.status]
    assert case.reason in shown["recipients"][0]["reason"]
    assert _suppressed_for(installation, address) == case.suppressed_for

    _, refused = installation.send(mail("A second one"), address)
    reply = " ".join((str(refused[address][0]), refused[address][1].decode())) if refused else "250"
    assert reply.startswith(case.second)
    if case.suppressed_for:
        assert f"suppressed ({case.suppressed_for}, " in reply

    why = installation.cli("why", address)
    assert why.returncode == 0, why.stderr
    for words in (ulid, *case.why):
        assert words in why.stdout, why.stdout


def _suppressed_for(installation, address) -> str | None:
    shown = installation.cli("suppressions", "show", address, "--json")
    if shown.returncode:
        return None
    entries = json.loads(shown.stdout)
    return str(entries["in_force"][0]["reason"])
