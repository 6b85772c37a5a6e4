"""The refusals of the simulated AWS, with the codes and texts of the real one.

Everything inside raises the error as SES v2 names it. The v1 API, older, has its own names for the same refusals and
answers 400 where v2 is finer (https://docs.aws.amazon.com/ses/latest/APIReference/CommonErrors.html).
"""

from __future__ import annotations

from typing import Final


class AwsError(Exception):
    """A refusal that the client sees as botocore's ClientError with this code, message and HTTP status."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status


_STATUS: Final = {
    "NotFoundException": 404,
    "TooManyRequestsException": 429,
    "ConflictException": 409,
    "ConcurrentModificationException": 500,
    "InternalServiceErrorException": 500,
    "InternalFailure": 500,
    "ServiceUnavailable": 503,
    "AccessDeniedException": 403,
    "AccessDenied": 403,
    "ExpiredTokenException": 403,
    "ExpiredToken": 403,
    "InvalidClientTokenId": 403,
    "UnrecognizedClientException": 403,
    "SignatureDoesNotMatch": 403,
    "InvalidSignatureException": 403,
    "MissingAuthenticationToken": 403,
    "OptInRequired": 403,
    "RequestTimeTooSkewed": 403,
    "RequestEntityTooLarge": 413,
    "UnknownOperationException": 404,
    "NotFound": 404,
    "ResourceNotFound": 404,
    "AuthorizationError": 403,
}

_CODE_BY_STATUS: Final = {429: "TooManyRequestsException", 500: "InternalFailure", 503: "ServiceUnavailable"}

_V1_CODES: Final = {
    "BadRequestException": "InvalidParameterValue",
    "TooManyRequestsException": "Throttling",
    "LimitExceededException": "Throttling",
    "SendingPausedException": "AccountSendingPausedException",
    "NotFoundException": "ConfigurationSetDoesNotExist",
    "UnknownOperationException": "InvalidAction",
}


def named(code: str, message: str) -> AwsError:
    """The error of this code with the HTTP status that AWS answers it with (400 where nothing else is known)."""
    return AwsError(code, message, _STATUS.get(code, 400))


def of_status(status: int) -> AwsError:
    """A failure of the service itself, known by its HTTP status."""
    code = _CODE_BY_STATUS.get(status, "InternalFailure")
    return AwsError(code, "The service could not handle the request (a fault asked for in the sandbox).", status)


def as_v1(error: AwsError) -> AwsError:
    """The same refusal the way the query APIs name it."""
    if error.code not in _V1_CODES:
        return error
    return AwsError(_V1_CODES[error.code], error.message, 400)


def bad_request(message: str) -> AwsError:
    return named("BadRequestException", message)


def not_found(message: str) -> AwsError:
    return named("NotFoundException", message)


def already_exists(message: str) -> AwsError:
    return named("AlreadyExistsException", message)


def configuration_set_missing(name: str) -> AwsError:
    return not_found(f"Configuration set <{name}> does not exist.")


def unverified(identities: list[str], region: str) -> AwsError:
    checked = f"The following identities failed the check in region {region.upper()}: {', '.join(identities)}"
    return named("MessageRejected", f"Email address is not verified. {checked}")


def invalid_parameter(message: str) -> AwsError:
    """SNS's word for a bad request."""
    return named("InvalidParameter", f"Invalid parameter: {message}")
