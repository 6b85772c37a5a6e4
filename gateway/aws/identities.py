"""The identities of the SES account: from which addresses and domains it may send."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

IAM_ACTION = "ses:ListEmailIdentities"

_PAGE_SIZE = 1000  # the most that SES gives at once
_DENIED = ("AccessDenied", "AccessDeniedException", "NotAuthorized")
# A domain whose DNS cannot be read at the moment still sends.
_VERIFIED = ("SUCCESS", "TEMPORARY_FAILURE", None)


class IdentitiesUnknownError(Exception):
    """The identities could not be listed; the text says why. `is_denied`: these credentials may not list them."""

    def __init__(self, reason: str, *, is_denied: bool) -> None:
        super().__init__(reason)
        self.is_denied = is_denied


@dataclass(frozen=True, slots=True)
class IdentityPage:
    """A part of the list: the names that may send, how many others there are, and where the next part begins."""

    names: tuple[str, ...]
    others: int
    region: str
    next_token: str | None


@dataclass(frozen=True, slots=True)
class IdentityList:
    """The whole list."""

    names: tuple[str, ...]
    others: int
    region: str


def read_identities(token: str | None) -> IdentityPage:
    """Ask SES for one page of its list (one request a second is allowed); IdentitiesUnknownError when there is none."""
    config = Config(connect_timeout=3, read_timeout=5, retries={"mode": "standard", "total_max_attempts": 1})
    request: dict[str, Any] = {"PageSize": _PAGE_SIZE} | ({"NextToken": token} if token else {})
    try:
        client = boto3.session.Session().client("sesv2", config=config)
        response = client.list_email_identities(**request)
    except ClientError as error:
        is_denied = error.response.get("Error", {}).get("Code") in _DENIED
        raise IdentitiesUnknownError(str(error), is_denied=is_denied) from error
    except (BotoCoreError, ValueError) as error:  # ValueError: an endpoint that is no URL
        raise IdentitiesUnknownError(str(error), is_denied=False) from error
    listed = response.get("EmailIdentities", [])
    names = tuple(str(one["IdentityName"]) for one in listed if _may_send(one))
    return IdentityPage(names, len(listed) - len(names), str(client.meta.region_name), response.get("NextToken"))


def _may_send(identity: object) -> bool:
    return (
        isinstance(identity, dict)
        and bool(identity.get("SendingEnabled"))
        and identity.get("VerificationStatus") in _VERIFIED
    )


class IdentityListing:
    """Reads the list page by page; what a page that failed leaves half read is forgotten."""

    def __init__(self, read_page: Callable[[str | None], IdentityPage]) -> None:
        self._read_page = read_page
        self._names: list[str] = []
        self._others = 0
        self._token: str | None = None

    @property
    def is_under_way(self) -> bool:
        return self._token is not None

    def next_page(self) -> IdentityList | None:
        """Read on: the list once its last page is read, else None. IdentitiesUnknownError begins it anew."""
        try:
            page = self._read_page(self._token)
        except IdentitiesUnknownError:
            self._begin_anew()
            raise
        self._names += page.names
        self._others += page.others
        self._token = page.next_token
        if self._token is not None:
            return None
        whole = IdentityList(tuple(self._names), self._others, page.region)
        self._begin_anew()
        return whole

    def _begin_anew(self) -> None:
        self._names, self._others, self._token = [], 0, None
