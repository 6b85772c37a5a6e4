from __future__ import annotations

import pytest

from gateway.silence import Evidence, Finding, Policy, find

NOW, PATIENCE = 10_000, 1_000
PROMISED, IDENTITY = Policy(PATIENCE), Policy(PATIENCE, promised=False)


@pytest.mark.parametrize(
    ("evidence", "policy", "finding"),
    [
        (Evidence(), PROMISED, Finding.HEARD),
        (Evidence(last_report_at=1), PROMISED, Finding.HEARD),
        (Evidence(unreported_since=9_500), PROMISED, Finding.HEARD),
        (Evidence(unreported_since=9_001, last_report_at=5), PROMISED, Finding.HEARD),
        (Evidence(unreported_since=9_000, last_report_at=5), PROMISED, Finding.SILENT),
        (Evidence(unreported_since=9_000), PROMISED, Finding.NEVER),
        (Evidence(unreported_since=11_000), PROMISED, Finding.HEARD),
        (Evidence(unreported_since=1), IDENTITY, Finding.UNPROMISED),
        (Evidence(unreported_since=1, last_report_at=1), IDENTITY, Finding.UNPROMISED),
        (Evidence(unreported_since=9_000, last_report_at=1, deliveries=True), IDENTITY, Finding.SILENT),
        (Evidence(unreported_since=9_001, last_report_at=1, deliveries=True), IDENTITY, Finding.HEARD),
    ],
)
def test_silence_is_mail_that_was_taken_and_that_no_report_came_on_in_time(evidence, policy, finding):
    assert find(evidence, policy, NOW) is finding
