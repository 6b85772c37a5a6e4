"""Whether AWS may be asked at all: the clock, the credentials, the region."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import urlsplit

from gateway.aws.call_errors import AwsCallError
from gateway.aws.provisioning.names import Place
from gateway.aws.session import Aws
from gateway.findings import Finding, Ledger, failed, ok, skipped, warning
from gateway.settings import SANDBOX_ACCOUNT
from gateway.sns_topics import TopicsError, parse_topic

CLOCK: Final = "clock"
CREDENTIALS: Final = "credentials"
REGION: Final = "region"

_LARGE: Final = timedelta(minutes=5)
_TOO_LARGE: Final = timedelta(minutes=15)


def look_at_access(
    ledger: Ledger,
    aws: Aws,
    topics: Iterable[str],
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    *,
    needs: tuple[str, ...] = (),
) -> Place | None:
    """The place that the credentials work in; None when AWS cannot be asked, which the ledger says."""
    missing = ledger.missing(needs)
    if missing is not None:
        ledger.add(*(skipped(check, f"needs {missing}") for check in (CLOCK, CREDENTIALS, REGION)))
        return None
    answer, error = _who_am_i(aws)
    ledger.add(judge_clock(_date(answer, error), now()))
    place: Place | None = None

    def credentials() -> Finding:
        nonlocal place
        if answer is None:
            return judge_refusal(error)
        place = Place(str(answer["Account"]), aws.region, aws.partition)
        return judge_identity(place, str(answer.get("Arn", "")))

    ledger.check(CREDENTIALS, credentials, needs=() if _date(answer, error) is None else (CLOCK,))
    ledger.check(REGION, lambda: judge_region(aws.region, _endpoint(aws), topics), needs=[CREDENTIALS])
    return place if ledger.missing([CREDENTIALS, REGION]) is None else None


def _who_am_i(aws: Aws) -> tuple[dict[str, Any] | None, AwsCallError | None]:
    try:
        return aws.call("sts", "GetCallerIdentity"), None
    except AwsCallError as error:
        return None, error


def _date(answer: Mapping[str, Any] | None, error: AwsCallError | None) -> datetime | None:
    """When AWS answered, by its own clock; None when nothing of AWS answered."""
    response = answer if answer is not None else getattr(error and error.__cause__, "response", {})
    headers = response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    try:
        return parsedate_to_datetime(str(headers.get("date", "")))
    except ValueError:
        return None


def _endpoint(aws: Aws) -> str:
    return str(aws.client("sesv2").meta.endpoint_url)


def judge_clock(theirs: datetime | None, ours: datetime) -> Finding:
    """AWS refuses requests that are 5 to 15 minutes off; our check of SNS's messages refuses by the same clock."""
    if theirs is None:
        return skipped(CLOCK, "AWS did not answer, so there is no clock to compare with")
    off = ours - theirs
    seen = f"{_spoken(abs(off))} {'ahead of' if off > timedelta(0) else 'behind'} AWS's"
    fix = "Set this machine's clock by NTP: `timedatectl set-ntp true`, or chrony."
    if abs(off) > _TOO_LARGE:
        return failed(CLOCK, f"{seen}: AWS refuses requests, and messages of SNS are put off", fix)
    if abs(off) > _LARGE:
        return warning(CLOCK, seen, fix)
    return ok(CLOCK, "agrees with AWS's" if abs(off) < timedelta(seconds=3) else seen)


def _spoken(length: timedelta) -> str:
    seconds = round(length.total_seconds())
    return f"{seconds} s" if seconds < 120 else f"{seconds // 60} min"  # noqa: PLR2004  from two minutes on


def judge_identity(place: Place, arn: str) -> Finding:
    if place.account == SANDBOX_ACCOUNT:
        return ok(CREDENTIALS, "those of the simulated AWS")
    if arn.endswith(":root"):
        return warning(
            CREDENTIALS,
            f"the root user of account {place.account}",
            "Give the gateway a role or a user that may do what it needs: `sesgate provision --output iam` prints it.",
        )
    return ok(CREDENTIALS, f"{arn} in account {place.account}")


def judge_refusal(error: AwsCallError | None) -> Finding:
    sentence = str(error)
    seen, _, fix = sentence.partition(": ")
    if error is not None and error.is_unknown_call:
        return failed(CREDENTIALS, sentence, "Check AWS_ENDPOINT_URL: it must answer sts:GetCallerIdentity.")
    return failed(CREDENTIALS, seen.rstrip("."), fix[:1].upper() + fix[1:] or sentence)


def judge_region(region: str, endpoint: str, topics: Iterable[str]) -> Finding:
    """SES publishes to topics of its own region only, and identities and sets belong to one region each."""
    host = urlsplit(endpoint).hostname or ""
    if ".amazonaws." in host and f".{region}." not in host:
        return failed(
            REGION,
            f"AWS_REGION is {region}, but SES is asked at {host}",
            "Let AWS_REGION and AWS_ENDPOINT_URL name the same region, or leave AWS_ENDPOINT_URL out.",
        )
    trusted = sorted(topics)
    elsewhere = {arn: found for arn in trusted if (found := _region_of(arn)) not in {region, None}}
    if not elsewhere:
        return ok(REGION, region)
    arn, other = min(elsewhere.items())
    seen = f"AWS_REGION is {region}, but the trusted topic {arn} is in {other}"
    fix = (
        f"Set AWS_REGION={other} if SES and its topics are there; else run `sesgate provision` for {region} and take"
        f" the topic out of SESGATE_SNS_TOPIC_ARNS."
    )
    return failed(REGION, seen, fix) if len(elsewhere) == len(trusted) else warning(REGION, seen, fix)


def _region_of(arn: str) -> str | None:
    try:
        return parse_topic(arn).region
    except TopicsError:
        return None
