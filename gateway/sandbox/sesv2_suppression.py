"""SES v2, the REST API: the account's suppression list."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from flask import request

from gateway.sandbox import checks
from gateway.sandbox.account import AccountDesk
from gateway.sandbox.errors import bad_request, not_found
from gateway.sandbox.sesv2 import Json, Route, body
from gateway.sandbox.sesv2_pages import PAGE, whole
from gateway.sandbox.suppression_list import Suppressed, SuppressionList

_REASONS: Final = ("BOUNCE", "COMPLAINT")


class SuppressionApi:
    """The account's suppression list, which only accounts with production access have."""

    def __init__(self, suppressions: SuppressionList, account: AccountDesk) -> None:
        self._suppressions = suppressions
        self._account = account

    def routes(self) -> list[Route]:
        every, one = "/suppression/addresses", "/suppression/addresses/<path:address>"
        return [
            Route("PutSuppressedDestination", "PUT", every, self._put),
            Route("GetSuppressedDestination", "GET", one, self._get),
            Route("DeleteSuppressedDestination", "DELETE", one, self._delete),
            Route("ListSuppressedDestinations", "GET", every, self._list),
        ]

    def _require_production(self) -> None:
        if not self._account.account.production_access_enabled:
            raise bad_request(
                "Your account is in the sandbox. The account-level suppression list needs production access."
            )

    def _put(self) -> Json:
        self._require_production()
        given = body()
        address, reason = str(given.get("EmailAddress") or ""), str(given.get("Reason"))
        checks.require_address(address)
        _require_reasons([reason])
        self._suppressions.put(address, reason)
        return {}

    def _get(self, address: str) -> Json:
        self._require_production()
        found = self._suppressions.get(address)
        if found is None:
            raise not_found(f"Email address {address} does not exist on your suppression list.")
        return {"SuppressedDestination": _suppressed(found) | _attributes(found)}

    def _delete(self, address: str) -> Json:
        self._require_production()
        if not self._suppressions.delete(address):
            raise not_found(f"Email address {address} does not exist on your suppression list.")
        return {}

    def _list(self) -> Json:
        self._require_production()
        asked = request.args
        size = whole(asked.get("PageSize"), PAGE)
        reasons = asked.getlist("Reason") or list(_REASONS)
        _require_reasons(reasons)
        listed = self._suppressions.page(
            after=asked.get("NextToken", ""),
            size=size,
            reasons=reasons,
            since=_moment(asked.get("StartDate"), 0.0),
            before=_moment(asked.get("EndDate"), float("inf")),
        )
        page: Json = {"SuppressedDestinationSummaries": [_suppressed(one) for one in listed]}
        return page | ({"NextToken": listed[-1].address} if len(listed) == size else {})


def _suppressed(found: Suppressed) -> Json:
    return {"EmailAddress": found.address, "Reason": found.reason, "LastUpdateTime": found.updated_at}


def _attributes(found: Suppressed) -> Json:
    """What reported the address, if a report did."""
    if found.message_id is None:
        return {}
    return {"Attributes": {"MessageId": found.message_id, "FeedbackId": found.feedback_id}}


def _require_reasons(reasons: list[Any]) -> None:
    if not set(reasons) <= set(_REASONS):
        raise bad_request(f"Reason is one of {', '.join(_REASONS)}.")


def _moment(given: str | None, otherwise: float) -> float:
    """A timestamp of a query string: ISO 8601 in UTC."""
    if given is None:
        return otherwise
    try:
        parsed = datetime.fromisoformat(given)
    except ValueError as error:
        raise bad_request(f"Not a time: {given}") from error
    return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()
