"""The account-level suppression list of SES: read, asked and changed at the pace that AWS allows."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from gateway.aws.call_errors import AwsCallError
from gateway.aws.session import Aws
from gateway.suppression_drift import Listed, ListedReason

_PAGE_SIZE = 1000
_INTERVAL = 1.0  # AWS allows one request a second for each of these operations
_BACK_OFFS = (2.0, 4.0, 8.0, 16.0)
_BAD_REQUEST = "BadRequestException"
_SERVER_ERRORS = 500


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
        self.sleep = sleep
        self._clock = clock
        self._next = clock()

    def wait(self) -> None:
        """Return when the next request may begin."""
        left = self._next - self._clock()
        if left > 0:
            self.sleep(left)
        self._next = self._clock() + self.interval


class AccountList:
    """Every method may raise AccountListError, and can be repeated without harm."""

    def __init__(self, aws: Aws, pace: Pace) -> None:
        self._aws = aws
        self._pace = pace
        self._has_answered = False

    @property
    def endpoint(self) -> str:
        """Where the calls really go, whichever variable or profile says so."""
        try:
            return str(self._aws.client("sesv2").meta.endpoint_url)
        except AwsCallError as error:
            raise AccountListError(str(error)) from error

    def pages(self) -> Iterator[Sequence[Listed]]:
        """The whole list, piece by piece, in no particular order. A page may be empty though others follow."""
        token: str | None = None
        while True:
            request = {"PageSize": _PAGE_SIZE} | ({"NextToken": token} if token else {})
            response = self._call("ListSuppressedDestinations", **request)
            yield [_listed(one) for one in response.get("SuppressedDestinationSummaries", [])]
            token = response.get("NextToken")
            if not token:
                return

    def get(self, address: str) -> Listed | None:
        """The entry of exactly this spelling (SES folds the case of the domain only)."""
        try:
            found = self._call("GetSuppressedDestination", EmailAddress=address)
        except _NotListedError:
            return None
        return _listed(found["SuppressedDestination"])

    def put(self, address: str, reason: ListedReason) -> None:
        """List an address, or give it another reason. AddressRefusedError when SES does not take this one."""
        self._call("PutSuppressedDestination", EmailAddress=address, Reason=reason.value)

    def delete(self, address: str) -> bool:
        """Lift exactly this spelling; False when SES does not have it."""
        try:
            self._call("DeleteSuppressedDestination", EmailAddress=address)
        except _NotListedError:
            return False
        return True

    def _call(self, operation: str, **request: Any) -> dict[str, Any]:
        try:
            return self._insist(operation, request)
        except AwsCallError as error:
            raise self._told(operation, error) from error

    def _insist(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        """An hour of requests outlives an outage of half a minute."""
        for back_off in _BACK_OFFS:
            try:
                return self._once(operation, request)
            except AwsCallError as error:
                if not self._passes(error):
                    raise
            self._pace.sleep(back_off)
        return self._once(operation, request)

    def _once(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        self._pace.wait()
        try:
            response = self._aws.call("sesv2", operation, **request)
        except AwsCallError as error:
            self._has_answered = self._has_answered or error.status > 0
            raise
        self._has_answered = True
        return response

    def _passes(self, error: AwsCallError) -> bool:
        """Whether the same call may succeed in a while. An endpoint that never answered is not waited for."""
        return error.status >= _SERVER_ERRORS or (error.status == 0 and self._has_answered)

    def _told(self, operation: str, error: AwsCallError) -> AccountListError:
        if error.is_missing:
            return _NotListedError(str(error))
        if error.code != _BAD_REQUEST:
            return AccountListError(str(error))
        if self._is_in_sandbox():
            return AccountListError(
                "This SES account is in the sandbox of AWS, where the suppression list is not available:"
                " request production access for it."
            )
        is_about_an_address = operation != "ListSuppressedDestinations"
        return (AddressRefusedError if is_about_an_address else AccountListError)(str(error))

    def _is_in_sandbox(self) -> bool:
        """Asked after a refusal, which does not say so in words that AWS documents."""
        self._pace.wait()
        try:
            return self._aws.call("sesv2", "GetAccount").get("ProductionAccessEnabled") is False
        except AwsCallError:
            return False


class _NotListedError(AccountListError):
    """SES does not have this spelling."""


def _listed(one: Any) -> Listed:
    # A reason that AWS adds one day keeps the mail back as well; the weaker of the two claims least.
    reason = ListedReason.COMPLAINT if one.get("Reason") == ListedReason.COMPLAINT else ListedReason.BOUNCE
    return Listed(str(one["EmailAddress"]), reason, one["LastUpdateTime"])
