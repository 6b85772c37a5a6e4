"""What AWS and boto3 answer when a call fails, as a sentence for the person who made it."""

from __future__ import annotations

import re
from collections.abc import Callable
from http import HTTPStatus
from typing import Final

from botocore import exceptions
from botocore.parsers import ResponseParserError

_DENIED: Final = frozenset(
    {
        "AccessDenied",
        "AccessDeniedException",
        "AuthorizationError",
        "AuthorizationErrorException",
        "NotAuthorized",
        "UnauthorizedOperation",
    }
)
_EXPIRED: Final = frozenset({"ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired"})
_UNKNOWN_KEY: Final = frozenset({"InvalidAccessKeyId", "InvalidClientTokenId", "UnrecognizedClientException"})
_BAD_SIGNATURE: Final = frozenset(
    {"IncompleteSignature", "InvalidSignatureException", "SignatureDoesNotMatch", "RequestTimeTooSkewed"}
)
_NOT_SUBSCRIBED: Final = frozenset({"OptInRequired", "SubscriptionRequiredException"})
_THROTTLED: Final = ("Throttl", "TooManyRequests", "RequestLimitExceeded")
# AWS itself answers every call with a document. A bare status, or a page for people, is some other server's.
_UNKNOWN_CALL: Final = frozenset(
    {
        "404",
        "405",
        "501",
        "InvalidAction",
        "NotImplemented",
        "NotImplementedError",
        "ResponseParserError",
        "ServiceNotInSandbox",
        "UnknownOperation",
        "UnknownOperationException",
        "UnsupportedOperation",
    }
)
_MISSING: Final = frozenset(
    {
        "AWS.SimpleQueueService.NonExistentQueue",
        "NotFound",
        "NotFoundException",
        "QueueDoesNotExist",
        "ResourceNotFound",
        "ResourceNotFoundException",
    }
)
_NO_ANSWER: Final = frozenset(
    {"ConnectionClosedError", "ConnectTimeoutError", "EndpointConnectionError", "ReadTimeoutError"}
)
_PERFORM: Final = re.compile(r"not authorized to perform:? ([A-Za-z0-9-]+:[A-Za-z]+)")
_CLOCK: Final = re.compile(r"signature (?:expired|not yet current)|time ?skew|request ?time", re.IGNORECASE)


class AwsCallError(Exception):
    """A call to AWS failed. The text is a sentence with the fix; `action` is what an IAM policy calls the call."""

    def __init__(self, sentence: str, code: str, action: str, *, message: str = "", status: int = 0) -> None:
        super().__init__(sentence)
        self.code = code
        self.action = action
        self.message = message
        self.status = status

    @property
    def is_missing(self) -> bool:
        """Whether what was asked for does not exist."""
        return self.code in _MISSING

    @property
    def is_denied(self) -> bool:
        """Whether these credentials may not make the call."""
        return self.code in _DENIED

    @property
    def is_passing(self) -> bool:
        """Whether the same call may well succeed in a moment: no answer, or one of a server in trouble."""
        return self.code in _NO_ANSWER or (self.status >= HTTPStatus.INTERNAL_SERVER_ERROR and not self.is_unknown_call)

    @property
    def is_unknown_call(self) -> bool:
        """Whether the endpoint does not know the call at all, as an emulator of AWS may not."""
        return _is_unknown_call(self.code, self.status)


def _is_unknown_call(code: str, status: int) -> bool:
    return code in _UNKNOWN_CALL or status == HTTPStatus.NOT_IMPLEMENTED


