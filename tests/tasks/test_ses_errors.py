from __future__ import annotations

import pytest

from tasks.ses_errors import TABLE, Answer, ErrorClass, find

RATE = "Maximum sending rate exceeded."
SIGV2_RATE = "Maximum SigV2 SMTP sending rate exceeded"
QUOTA = "Daily message quota exceeded."
FAILED_THE_CHECK = "The following identities failed the check in region EU-WEST-1: a@example.org, b@example.org"
INBOX = "For more information, please check the inbox of the email address associated with your AWS account."
USER = "User `arn:aws:iam::1:user/x' is not authorized to perform `ses:SendRawEmail' on resource"
EXPIRED = "Signature expired: 20260706T195306Z is now earlier than 20260707T071347Z (20260707T072847Z - 15 min.)"
CHARACTERS = "only alphanumeric ASCII characters, '_', and '-' are allowed."
CONSTRAINT = "failed to satisfy constraint: Member must satisfy regular expression pattern"

# What SES answers when it is about the sender, the account or the moment: the class, then code, HTTP status and text.
ANSWERS = {
    ErrorClass.THROTTLED: [
        ("TooManyRequestsException", 429, RATE),
        ("TooManyRequestsException", 429, ""),
        ("Throttling", 400, RATE),
        ("Throttling", 400, SIGV2_RATE),
        ("Throttling", 400, ""),
        ("ThrottlingException", 400, RATE),
        ("ThrottlingException", 429, ""),
        ("LimitExceededException", 400, RATE),
        ("SomethingNew", 429, ""),
        ("429", 429, "Too Many Requests"),
    ],
    ErrorClass.QUOTA: [
        ("LimitExceededException", 400, QUOTA),
        ("LimitExceededException", 400, ""),
        ("Throttling", 400, QUOTA),
        ("ThrottlingException", 400, QUOTA),
        ("TooManyRequestsException", 429, QUOTA),
    ],
    ErrorClass.IDENTITY: [
        ("MessageRejected", 400, f"Email address is not verified. {FAILED_THE_CHECK}"),
        ("MessageRejected", 400, "Email address not verified"),
        ("InvalidParameterValue", 400, "Email address is not verified."),
        ("MailFromDomainNotVerifiedException", 400, ""),
        ("MailFromDomainNotVerified", 400, ""),
        ("AccessDeniedException", 403, f"{USER} `arn:aws:ses:eu-west-1:1:identity/example.org'"),
        ("AccessDenied", 403, f"{USER} `arn:aws:ses:eu-west-1:1:identity/a@example.org'"),
    ],
    ErrorClass.ACCOUNT: [
        ("MessageRejected", 400, f"Sending paused for this account. {INBOX}"),
        ("MessageRejected", 400, f"Sending suspended for this account. {INBOX}"),
        ("MessageRejected", 400, "Email sending for the account is paused."),
        ("NotFoundException", 404, "Configuration set <x> does not exist."),
        ("ConfigurationSetDoesNotExist", 400, ""),
        ("ConfigurationSetDoesNotExistException", 400, ""),
        ("TemplateDoesNotExist", 400, ""),
        ("SendingPausedException", 400, "Email sending is paused"),
        ("AccountSendingPausedException", 400, ""),
        ("ConfigurationSetSendingPausedException", 400, ""),
        ("ConfigurationSetSendingPaused", 400, ""),
        ("AccountSuspendedException", 400, ""),
        ("AccessDeniedException", 403, f"{USER} `arn:aws:ses:eu-west-1:1:configuration-set/x'"),
        ("AccessDeniedException", 403, ""),
        ("AccessDenied", 403, ""),
        ("ExpiredTokenException", 403, ""),
        ("ExpiredToken", 403, "The security token included in the request is expired"),
        ("InvalidClientTokenId", 403, ""),
        ("UnrecognizedClientException", 403, ""),
        ("SignatureDoesNotMatch", 403, "The request signature we calculated does not match"),
        ("SignatureDoesNotMatch", 403, EXPIRED),
        ("InvalidSignatureException", 403, EXPIRED),
        ("InvalidSignatureException", 400, ""),
        ("IncompleteSignature", 400, ""),
        ("MissingAuthenticationToken", 403, ""),
        ("MissingAuthenticationTokenException", 403, ""),
        ("OptInRequired", 403, ""),
        ("NotAuthorized", 400, ""),
        ("RequestExpired", 400, ""),
        ("RequestTimeTooSkewed", 403, ""),
        ("BadRequestException", 400, f"Invalid tag name <a b>: {CHARACTERS}"),
        ("InvalidParameterValue", 400, f"Invalid tag value <a:b>: {CHARACTERS}"),
        ("BadRequestException", 400, f"Invalid configuration set name <a b>: {CHARACTERS}"),
        ("ValidationException", 400, f"1 validation error detected: Value at 'configurationSetName' {CONSTRAINT}"),
        ("ValidationException", 400, f"1 validation error detected: Value 'a b' at 'emailTags.1' {CONSTRAINT}"),
        ("UnknownOperationException", 404, ""),
    ],
    ErrorClass.MESSAGE: [
        ("MessageRejected", 400, "Address Blacklisted"),
        ("MessageRejected", 400, ""),
        ("BadRequestException", 400, "Missing final '@domain'"),
        ("BadRequestException", 400, "Missing domain"),
        ("BadRequestException", 400, "Missing local name"),
        ("BadRequestException", 400, "Domain contains control or whitespace"),
        ("BadRequestException", 400, "Local address contains control or whitespace"),
        ("BadRequestException", 400, "Local address contains illegal character"),
        ("BadRequestException", 400, "Illegal address"),
        ("BadRequestException", 400, "Invalid email address not verified@"),
        ("BadRequestException", 400, "Duplicate header 'From'."),
        ("BadRequestException", 400, "Duplicate header 'Tag Name'."),
        ("BadRequestException", 400, "Empty header names are illegal."),
        ("BadRequestException", 400, "Header section too long."),
        ("BadRequestException", 400, "Missing start boundary"),
        ("BadRequestException", 400, "Expected '=', got 'null'"),
        ("BadRequestException", 400, "Missing required header 'From'."),
        ("BadRequestException", 400, ""),
        ("InvalidParameterValue", 400, "Illegal address"),
        ("ValidationError", 400, "Missing required header 'From'."),
        ("ValidationException", 400, ""),
        ("InvalidTemplate", 400, ""),
        ("RequestEntityTooLarge", 413, ""),
        ("RequestEntityTooLargeException", 413, ""),
        ("413", 413, "Request Entity Too Large"),
    ],
    ErrorClass.TRANSIENT: [
        ("ServiceUnavailable", 503, ""),
        ("ServiceUnavailableException", 503, ""),
        ("503", 503, "Service Unavailable"),
        ("SomethingNew", 503, ""),
        ("RequestTimeout", 408, ""),
        ("RequestTimeoutException", 400, ""),
        ("408", 408, "Request Timeout"),
        ("407", 407, "Proxy Authentication Required"),
        ("302", 302, "Found"),
    ],
    ErrorClass.UNKNOWN: [
        ("SomethingNew", 400, ""),
        ("SomethingNew", 418, "Email address is not verified"),
        ("404", 404, "Not Found"),
        ("an error without a code", 400, ""),
    ],
    ErrorClass.AMBIGUOUS: [
        ("InternalFailure", 500, ""),
        ("InternalFailure", 503, ""),
        ("InternalServiceErrorException", 500, ""),
        ("InternalServiceErrorException", 503, ""),
        ("InternalServiceError", 500, ""),
        ("RequestAbortedException", 400, ""),
        ("500", 500, ""),
        ("502", 502, "Bad Gateway"),
        ("504", 504, "Gateway Timeout"),
        ("SomethingNew", 500, "Maximum sending rate exceeded"),
        ("SomethingNew", 599, ""),
        ("an error without a code", 0, ""),
    ],
}
CASES = [(meaning, *answer) for meaning, answers in ANSWERS.items() for answer in answers]


