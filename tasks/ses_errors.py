"""What an answer of SES means for us: one table, read from the top; the first row that fits decides.

AWS lists the codes on the pages of `SendEmail` (v2), `SendRawEmail` (v1) and "Common errors" of both API references
(https://docs.aws.amazon.com/ses/latest/APIReference-V2/CommonErrors.html). It lists no texts: those are what accounts
have really been answered. Where v1 and v2 name a refusal differently, both names stand in one row, because the front
end of AWS answers some calls to v2 with names of v1. Names are compared without their ending `Exception`, which AWS
writes on one page and leaves out on the next.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum


class ErrorClass(StrEnum):
    """What is to be done about a call that SES did not accept. In every class but the last, SES surely has no mail."""

    MESSAGE = "message"
    """SES will never take this mail."""
    ACCOUNT = "account"
    """Nothing can be sent until somebody acts: account, credentials, configuration set, or this machine's clock."""
    QUOTA = "quota"
    """Nothing can be sent until the quota of 24 hours has room again."""
    THROTTLED = "throttled"
    """Faster than the account may send."""
    IDENTITY = "identity"
    """This sender may not send (yet); other mail is not concerned."""
    TRANSIENT = "transient"
    """Try again later."""
    UNKNOWN = "unknown"
    """A refusal that this table does not know. To send it again could loop, to give it up could be wrong."""
    AMBIGUOUS = "ambiguous"
    """SES may have the mail."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An error as SES answered it. The text may be empty, the code a mere number where a proxy answered instead."""

    code: str
    text: str
    status: int


@dataclass(frozen=True, slots=True)
class Row:
    """Fits an answer with one of these codes, and this text, and one of these statuses; what is not given fits all."""

    means: ErrorClass
    codes: tuple[str, ...] = ()
    text: str = ""  # a regular expression, looked for anywhere and in any case
    statuses: range | tuple[int, ...] = ()
    advice: str = ""  # what the answer does not say by itself
    renewable: bool = False  # newly read credentials may be better ones

    def fits(self, answer: Answer) -> bool:
        return (
            (not self.codes or _bare(answer.code) in {_bare(code) for code in self.codes})
            and (not self.statuses or answer.status in self.statuses)
            and re.search(self.text, answer.text, re.IGNORECASE) is not None
        )


_CLOCK = "this machine's clock is wrong by more than AWS allows: set it right, and have it kept right by NTP"
_NOT_SES = "something between this machine and SES answered in its place"
_THROTTLING = ("TooManyRequestsException", "ThrottlingException", "LimitExceededException")
_BAD_REQUEST = ("BadRequestException", "InvalidParameterValue", "ValidationError", "ValidationException")
_BAD_SIGNATURE = ("SignatureDoesNotMatch", "InvalidSignatureException")

TABLE = (
    # The same codes stand for the rate and for the quota of 24 hours: the text tells them apart (AWS: "Errors related
    # to the sending quotas for your Amazon SES account"). Without one, v2 uses the last for what does not pass soon.
    Row(ErrorClass.QUOTA, _THROTTLING, text=r"quota exceeded"),
    Row(ErrorClass.THROTTLED, _THROTTLING, text=r"rate exceeded"),
    Row(ErrorClass.QUOTA, ("LimitExceededException",)),
    Row(ErrorClass.THROTTLED, _THROTTLING),
    Row(ErrorClass.THROTTLED, statuses=(429,)),
    # Refused for the sender. MessageRejected is not always about the message: a paused account is told by this code,
    # too ("Sending paused for this account. For more information, please check the inbox ..."), and so is a sender that
    # is not verified, or in the sandbox of AWS a recipient.
    Row(ErrorClass.ACCOUNT, ("MessageRejected",), text=r"^(email )?sending .*\b(paused|suspended)\b"),
    Row(ErrorClass.IDENTITY, ("MessageRejected", *_BAD_REQUEST), text=r"^(email address|domain)\b.*\bnot verified\b"),
    Row(ErrorClass.IDENTITY, ("MailFromDomainNotVerifiedException",)),
    # An identity's policy. Whether the text names an identity or another resource is all that tells them apart.
    Row(ErrorClass.IDENTITY, ("AccessDeniedException",), text=r":identity/"),
    # The account and what this gateway is configured with.
    Row(ErrorClass.ACCOUNT, ("AccessDeniedException", "NotAuthorized", "OptInRequired")),
    Row(ErrorClass.ACCOUNT, ("SendingPausedException", "AccountSendingPausedException")),
    Row(ErrorClass.ACCOUNT, ("ConfigurationSetSendingPausedException",)),
    Row(ErrorClass.ACCOUNT, ("AccountSuspendedException",)),
    Row(ErrorClass.ACCOUNT, ("NotFoundException", "ConfigurationSetDoesNotExist", "TemplateDoesNotExist")),
    Row(
        ErrorClass.ACCOUNT,
        _BAD_REQUEST,
        # "Invalid tag name <a b>: only alphanumeric ASCII characters ...", and the front end's "Value at
        # 'configurationSetName' failed to satisfy constraint": of our configuration, never of a mail.
        text=r"^(invalid|duplicate) (message |email )?(tag|configuration set)\b"
        r"|^\d+ validation errors? detected: value ('[^']*' )?at '(configurationSetName|emailTags)\b",
        advice="look at SESGATE_SES_CONFIGURATION_SET",
    ),
    Row(ErrorClass.ACCOUNT, ("UnknownOperationException",), advice="look at AWS_ENDPOINT_URL: that is no SES v2"),
    # Credentials, and the clock that signs with them (AWS: "Troubleshooting signed requests").
    Row(ErrorClass.ACCOUNT, ("ExpiredTokenException",), renewable=True),
    Row(ErrorClass.ACCOUNT, ("RequestExpired", "RequestTimeTooSkewed"), advice=_CLOCK),
    Row(ErrorClass.ACCOUNT, _BAD_SIGNATURE, text=r"^signature (expired|not yet current)", advice=_CLOCK),
    Row(ErrorClass.ACCOUNT, (*_BAD_SIGNATURE, "IncompleteSignature", "MissingAuthenticationToken")),
    Row(ErrorClass.ACCOUNT, ("InvalidClientTokenId", "UnrecognizedClientException")),
    # The mail.
    Row(ErrorClass.MESSAGE, ("MessageRejected", "InvalidTemplate", *_BAD_REQUEST)),
    Row(ErrorClass.MESSAGE, statuses=(413,)),  # RequestEntityTooLarge, or a proxy that says so
    # The moment. 503 is said before the work begins; any other failure of the server may have come after it.
    Row(ErrorClass.AMBIGUOUS, ("InternalFailure", "InternalServiceErrorException", "RequestAbortedException")),
    Row(ErrorClass.TRANSIENT, ("RequestTimeoutException",)),
    Row(ErrorClass.TRANSIENT, statuses=(408, 503)),  # 503: ServiceUnavailable
    Row(ErrorClass.TRANSIENT, statuses=(*range(300, 400), 407), advice=_NOT_SES),
    Row(ErrorClass.UNKNOWN, statuses=range(400, 500)),
    Row(ErrorClass.AMBIGUOUS),
)


def find(answer: Answer) -> Row:
    """The first row that fits; the last one fits everything."""
    return next(row for row in TABLE if row.fits(answer))


def _bare(code: str) -> str:
    return code.removesuffix("Exception")
