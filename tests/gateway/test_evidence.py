from __future__ import annotations

import pytest

from gateway.evidence import Channel, Doubt, Policy, Verdict, channel, verdict

MINUTE = 60_000_000
WITH_EVENTS = Policy(wait=15 * MINUTE, resend=True, has_channel=True)
HOLDING = Policy(wait=15 * MINUTE, resend=False, has_channel=True)
WITHOUT = Policy(wait=15 * MINUTE, resend=True, has_channel=False)
HOLDING_WITHOUT = Policy(wait=15 * MINUTE, resend=False, has_channel=False)


@pytest.mark.parametrize(
    ("policy", "calls", "sent", "seen", "now", "expected"),
    [
        # Nothing was sent later: nobody knows whether events come.
        (WITH_EVENTS, 1, None, None, 500, Verdict.WAIT),
        (HOLDING, 1, None, None, 500, Verdict.WAIT),
        # Mail was sent later, and nothing came: the channel is silent, however long.
        (WITH_EVENTS, 1, 1, None, 5000, Verdict.WAIT),
        (HOLDING, 1, 1, None, 5000, Verdict.WAIT),
        # It was reported on at once: the patience runs from the doubt.
        (WITH_EVENTS, 1, 1, 1, 15, Verdict.WAIT),
        (WITH_EVENTS, 1, 1, 1, 16, Verdict.RESEND),
        (HOLDING, 1, 1, 1, 16, Verdict.HOLD),
        # It was reported on late: the channel was away, and SNS may still repeat ours.
        (WITH_EVENTS, 1, 1, 60, 74, Verdict.WAIT),
        (WITH_EVENTS, 1, 1, 60, 75, Verdict.RESEND),
        # Twice as long after each further call without an answer.
        (WITH_EVENTS, 2, 1, 1, 30, Verdict.WAIT),
        (WITH_EVENTS, 2, 1, 1, 31, Verdict.RESEND),
        (WITH_EVENTS, 3, 1, 1, 60, Verdict.WAIT),
        (WITH_EVENTS, 3, 1, 1, 61, Verdict.RESEND),
        (WITH_EVENTS, 0, 1, 1, 16, Verdict.RESEND),
        # No channel: the setting decides.
        (WITHOUT, 1, None, None, 14, Verdict.WAIT),
        (WITHOUT, 1, None, None, 15, Verdict.RESEND),
        (WITHOUT, 2, None, None, 29, Verdict.WAIT),
        (HOLDING_WITHOUT, 1, None, None, 15, Verdict.HOLD),
    ],
)
def test_what_becomes_of_a_mail_in_doubt(policy, calls, sent, seen, now, expected):
    doubt = Doubt(0, calls, sent and sent * MINUTE, seen and seen * MINUTE)
    assert verdict(doubt, policy, now * MINUTE) is expected


@pytest.mark.parametrize(
    ("policy", "sent", "seen", "now", "expected"),
    [
        (WITHOUT, None, None, 500, Channel.NONE),
        (WITH_EVENTS, None, None, 500, Channel.UNKNOWN),
        (WITH_EVENTS, 10, None, 24, Channel.UNKNOWN),
        (WITH_EVENTS, 10, None, 25, Channel.SILENT),
        (WITH_EVENTS, 10, 11, 25, Channel.ALIVE),
    ],
)
def test_how_the_channel_looks(policy, sent, seen, now, expected):
    doubt = Doubt(0, 1, sent and sent * MINUTE, seen and seen * MINUTE)
    assert channel(doubt, policy, now * MINUTE) is expected


def test_patience_has_an_end_to_its_growth():
    assert WITH_EVENTS.patience(1000) == WITH_EVENTS.patience(11)