@pytest.mark.parametrize(("meaning", "code", "status", "text"), CASES)
def test_what_an_answer_of_ses_means(meaning, code, status, text):
    assert find(Answer(code, text, status)).means is meaning


def test_every_class_and_every_row_of_the_table_is_tried():
    assert set(ANSWERS) == set(ErrorClass)
    reached = {id(find(Answer(code, text, status))) for _, code, status, text in CASES}
    assert [row for row in TABLE if id(row) not in reached] == []


def test_every_code_of_the_table_is_tried():
    known = {code.removesuffix("Exception") for row in TABLE for code in row.codes}
    assert known - {code.removesuffix("Exception") for _, code, _, _ in CASES} == set()


@pytest.mark.parametrize(
    ("code", "text"), [("RequestExpired", ""), ("RequestTimeTooSkewed", ""), ("SignatureDoesNotMatch", EXPIRED)]
)
def test_an_answer_about_the_time_says_whose_clock_is_wrong(code, text):
    assert "this machine's clock is wrong" in find(Answer(code, text, 403)).advice


def test_only_expired_credentials_are_worth_a_second_call():
    renewable = {code for _, code, status, text in CASES if find(Answer(code, text, status)).renewable}
    assert renewable == {"ExpiredToken", "ExpiredTokenException"}