def sentence_of_service(code: str, message: str, action: str, region: str, status: int = 0) -> str:
    """What AWS answered, in words that name the fix."""
    if code in _DENIED:
        named = _PERFORM.search(message)
        missing = named[1] if named else action
        said = _ended(_readable(message) or code)
        return f"AWS denied {missing}: allow it in the IAM policy of these credentials. It said: {said}"
    if code in _EXPIRED:
        return "The AWS credentials have expired: sign in again, or get new ones."
    if code in _UNKNOWN_KEY:
        return "AWS does not know this access key: check AWS_ACCESS_KEY_ID or the profile, and that it is not disabled."
    if code in _BAD_SIGNATURE:
        return _signature(code, message)
    if code in _NOT_SUBSCRIBED:
        return f"This AWS account is not signed up for {action.partition(':')[0]} in {region}; finish signing up first."
    if code.startswith(_THROTTLED):
        return f"AWS lets {action} be called no faster, and did not relent for half a minute: run it again in a while."
    if code.removeprefix("AWS.SimpleQueueService.") == "QueueDeletedRecently":
        return "A queue of this name was deleted less than a minute ago, and SQS takes the name again only then: wait."
    if _is_unknown_call(code, status):
        return f"What answers in place of AWS does not know {action}. It said: {_ended(_readable(message) or code)}"
    return f"AWS refused {action} ({code}): {_ended(_readable(message) or 'it gave no reason')}"


def _signature(code: str, message: str) -> str:
    if _CLOCK.search(f"{code} {message}"):
        return "AWS refused the signature because this machine's clock is wrong: set it (NTP), and try again."
    return "AWS refused the signature: the secret key does not belong to the access key; check AWS_SECRET_ACCESS_KEY."


def sentence_of_client(error: Exception, action: str) -> str:
    """Why boto3 could not even ask, or got no answer."""
    for kinds, speak in _OF_CLIENT:
        if isinstance(error, kinds):
            return speak(error)
    about = f"{action}: " if action else ""
    return f"AWS could not be asked. {about}{_ended(str(error))}"


def _no_answer(error: Exception) -> str:
    where = getattr(error, "kwargs", {}).get("endpoint_url")
    at = f" at {where}" if where else ""
    return f"AWS does not answer{at}: check the network, the region, and AWS_ENDPOINT_URL if it is set."


_SIGN_IN: Final = "run `aws sso login`, and try again"
_OF_CLIENT: Final[tuple[tuple[tuple[type[Exception], ...], Callable[[Exception], str]], ...]] = (
    (
        (exceptions.NoCredentialsError, exceptions.PartialCredentialsError),
        lambda _: (
            "There are no AWS credentials here, or only half of them: set AWS_PROFILE, AWS_ACCESS_KEY_ID and"
            " AWS_SECRET_ACCESS_KEY, or run where a role is attached."
        ),
    ),
    (
        (exceptions.NoRegionError, exceptions.InvalidRegionError),
        lambda _: "No AWS region is set, or one that cannot be: set AWS_REGION, such as eu-west-1.",
    ),
    ((exceptions.ProfileNotFound,), lambda error: f"{_ended(str(error))} Check AWS_PROFILE and ~/.aws/config."),
    (
        (exceptions.SSOError, exceptions.TokenRetrievalError),
        lambda error: f"The AWS sign-in has ended ({str(error).rstrip('.')}): {_SIGN_IN}.",
    ),
    (
        (exceptions.CredentialRetrievalError, exceptions.MetadataRetrievalError),
        lambda error: f"The AWS credentials could not be fetched: {_ended(str(error))}",
    ),
    (
        (exceptions.ConfigParseError, exceptions.ConfigNotFound),
        lambda error: f"AWS's configuration cannot be read: {_ended(str(error))}",
    ),
    (
        (exceptions.SSLError,),
        lambda error: f"The TLS certificate of AWS's endpoint is not trusted here: {_ended(str(error))}",
    ),
    (
        (exceptions.ProxyConnectionError,),
        lambda _: "The proxy in HTTPS_PROXY does not answer or refuses the connection to AWS.",
    ),
    (
        (ResponseParserError,),
        lambda _: "What answered is not AWS: its answer cannot be read. Check AWS_ENDPOINT_URL, and any proxy between.",
    ),
    (
        (exceptions.ReadTimeoutError,),
        lambda _: "AWS took the call and did not answer in time; whether it was carried out is unknown: run it again.",
    ),
    ((exceptions.ConnectionError, exceptions.HTTPClientError), _no_answer),
)


def _readable(message: str) -> str:
    """On one line; nothing of a page that was meant for a browser."""
    return "" if message.lstrip().startswith("<") else " ".join(message.split())


def _ended(text: str) -> str:
    """With one full stop at the end."""
    return f"{text.strip().rstrip('.')}."
