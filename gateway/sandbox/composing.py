"""The MIME message that SES makes of simple content (subject, text, HTML)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from email import policy
from email.message import EmailMessage
from email.utils import format_datetime, make_msgid

from gateway.sandbox import times
from gateway.sandbox.errors import bad_request


@dataclass(frozen=True)
class Attachment:
    filename: str
    content: bytes
    content_type: str


@dataclass(frozen=True)
class SimpleContent:
    """What the caller gave. Bcc recipients are not part of a message."""

    sender: str
    to: Sequence[str] = ()
    cc: Sequence[str] = ()
    reply_to: Sequence[str] = ()
    subject: str = ""
    text: str | None = None
    html: str | None = None
    headers: Sequence[tuple[str, str]] = ()
    attachments: Sequence[Attachment] = ()


def compose(content: SimpleContent) -> bytes:
    """BadRequestException where a header cannot be written (a line break inside, an address that is none)."""
    if content.text is None and content.html is None:
        raise bad_request("Missing required parameter: either Text or Html is needed in the body.")
    message = EmailMessage(policy=policy.SMTP)
    try:
        _address(message, content)
    except (ValueError, IndexError) as error:
        raise bad_request(f"A header could not be written: {error}") from error
    _fill(message, content)
    return message.as_bytes()


def _address(message: EmailMessage, content: SimpleContent) -> None:
    fields = (("To", content.to), ("Cc", content.cc), ("Reply-To", content.reply_to))
    message["From"] = content.sender
    for name, addresses in fields:
        if addresses:
            message[name] = ", ".join(addresses)
    message["Subject"] = content.subject
    message["Date"] = format_datetime(times.now())
    message["Message-ID"] = make_msgid(domain="email.amazonses.com")
    for name, value in content.headers:
        message[name] = value


def _fill(message: EmailMessage, content: SimpleContent) -> None:
    if content.text is not None:
        message.set_content(content.text)
        if content.html is not None:
            message.add_alternative(content.html, subtype="html")
    else:
        message.set_content(content.html or "", subtype="html")
    for attachment in content.attachments:
        main, _, sub = attachment.content_type.partition("/")
        message.add_attachment(
            attachment.content, maintype=main, subtype=sub or "octet-stream", filename=attachment.filename
        )
