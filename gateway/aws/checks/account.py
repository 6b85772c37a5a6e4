"""The SES account: whether it may send, and how much is left."""

from __future__ import annotations

from typing import Final

from gateway.aws.account import Account, account_of
from gateway.aws.call_errors import AwsCallError
from gateway.aws.checks.asking import Desk, not_seen
from gateway.findings import Finding, Ledger, failed, ok, warning

ACCOUNT: Final = "account"
QUOTA: Final = "quota"
SUPPRESSION_LIST: Final = "suppression list"

_NEARLY: Final = 0.8


def look_at_account(ledger: Ledger, desk: Desk) -> None:
    try:
        account = account_of(desk.aws.call("sesv2", "GetAccount"))
    except AwsCallError as error:
        ledger.add(not_seen(ACCOUNT, error), not_seen(QUOTA, error))
        return
    ledger.add(judge_account(account, desk.place.region), judge_quota(account))


def judge_account(account: Account, region: str) -> Finding:
    """The worst of what is said of it: it ends, it is paused, it is watched, it is in the sandbox."""
    if account.enforcement_status == "SHUTDOWN":
        return failed(
            ACCOUNT,
            f"AWS has shut sending down in {region} (enforcement status SHUTDOWN)",
            "Answer AWS's case in the Support Center: it says why, and what it wants to know.",
        )
    if not account.sending_enabled:
        return failed(
            ACCOUNT,
            f"sending is paused for the whole account in {region}",
            "Find out who paused it, then: aws sesv2 put-account-sending-attributes --sending-enabled",
        )
    if account.enforcement_status == "PROBATION":
        return warning(
            ACCOUNT,
            f"AWS reviews this account (enforcement status PROBATION in {region})",
            "Stop what bounces or is complained about (`sesgate queue status` shows rates), and answer AWS's case.",
        )
    if not account.production_access:
        return warning(
            ACCOUNT,
            f"in the SES sandbox in {region}: only verified addresses and the mailbox simulator can be mailed",
            "Ask AWS for production access: SES console, Account dashboard; docs/aws.md says what it wants to know.",
        )
    return ok(ACCOUNT, f"production access in {region}, sending is enabled, status {account.enforcement_status}")


def judge_quota(account: Account) -> Finding:
    rate = f"{account.max_send_rate:g} a second"
    if account.max_24_hour_send < 0:
        return ok(QUOTA, f"no limit a day, {rate}")
    used = f"{account.sent_last_24_hours:,.0f} of {account.max_24_hour_send:,.0f} used in 24 hours, {rate}"
    fix = "Ask AWS for a higher quota (Service Quotas, Amazon SES); mail waits here until there is room again."
    if not account.has_capacity:
        return failed(QUOTA, f"used up: {used}", fix)
    if account.sent_last_24_hours > _NEARLY * account.max_24_hour_send:
        return warning(QUOTA, used, fix)
    return ok(QUOTA, used)


def look_at_suppression_list(ledger: Ledger, desk: Desk) -> None:
    """Only whether `sesgate suppressions sync` may read it."""
    try:
        desk.aws.call("sesv2", "ListSuppressedDestinations", PageSize=1)
    except AwsCallError as error:
        ledger.add(not_seen(SUPPRESSION_LIST, error))
        return
    ledger.add(ok(SUPPRESSION_LIST, "SES's own list can be read"))
