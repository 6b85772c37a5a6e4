"""Calls to AWS's control plane, for programs that speak to a person: what goes wrong becomes one sentence with the fix.

Control-plane calls of SES are allowed once a second each
(https://docs.aws.amazon.com/ses/latest/APIReference-V2/Welcome.html), so being told to slow down is part of the work
and is waited out here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, Final, Literal, TypeAlias

import boto3
from botocore import xform_name
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from gateway.aws.call_errors import AwsCallError, sentence_of_client, sentence_of_service

Service: TypeAlias = Literal["ses", "sesv2", "sns", "sqs", "sts"]

_CONFIG: Final = Config(connect_timeout=3, read_timeout=10, retries={"mode": "standard", "total_max_attempts": 1})
_THROTTLED: Final = frozenset(
    {
        "ConcurrentAccess",
        "ConcurrentModificationException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "Throttled",
        "ThrottledException",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
    }
)
_BACK_OFFS: Final = (1.1, 2.0, 4.0, 8.0, 16.0)
"""Half a minute in all: a second is what AWS asks for, the rest is for others who use the same account."""
_IAM_PREFIX: Final = {"sesv2": "ses"}


class Aws:
    """One boto3 session with a client for each service. AwsCallError for whatever goes wrong, from the first on.

    `region`: where the clients work; None is the region that AWS's own variables, profile or configuration name.
    """

    def __init__(
        self,
        region: str | None = None,
        *,
        session: boto3.session.Session | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._session = session
        self._given_region = region
        self._sleep = sleep
        self._clients: dict[str, Any] = {}

    @property
    def region(self) -> str:
        return str(self._client("sts").meta.region_name)

    @property
    def partition(self) -> str:
        """`aws`, or `aws-cn`, `aws-us-gov` and the like; a region that botocore does not know is in `aws`."""
        return str(self._client("sts").meta.partition)

    def call(self, service: Service, operation: str, **parameters: Any) -> dict[str, Any]:
        """Make one call by the operation's name in AWS's reference, such as `CreateTopic`.

        Being throttled is waited out for half a minute; AwsCallError for that and everything else after it.
        """
        client = self._client(service)
        action = iam_action(service, operation)
        for pause in _BACK_OFFS:
            try:
                return self._once(client, operation, action, parameters)
            except AwsCallError as error:
                if error.code not in _THROTTLED:
                    raise
            self._sleep(pause)
        return self._once(client, operation, action, parameters)

    def every(self, service: Service, operation: str, key: str, **parameters: Any) -> Iterator[Any]:
        """The items under `key` of every page of a list."""
        token: dict[str, str] = {}
        while True:
            page = self.call(service, operation, **parameters, **token)
            yield from page.get(key) or []
            if not page.get("NextToken"):
                return
            token = {"NextToken": page["NextToken"]}

    def endpoint(self, service: Service) -> str:
        """Where its calls really go, whichever variable or profile says so."""
        return str(self._client(service).meta.endpoint_url)

    def client(self, service: Service) -> Any:
        """The boto3 client itself, for what needs one (AwsCallError when it cannot be made)."""
        return self._client(service)

    def _client(self, service: Service) -> Any:
        if service not in self._clients:
            try:
                self._session = self._session or boto3.session.Session(region_name=self._given_region)
                make: Any = self._session.client  # Its stubs know each service by its literal name only.
                self._clients[service] = make(service, region_name=self._given_region, config=_CONFIG)
            except (BotoCoreError, ValueError) as error:  # ValueError: an endpoint that is no URL
                raise AwsCallError(sentence_of_client(error, ""), type(error).__name__, "") from error
        return self._clients[service]

    @staticmethod
    def _once(client: Any, operation: str, action: str, parameters: dict[str, Any]) -> dict[str, Any]:
        try:
            answer: dict[str, Any] = getattr(client, xform_name(operation))(**parameters)
        except ClientError as error:
            told = error.response.get("Error", {})
            code, message = str(told.get("Code", "")), str(told.get("Message", ""))
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            sentence = sentence_of_service(code, message, action, str(client.meta.region_name), status)
            raise AwsCallError(sentence, code, action, message=message, status=status) from error
        except (BotoCoreError, ResponseParserError, ValueError) as error:
            raise AwsCallError(sentence_of_client(error, action), type(error).__name__, action) from error
        return answer


def clients(region: str | None = None) -> Aws:
    """Calls to AWS as it is configured here; nothing is asked before the first call."""
    return Aws(region)


def iam_action(service: Service, operation: str) -> str:
    """The action that an IAM policy must allow for a call: SES v2 shares the prefix of v1."""
    return f"{_IAM_PREFIX.get(service, service)}:{operation}"
