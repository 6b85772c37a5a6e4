"""The only module that sends: one raw mail to one recipient through SESv2, and what its errors mean for us.

botocore's own retries are off: SES knows no idempotency token, and after a lost answer a second call is a second mail.
"""

from __future__ import annotations

import threading
import traceback
from dataclasses import dataclass
from typing import Any, Protocol

import boto3
import botocore.exceptions as boto
from botocore.config import Config

from gateway.logs import get_logger

ATTEMPT_TAG = "sesgate-attempt"
log = get_logger(__name__)

_CONNECT_TIMEOUT = 5


class SesError(Exception):
    """A call to SES did not end in an acceptance; the text is the reason a person reads."""


class NotAcceptedError(SesError):
    """SES surely does not have the mail: try again later."""


class ThrottledError(NotAcceptedError):
    """Faster than the account may send: slow down, try again in seconds."""


class QuotaExhaustedError(NotAcceptedError):
    """The account's quota of 24 hours is used up: nothing can be sent for a while."""


class AccountError(NotAcceptedError):
    """The account, its credentials or the configuration set do not work: nothing can be sent until somebody acts."""


class IdentityError(NotAcceptedError):
    """This sender may not send (yet); other mail is not concerned."""


class RefusedError(SesError):
    """SES will never take this mail."""


class AmbiguousError(SesError):
    """SES may have the mail, or may not: the call was made and its answer is not known."""


class Ses(Protocol):
    def send(self, raw: bytes, address: str, attempt_id: str) -> str: ...


class SesClient:
    """One boto3 client for all threads of a process. Make it after the fork."""

    def __init__(self, configuration_set: str | None, *, threads: int, read_timeout: float) -> None:
        self._configuration_set = configuration_set
        self._config = Config(
            retries={"mode": "standard", "total_max_attempts": 1},
            connect_timeout=_CONNECT_TIMEOUT,
            read_timeout=read_timeout,
            max_pool_connections=threads,
        )
        self._lock = threading.Lock()
        self._client: Any = None

    def send(self, raw: bytes, address: str, attempt_id: str) -> str:
        """Hand `raw` to SES for `address` alone, and return the SES message id; a SesError says what else came of it.

        The recipient stands in `Destination` and the sender only in the mail: a `FromEmailAddress` would replace the
        From field (https://docs.aws.amazon.com/ses/latest/APIReference-V2/API_SendEmail.html).
        """
        client = self._connected()
        try:
            response = client.send_email(
                Destination={"ToAddresses": [address]},
                Content={"Raw": {"Data": raw}},
                EmailTags=[{"Name": ATTEMPT_TAG, "Value": attempt_id}],
                **({"ConfigurationSetName": self._configuration_set} if self._configuration_set else {}),
            )
        except Exception as error:
            # Also what boto3 does not wrap, such as an answer that cannot be parsed: the call was made.
            classified = classify(error)
            if isinstance(classified, AccountError):
                self._forget()  # credentials may have been renewed: read them again next time
            raise classified from error
        ses_message_id = response.get("MessageId")
        if not ses_message_id:
            # botocore takes a 200 whose body was cut off for a success without members.
            raise AmbiguousError("SES answered 200, and the connection ended before the message id came")
        return str(ses_message_id)

    def warm_up(self) -> None:
        """Make the client now: it takes a good part of a second, which the first mail need not wait for."""
        try:
            self._connected()
        except AccountError as error:
            log.warning("ses.not_configured", error=str(error))

    def _connected(self) -> Any:
        """The client; AccountError when none can be made of the configuration, and nothing was sent then."""
        with self._lock:
            if self._client is None:
                try:
                    self._client = boto3.session.Session().client("sesv2", config=self._config)
                except Exception as error:
                    # Whatever it is (no file descriptor left, a broken configuration): no call was made.
                    raise AccountError(_sentence(error)) from error
            return self._client

    def _forget(self) -> None:
        with self._lock:
            self._client = None


@dataclass(frozen=True, slots=True)
class _Answer:
    code: str
    text: str
    status: int

    def __str__(self) -> str:
        return f"SES answered {self.code}: {self.text}" if self.text else f"SES answered {self.code}"


