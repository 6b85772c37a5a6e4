"""A queue at SQS: a few calls, and what can go wrong with them in words."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    EndpointConnectionError,
    HTTPClientError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
)

from gateway.queue_urls import endpoint_of
from gateway.setting_values import QueueUrl

BATCH = 10  # the most that SQS gives and takes in one call
LONGEST_WAIT = 20  # seconds; the longest of long polls
LONGEST_VISIBILITY = 11 * 3600  # seconds; SQS allows 12 hours, counted from the moment of the receipt

_CONNECT_TIMEOUT = 5.0
_READ_TIMEOUT = LONGEST_WAIT + 10.0
_MISSING = frozenset({"AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist", "InvalidAddress"})
_DENIED = frozenset({"AccessDenied", "AccessDeniedException", "AuthorizationError", "KmsAccessDenied"})
_UNKNOWN_KEYS = frozenset(
    {
        "ExpiredToken",
        "ExpiredTokenException",
        "IncompleteSignature",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidSecurity",
        "MissingAuthenticationToken",
        "RequestExpired",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)

T = TypeVar("T")


class QueueError(Exception):
    """The queue cannot be used now; the text is one sentence that says why."""


class QueueDeniedError(QueueError):
    """AWS does not let these credentials do what was asked."""


@dataclass(frozen=True, slots=True)
class SqsMessage:
    """A message as one receipt gave it; `receives` counts the receipts so far, this one included."""

    id: str
    receipt: str
    body: str
    receives: int

    @property
    def octets(self) -> bytes:
        """The body for the verifier, which refuses what is no text."""
        return self.body.encode(errors="surrogatepass")


class Queue:
    """One queue, asked by one thread. Every call raises QueueError when it fails.

    Nothing is tried again here. After a failure the next call begins with a new session, so that credentials that were
    renewed meanwhile are found.
    """

    def __init__(self, url: QueueUrl, environ: Mapping[str, str]) -> None:
        self._url = url
        self._endpoint = endpoint_of(url, environ)
        self._client: Any = None

    def receive(self, *, wait: int, visibility: int) -> list[SqsMessage]:
        """Up to ten messages, which nobody else is given for `visibility` seconds; waits `wait` seconds for the first.

        https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ReceiveMessage.html
        """
        answer = self._call(
            lambda client: client.receive_message(
                QueueUrl=self._url.url,
                MaxNumberOfMessages=BATCH,
                WaitTimeSeconds=wait,
                VisibilityTimeout=visibility,
                MessageSystemAttributeNames=["ApproximateReceiveCount"],
            )
        )
        return [_message(found) for found in answer.get("Messages", ())]

    def delete(self, messages: Sequence[SqsMessage]) -> None:
        """Take them off the queue for good; up to ten."""
        if messages:
            entries = [{"Id": str(n), "ReceiptHandle": message.receipt} for n, message in enumerate(messages)]
            self._batch(lambda client: client.delete_message_batch(QueueUrl=self._url.url, Entries=entries))

    def hide(self, messages: Sequence[tuple[SqsMessage, int]]) -> None:
        """Let each come again after so many seconds from now; up to ten."""
        if messages:
            entries = [
                {"Id": str(n), "ReceiptHandle": message.receipt, "VisibilityTimeout": seconds}
                for n, (message, seconds) in enumerate(messages)
            ]
            self._batch(lambda client: client.change_message_visibility_batch(QueueUrl=self._url.url, Entries=entries))

    def has_dead_letter_queue(self) -> bool:
        """Whether SQS takes away what was received too often."""
        return bool(self._attribute("RedrivePolicy"))

    def count(self) -> int:
        """About how many messages wait in it."""
        return int(self._attribute("ApproximateNumberOfMessages") or 0)

    def _attribute(self, name: str) -> str | None:
        answer = self._call(lambda client: client.get_queue_attributes(QueueUrl=self._url.url, AttributeNames=[name]))
        value: str | None = answer.get("Attributes", {}).get(name)
        return value

    def _batch(self, call: Callable[[Any], dict[str, Any]]) -> None:
        failed = self._call(call).get("Failed", ())
        if failed:
            reason = f"{failed[0].get('Code')}: {failed[0].get('Message', '')}".rstrip(": .")
            raise QueueError(f"SQS did not do what was asked for {len(failed)} of the messages ({reason}).")

    def _call(self, call: Callable[[Any], T]) -> T:
        try:
            if self._client is None:
                self._client = self._make_client()
            return call(self._client)
        except (BotoCoreError, ClientError, ValueError) as error:  # ValueError: an endpoint that is no URL
            self._client = None
            raise _explain(error, self._url) from error

    def _make_client(self) -> Any:
        make: Any = boto3.session.Session().client  # its stubs know each service by its literal name only
        config = Config(
            connect_timeout=_CONNECT_TIMEOUT,
            read_timeout=_READ_TIMEOUT,
            retries={"mode": "standard", "total_max_attempts": 1},
        )
        return make("sqs", region_name=self._url.region, endpoint_url=self._endpoint, config=config)


def _message(found: Mapping[str, Any]) -> SqsMessage:
    receives = int(found.get("Attributes", {}).get("ApproximateReceiveCount", 1))
    return SqsMessage(found["MessageId"], found["ReceiptHandle"], found["Body"], receives)


def _explain(error: Exception, url: QueueUrl) -> QueueError:
    if isinstance(error, ClientError):
        return _explain_answer(error, url)
    if isinstance(error, NoCredentialsError | PartialCredentialsError):
        return QueueDeniedError(
            f"There are no AWS credentials to read {url} with; give them the AWS way (a role, AWS_PROFILE, keys)."
        )
    if isinstance(error, NoRegionError):
        return QueueError(f"AWS_REGION is not set, and {url} does not say its region.")
    if isinstance(error, HTTPClientError | EndpointConnectionError):
        return QueueError(f"SQS cannot be reached for {url} ({str(error).rstrip('.')}).")
    return QueueError(f"{url} cannot be used ({str(error).rstrip('.')}).")


def _explain_answer(error: ClientError, url: QueueUrl) -> QueueError:
    code = error.response.get("Error", {}).get("Code", "")
    answer = f"{code}: {error.response.get('Error', {}).get('Message', '')}".rstrip(": .")
    if code in _MISSING:
        return QueueError(f"There is no queue {url}; are the region, the account and the name in it right?")
    if code in _DENIED:
        return QueueDeniedError(
            f"AWS does not let these credentials use {url}; they need sqs:ReceiveMessage, sqs:DeleteMessage,"
            f" sqs:ChangeMessageVisibility and sqs:GetQueueAttributes on it ({answer})."
        )
    if code in _UNKNOWN_KEYS:
        return QueueDeniedError(f"AWS does not accept the credentials for {url} ({answer}).")
    return QueueError(f"SQS answers for {url}: {answer}.")
