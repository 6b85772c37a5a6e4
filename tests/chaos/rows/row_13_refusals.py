"""Row 13: SES throttles, pauses the account, does not know the credentials, or refuses a mail for good."""

from __future__ import annotations

import time
from itertools import islice

from tests.chaos.book import wait_for
from tests.chaos.client import Client, addresses
from tests.chaos.conclusion import settle
from tests.chaos.scenario import Run, Tier, scenario
from tests.chaos.site import Site, build, start
from tests.chaos.tap import Refusal, Tap

_OPENS_WITHIN = 5.0
_RESUMES_WITHIN = 60.0
_MAILS = 3

# Codes and texts as AWS gives them (SES: "Common errors", "SendEmail", "Errors related to the sending quotas").
_THROTTLED = (
    Refusal("TooManyRequestsException", "Maximum sending rate exceeded.", 429),
    Refusal("ThrottlingException", "Rate exceeded", 400),
    Refusal("Throttling", "Maximum sending rate exceeded.", 400),
)
_ACCOUNT = (
    Refusal("AccountSuspendedException", "Your account's ability to send email is permanently restricted.", 400),
    Refusal("ExpiredTokenException", "The security token included in the request is expired", 403),
    Refusal("InvalidClientTokenId", "The security token included in the request is invalid.", 403),
    Refusal("UnrecognizedClientException", "The security token included in the request is invalid.", 403),
    Refusal("SignatureDoesNotMatch", "The request signature we calculated does not match.", 403),
    Refusal("InvalidSignatureException", "Signature expired: 20261122T000000Z is now earlier than ...", 403),
    Refusal("RequestTimeTooSkewed", "The difference between the request time and the current time is too large.", 403),
    Refusal("MissingAuthenticationToken", "Missing Authentication Token", 403),
    Refusal("OptInRequired", "The AWS Access Key Id needs a subscription for the service", 403),
    Refusal("AccessDeniedException", "User: arn:aws:iam::000000000000:user/x is not authorized", 403),
    Refusal("NotFoundException", "Configuration set <sesgate> does not exist.", 404),
    Refusal("SendingPausedException", "Sending paused for this account.", 400),
)
_QUOTA = Refusal("TooManyRequestsException", "Daily message quota exceeded.", 429)
_FOR_GOOD = (
    Refusal("MessageRejected", "Transaction failed: Duplicate header 'Subject'.", 400),
    Refusal("BadRequestException", "Missing final '@domain'", 400),
    Refusal("RequestEntityTooLarge", "Request Entity Too Large", 413),
)


@scenario(
    "13",
    title="Each throttling, account and quota error of SES for some time, and each permanent one",
    passes="the first: no attempt counted, none failed, the circuit opens within 5 s, sending resumes within 60 s; "
    "the permanent: failed once, visible, never tried again",
    tiers={Tier.STANDARD: 160, Tier.LONG: 900},
)
def refusals(run: Run) -> None:
    site = build(run, tapped=True, SESGATE_DISPATCHER_LEASE="2s")
    tap = site.tap
    assert tap is not None
    start(site)
    fresh = Fresh(site)
    for refusal in _THROTTLED:
        _throttle(run, site, tap, fresh, refusal)
    opened = [_stop(run, site, tap, fresh, refusal, wait=run.tier is Tier.LONG) for refusal in _ACCOUNT[:-1]]
    opened.append(_stop(run, site, tap, fresh, _ACCOUNT[-1], wait=True))
    opened.append(_stop(run, site, tap, fresh, _QUOTA, wait=True))
    run.figure("seconds until the circuit opened, at most", max(opened))
    run.figure("errors that throttle or stop", len(_THROTTLED) + len(_ACCOUNT) + 1)
    for refusal in _FOR_GOOD:
        _refuse(run, site, tap, fresh, refusal)
    settle(run, site.book, 60)
    counted = site.book.rows("SELECT count(*) FROM recipients WHERE status <> 'FAILED' AND attempts <> 1")[0][0]
    run.figure("mails with an attempt counted for a call that was refused", counted)
    run.check(counted == 0, f"only the call that was accepted counts as an attempt, but for {counted} mails")
    site.conclude()


class Fresh:
    """A client that hands in some mails at a time."""

    def __init__(self, site: Site) -> None:
        self._client = Client(site.programs.smtp_port, site.ledger)
        self._addresses = addresses()

    def mails(self) -> list[str]:
        some = list(islice(self._addresses, _MAILS))
        for address in some:
            self._client.hand_in(address)
        self._client.quit()
        return some


def _throttle(run: Run, site: Site, tap: Tap, fresh: Fresh, refusal: Refusal) -> None:
    tap.fault = lambda _: refusal
    mails = fresh.mails()
    wait_for(lambda: _called(tap, mails), 15)
    time.sleep(2 if run.tier is Tier.STANDARD else 60)
    tap.stop_faults()
    run.check(site.book.fact("circuit") is None, f"{refusal.code} opens no circuit")
    _resumed(run, site, mails, refusal)


def _stop(run: Run, site: Site, tap: Tap, fresh: Fresh, refusal: Refusal, *, wait: bool) -> float:
    """The seconds from the first call that was refused until the circuit was seen open."""
    run.say(f"{refusal.code}: {refusal.message}")
    tap.fault = lambda _: refusal
    mails = fresh.mails()
    called = wait_for(lambda: _called(tap, mails), 15, every=0.02)
    opened = wait_for(lambda: site.book.fact("circuit") is not None, _OPENS_WITHIN + 10, every=0.02)
    run.check(called is not None and opened is not None, f"{refusal.code} opens the circuit")
    run.check((opened or 0) <= _OPENS_WITHIN, f"{refusal.code}: the circuit opens within {_OPENS_WITHIN:.0f} s")
    waits = wait_for(lambda: _all_are(site, mails, "QUEUED"), 15)  # those that were called side by side come back, too
    run.check(waits is not None, f"{refusal.code}: mail waits, and none of it fails")
    tap.stop_faults()
    if not wait:
        site.book.forget("circuit")
    _resumed(run, site, mails, refusal)
    return opened or 0.0


def _resumed(run: Run, site: Site, mails: list[str], refusal: Refusal) -> None:
    took = wait_for(lambda: _all_are(site, mails, "SENT", "DELIVERED"), _RESUMES_WITHIN * 2)
    run.check(took is not None and took <= _RESUMES_WITHIN, f"{refusal.code}: sending resumes within 60 s, not {took}")
    longest = run.figures.get("seconds until sending resumed, at most", 0.0)
    run.figure("seconds until sending resumed, at most", max(float(longest), took or 0.0))


def _refuse(run: Run, site: Site, tap: Tap, fresh: Fresh, refusal: Refusal) -> None:
    tap.fault = lambda _: refusal
    mails = fresh.mails()
    failed = wait_for(lambda: _all_are(site, mails, "FAILED"), 20)
    time.sleep(3)  # the first back-off: if anybody tried again, it would be now
    calls = sum(call.address in mails for call in tap.calls)
    tap.stop_faults()
    run.check(failed is not None, f"{refusal.code} ({refusal.status}): the mail is FAILED, where a person sees it")
    run.check(calls == len(mails), f"{refusal.code} ({refusal.status}): {calls} calls for {len(mails)} mails")


def _called(tap: Tap, mails: list[str]) -> bool:
    return any(call.address in mails for call in tap.calls)


def _all_are(site: Site, mails: list[str], *these: str) -> bool:
    statuses = site.book.statuses()
    return all(statuses.get(address) in these for address in mails)
