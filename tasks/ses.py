"""The only module that sends: one raw mail to one recipient through SESv2, and what becomes of the call.

botocore's own retries are off: SES knows no idempotency token, and after a lost answer a second call is a second mail.
"""

from __future__ import annotations

import re
import threading
import traceback
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any, Protocol

import boto3
import botocore.exceptions as boto
from botocore.config import Config

from gateway.credentials import ATTEMPT_TAG
from gateway.logs import get_logger
from tasks.ses_errors import Answer, ErrorClass, find

log = get_logger(__name__)

_CONNECT_TIMEOUT = 5

# Who calls, as the account's CloudTrail shows it (RFC 9110 section 10.1.5); boto3 adds botocore. A longer one would be
# put together for each call, from facts that do not change: a seventh of the time that a call takes here.
USER_AGENT = f"sesgate/{version('sesgate')} Boto3/{boto3.__version__}"


class SesError(Exception):
    """A call to SES did not end in an acceptance; the text is the reason a person reads, the class says what to do."""

    def __init__(self, error_class: ErrorClass, reason: str) -> None:
        super().__init__(reason)
        self.error_class = error_class


class CredentialsExpiredError(SesError):
    """SES took the credentials for expired ones, and so took nothing else: newly read ones may be better."""


class Ses(Protocol):
    def send(
        self,
        raw: bytes,
        address: str,
        attempt_id: str,
        *,
        configuration_set: str | None = None,
        tags: Sequence[tuple[str, str]] = (),
    ) -> str: ...


class SesClient:
    """One boto3 client for all threads of a process. Make it after the fork."""

    def __init__(self, configuration_set: str | None, *, threads: int, read_timeout: float) -> None:
        self._configuration_set = configuration_set
        self._config = Config(
            retries={"mode": "standard", "total_max_attempts": 1},
            connect_timeout=_CONNECT_TIMEOUT,
            read_timeout=read_timeout,
            max_pool_connections=threads,
            user_agent=USER_AGENT,
            # What is given is typed here, and SES judges it anyway: it would only be walked through once more.
            parameter_validation=False,
        )
        self._lock = threading.Lock()
        self._client: Any = None
        self._credentials: Any = None

    def send(
        self,
        raw: bytes,
        address: str,
        attempt_id: str,
        *,
        configuration_set: str | None = None,
        tags: Sequence[tuple[str, str]] = (),
    ) -> str:
        """Hand `raw` to SES for `address` alone, and return the SES message id; a SesError says what else came of it.

        A configuration set and tags of the mail's credential: the set stands in for that of the installation.
        The recipient stands in `Destination` and the sender only in the mail: a `FromEmailAddress` would replace the
        From field (https://docs.aws.amazon.com/ses/latest/APIReference-V2/API_SendEmail.html).
        """
        request: dict[str, Any] = {
            "Destination": {"ToAddresses": [address]},
            "Content": {"Raw": {"Data": raw}},
            "EmailTags": [{"Name": name, "Value": value} for name, value in ((ATTEMPT_TAG, attempt_id), *tags)],
        }
        if chosen := configuration_set or self._configuration_set:
            request["ConfigurationSetName"] = chosen
        try:
            return self._call_patiently(request)
        except SesError as error:
            own = [what for what, chosen in ((_OF_A_SET, configuration_set), (_OF_TAGS, tags)) if chosen]
            if error.error_class is ErrorClass.ACCOUNT and any(what.search(str(error)) for what in own):
                raise _narrowed(error) from error
            raise

    def _call_patiently(self, request: dict[str, Any]) -> str:
        try:
            return self._call(request)
        except CredentialsExpiredError:
            return self._call(request)

    def warm_up(self) -> None:
        """Make the client now: it takes a good part of a second, which the first mail need not wait for."""
        try:
            self._connected()
        except SesError as error:
            log.warning("ses.not_configured", error=str(error))

    def _call(self, request: dict[str, Any]) -> str:
        client = self._connected()
        try:
            response = client.send_email(**request)
        except Exception as error:
            # Also what boto3 does not wrap, such as an answer that cannot be parsed: the call was made.
            classified = classify(error)
            if classified.error_class is ErrorClass.ACCOUNT:
                self._forget(client)  # credentials may have been renewed: read them again next time
            raise classified from error
        ses_message_id = response.get("MessageId")
        if not ses_message_id:
            # botocore takes a 200 whose body was cut off for a success without members.
            reason = "SES answered 200, and the connection ended before the message id came"
            raise SesError(ErrorClass.AMBIGUOUS, reason)
        return str(ses_message_id)

    def _connected(self) -> Any:
        """A client that can sign; a SesError of the account when there is none to be had. Nothing was sent then.

        Credentials of a role are fetched here: inside the call, a failure of STS would read like one of SES.
        """
        client = None
        try:
            client, credentials = self._made()
            if credentials is not None:  # without any, the call says so itself
                credentials.get_frozen_credentials()
        except Exception as error:
            # Whatever it is (a broken configuration, no file descriptor left, a role that may not be assumed).
            self._forget(client)
            raise SesError(ErrorClass.ACCOUNT, _sentence(error)) from error
        return client

    def _made(self) -> tuple[Any, Any]:
        with self._lock:
            if self._client is None:
                session = boto3.session.Session()
                self._client = session.client("sesv2", config=self._config)
                self._credentials = session.get_credentials()
            return self._client, self._credentials

    def _forget(self, client: Any) -> None:
        """Make a new client next time, unless another thread has done so since this one took `client`."""
        with self._lock:
            if self._client is client:
                self._client = None


