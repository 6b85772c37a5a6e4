"""The account-level suppression list of SES: read, asked and changed at the pace that AWS allows."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    HTTPClientError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
    ProfileNotFound,
)
from botocore.exceptions import ConnectionError as NoConnectionError

from gateway.suppression_drift import Listed, ListedReason

_PAGE_SIZE = 1000
_INTERVAL = 1.0  # AWS allows one request a second for each of these operations
_BACK_OFFS = (2.0, 4.0, 8.0, 16.0)
_THROTTLED = frozenset({"TooManyRequestsException", "ThrottlingException", "Throttling", "LimitExceededException"})
_DENIED = frozenset({"AccessDenied", "AccessDeniedException", "NotAuthorized"})
_BAD_CREDENTIALS = frozenset(
    {
        "ExpiredToken",
        "ExpiredTokenException",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)
_BAD_REQUEST = "BadRequestException"
_TOO_MANY_REQUESTS = 429
_SERVER_ERRORS = 500
_AWAY = (HTTPClientError, NoConnectionError)


class AccountListError(Exception):
    """SES's list could not be asked or changed; the text is one sentence that says why and what helps."""


class AddressRefusedError(AccountListError):
    """SES does not take this address on its list; others are not concerned."""


class Pace:
    """At most one request in `interval` seconds. Clock and sleep are passed in where a test moves them."""

    def __init__(
        self,
        interval: float = _INTERVAL,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.interval = interval
        self._clock = clock
        self._sleep = sleep
        self._next = clock()

    def wait(self) -> None:
        """Return when the next request may begin."""
        self.pause(self._next - self._clock())
        self._next = self._clock() + self.interval

    def pause(self, seconds: float) -> None:
        if seconds > 0:
            self._sleep(seconds)


def sesv2_client() -> Any:
    """A client as AWS is configured here, without botocore's own retries; AccountListError when it is not."""
    config = Config(connect_timeout=5, read_timeout=20, retries={"mode": "standard", "total_max_attempts": 1})
    try:
        return boto3.session.Session().client("sesv2", config=config)
    except (BotoCoreError, ValueError) as error:  # ValueError: an endpoint that is no URL
        raise AccountListError(_unconfigured(error)) from error


class AccountList:
    """Every method may raise AccountListError. All of them can be repeated without harm."""

    def __init__(self, client: Any, pace: Pace) -> None:
        self._client = client
        self._pace = pace
        self._has_answered = False

    @property
    def endpoint(self) -> str:
        return str(self._client.meta.endpoint_url)

    def pages(self) -> Iterator[Sequence[Listed]]:
        """The whole list, piece by piece, in no particular order. A page may be empty though others follow."""
        token: str | None = None
        while True:
            request = {"PageSize": _PAGE_SIZE} | ({"NextToken": token} if token else {})
            response = self._call("ListSuppressedDestinations", self._client.list_suppressed_destinations, **request)
            yield [_listed(one) for one in response.get("SuppressedDestinationSummaries", [])]
            token = response.get("NextToken")
            if not token:
                return

    def get(self, address: str) -> Listed | None:
        """The entry of exactly this spelling (SES folds the case of the domain only)."""
        try:
            found = self._call(
                "GetSuppressedDestination", self._client.get_suppressed_destination, EmailAddress=address
            )
        except _NotListedError:
            return None
        return _listed(found["SuppressedDestination"])

    def put(self, address: str, reason: ListedReason) -> None:
        """List an address, or give it another reason. AddressRefusedError when SES does not take this one."""
        self._call(
            "PutSuppressedDestination",
            self._client.put_suppressed_destination,
            EmailAddress=address,
            Reason=reason.value,
        )

    def delete(self, address: str) -> bool:
        """Lift exactly this spelling; False when SES does not have it."""
        try:
            self._call("DeleteSuppressedDestination", self._client.delete_suppressed_destination, EmailAddress=address)
        except _NotListedError:
            return False
        return True

    def _call(self, operation: str, call: Callable[..., Any], **request: Any) -> Any:
        for back_off in (*_BACK_OFFS, None):
            self._pace.wait()
            try:
                response = call(**request)
            except (ClientError, BotoCoreError, ValueError) as error:
                self._has_answered = self._has_answered or isinstance(error, ClientError)
                if back_off is None or not self._passes(error):
                    raise self._told(operation, error) from error
                self._pace.pause(back_off)
            else:
                self._has_answered = True
                return response
        raise AssertionError("the last round returns or raises")

    def _passes(self, error: Exception) -> bool:
        """Whether the same call may succeed in a while. An endpoint that never answered is not waited for."""
        if isinstance(error, ClientError):
            status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
            return _code(error) in _THROTTLED or status == _TOO_MANY_REQUESTS or status >= _SERVER_ERRORS
        return isinstance(error, _AWAY) and self._has_answered

    def _told(self, operation: str, error: Exception) -> AccountListError:
        if isinstance(error, ClientError):
            return self._refused(operation, error)
        if isinstance(error, _AWAY):
            return AccountListError(f"SES cannot be reached at {self.endpoint} ({type(error).__name__}).")
        return AccountListError(_unconfigured(error))

    def _refused(self, operation: str, error: ClientError) -> AccountListError:
        code, text = _code(error), str(error.response.get("Error", {}).get("Message", "")).rstrip(".")
        if code == "NotFoundException":
            return _NotListedError(f"SES does not list it ({text}).")
        if code in _DENIED:
            return AccountListError(f"AWS does not allow it: these credentials need ses:{operation} in IAM ({text}).")
        if code in _BAD_CREDENTIALS:
            return AccountListError(f"AWS does not accept these credentials ({code}: {text}).")
        if code in _THROTTLED:
            return AccountListError("SES says again and again that requests come too fast; try again later.")
        if code == _BAD_REQUEST and self._is_in_sandbox():
            return AccountListError(
                "This SES account is in the sandbox of AWS, where the suppression list is not available:"
                " request production access for it."
            )
        if code == _BAD_REQUEST and operation != "ListSuppressedDestinations":
            return AddressRefusedError(f"SES does not take it ({text}).")
        return AccountListError(f"SES answered {operation} with an error ({code}: {text}).")

    def _is_in_sandbox(self) -> bool:
        """The refusal itself does not say so in words that AWS documents."""
        self._pace.wait()
        try:
            return self._client.get_account().get("ProductionAccessEnabled") is False
        except (ClientError, BotoCoreError):
            return False


class _NotListedError(AccountListError):
    """SES does not have this spelling."""


def _listed(one: Any) -> Listed:
    # A reason that AWS adds one day keeps the mail back as well; the weaker of the two claims least.
    reason = ListedReason.COMPLAINT if one.get("Reason") == ListedReason.COMPLAINT else ListedReason.BOUNCE
    return Listed(str(one["EmailAddress"]), reason, one["LastUpdateTime"])


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _unconfigured(error: Exception) -> str:
    if isinstance(error, NoRegionError):
        return "No AWS region is set: put the region of your SES account into AWS_REGION."
    if isinstance(error, NoCredentialsError | PartialCredentialsError):
        return (
            "No AWS credentials were found: set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY,"
            " or run this where a role gives them."
        )
    if isinstance(error, CredentialRetrievalError | ProfileNotFound):
        return f"The AWS credentials could not be read ({str(error).rstrip('.')})."
    return f"AWS is not configured so that SES can be called ({str(error).rstrip('.')})."