def classify(error: Exception) -> SesError:
    """What an exception of boto3 means, by the table of ses-facts (AWS: manage-sending-quotas-errors, API errors)."""
    if isinstance(error, boto.ClientError):
        return _classify_answer(_answer(error))
    for kinds, meaning in _LOCAL:
        if isinstance(error, kinds):
            return meaning(_sentence(error))
    if isinstance(error, boto.SSLError) and _in_handshake(error):
        return NotAcceptedError(_sentence(error))
    return AmbiguousError(_sentence(error))


def _in_handshake(error: BaseException | None) -> bool:
    """Whether TLS failed before a byte of the request could be written.

    botocore has one exception for every failure of TLS, also for a broken record in the middle of the answer. Where it
    happened stands only in the tracebacks behind it.
    """
    while error is not None:
        if any(frame.f_code.co_name == "do_handshake" for frame, _ in traceback.walk_tb(error.__traceback__)):
            return True
        error = error.__cause__ or error.__context__
    return False


# Nothing was written to SES in these groups; whatever is not listed may have been.
_LOCAL: tuple[tuple[tuple[type[Exception], ...], type[SesError]], ...] = (
    (
        (
            boto.EndpointConnectionError,
            boto.ConnectTimeoutError,
            boto.ProxyConnectionError,
        ),
        NotAcceptedError,
    ),
    (
        (
            boto.NoCredentialsError,
            boto.PartialCredentialsError,
            boto.CredentialRetrievalError,
            boto.TokenRetrievalError,
            boto.SSOError,
            boto.NoRegionError,
            boto.ProfileNotFound,
            boto.InvalidRegionError,
        ),
        AccountError,
    ),
    ((boto.ParamValidationError,), RefusedError),
)

_THROTTLED = frozenset({"TooManyRequestsException", "Throttling", "ThrottlingException", "LimitExceededException"})
_ACCOUNT = frozenset(
    {
        "AccountSendingPausedException",
        "AccountSuspendedException",
        "ConfigurationSetDoesNotExist",
        "ConfigurationSetDoesNotExistException",
        "ConfigurationSetSendingPausedException",
        "ExpiredToken",
        "ExpiredTokenException",
        "IncompleteSignature",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "MissingAuthenticationToken",
        "MissingAuthenticationTokenException",
        "NotAuthorized",
        "NotFoundException",
        "OptInRequired",
        "RequestExpired",
        "RequestTimeTooSkewed",
        "SendingPausedException",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)
_ACCESS_DENIED = frozenset({"AccessDenied", "AccessDeniedException"})
_REFUSED = frozenset({"BadRequestException", "InvalidParameterValue", "MessageRejected", "ValidationError"})
_LATER = frozenset({"RequestTimeout", "RequestTimeoutException", "ServiceUnavailable", "ServiceUnavailableException"})

_SAFE_SERVER_ERROR = 503
_TOO_LARGE = 413


def _classify_answer(answer: _Answer) -> SesError:
    reason = str(answer)
    if answer.code in _THROTTLED or answer.status == 429:  # noqa: PLR2004  Too Many Requests
        return _throttled(answer, reason)
    if answer.code in _ACCOUNT:
        return AccountError(reason)
    if answer.code in _ACCESS_DENIED:
        # The text names the resource. One identity that may not be used is one application's matter.
        return IdentityError(reason) if ":identity/" in answer.text else AccountError(reason)
    if answer.code == "MailFromDomainNotVerifiedException" or "not verified" in answer.text:
        return IdentityError(reason)
    if answer.code in _REFUSED or answer.status == _TOO_LARGE:
        return RefusedError(reason)
    if answer.code in _LATER or answer.status == _SAFE_SERVER_ERROR:
        return NotAcceptedError(reason)
    if answer.status >= 500:  # noqa: PLR2004  the class of server errors
        return AmbiguousError(reason)
    # A refusal that is not known here: neither bounced at once nor called in a loop; it waits, visibly.
    return NotAcceptedError(reason)


def _throttled(answer: _Answer, reason: str) -> SesError:
    # The same codes stand for the rate and for the daily quota; only the text tells them apart.
    if "quota exceeded" in answer.text.casefold():
        return QuotaExhaustedError(reason)
    return ThrottledError(reason)


def _answer(error: boto.ClientError) -> _Answer:
    details = error.response.get("Error", {})
    return _Answer(
        code=str(details.get("Code") or "an error without a code"),
        text=_printable(str(details.get("Message") or "")),
        status=int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") or 0),
    )


def _sentence(error: Exception) -> str:
    return _printable(f"{type(error).__name__}: {error}")


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else " " for character in text)[:500]