def _narrowed(error: SesError) -> SesError:
    """What SES says of a configuration set or tags of one credential is no reason to stop the mail of all others."""
    reason = f"{error}; look at the configuration set and the tags of the credential"
    return SesError(ErrorClass.IDENTITY, reason)


# What an answer is about; it counts only where the credential has chosen that itself.
_OF_A_SET = re.compile(r"configuration[ -]?set", re.IGNORECASE)
_OF_TAGS = re.compile(r"\btags?\b|emailTags", re.IGNORECASE)


def classify(error: Exception) -> SesError:
    """What an exception of boto3 means: an answer by the table of `ses_errors`, the rest by how far the call got."""
    if isinstance(error, boto.ClientError):
        return _classify_answer(error)
    for kinds, error_class in _NOT_CALLED:
        if isinstance(error, kinds):
            return SesError(error_class, _sentence(error))
    if isinstance(error, boto.SSLError) and _in_handshake(error):
        return SesError(ErrorClass.TRANSIENT, _sentence(error))
    return SesError(ErrorClass.AMBIGUOUS, _sentence(error))


# Nothing was written to SES in these groups; whatever is not listed may have been.
_NOT_CALLED: tuple[tuple[tuple[type[Exception], ...], ErrorClass], ...] = (
    (
        (
            boto.EndpointConnectionError,  # DNS, too
            boto.ConnectTimeoutError,
            boto.ProxyConnectionError,
        ),
        ErrorClass.TRANSIENT,
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
        ErrorClass.ACCOUNT,
    ),
    ((boto.ParamValidationError,), ErrorClass.MESSAGE),
)


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


def _classify_answer(error: boto.ClientError) -> SesError:
    answer = _answer(error)
    row = find(answer)
    said = f"{answer.code}: {answer.text}" if answer.text else answer.code
    reason = f"SES answered {said} ({row.advice})" if row.advice else f"SES answered {said}"
    return CredentialsExpiredError(row.means, reason) if row.renewable else SesError(row.means, reason)


def _answer(error: boto.ClientError) -> Answer:
    details = error.response.get("Error", {})
    return Answer(
        code=_printable(str(details.get("Code") or "an error without a code")),
        text=_printable(str(details.get("Message") or "")),
        status=int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") or 0),
    )


def _sentence(error: Exception) -> str:
    return _printable(f"{type(error).__name__}: {error}")


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else " " for character in text)[:500]
