"""Every reply of the front: a code of RFC 5321, an enhanced status code of RFC 3463, one sentence.

Nothing that a client sent is repeated but addresses that were parsed as such, and no reply speaks of our insides.
"""

from __future__ import annotations

from datetime import datetime

from gateway.addresses import AddressError, Mailbox, parse_mailbox
from gateway.content import MAX_HEADER, MAX_RECEIVED, ContentError, ContentFault
from gateway.credentials import Credential
from gateway.header_encoding import MAX_LINE
from gateway.preflight import Identities
from gateway.senders import SenderAddress
from gateway.store.errors import OverCapError
from gateway.suppression_policy import Reason

IDENT = "ESMTP sesgate"

START_TLS = "220 2.0.0 Ready to start TLS"
OK = "250 2.0.0 OK"
SENDER_OK = "250 2.1.0 Sender OK"
RECIPIENT_OK = "250 2.1.5 Recipient OK"
START_DATA = "354 End data with <CR><LF>.<CR><LF>"
GOODBYE = "221 2.0.0 Goodbye"
CANNOT_VERIFY = "252 2.1.5 Addresses are not verified here; send the mail and see"
HELP = "214 2.0.0 Commands: HELO EHLO AUTH MAIL RCPT DATA RSET NOOP QUIT VRFY HELP STARTTLS"
AUTHENTICATED = "235 2.7.0 Authentication succeeded"

SHUTTING_DOWN = "421 4.3.2 The mail gateway is shutting down; connect again in a moment"
TOO_MANY_CONNECTIONS = "421 4.3.2 Too many connections; try again later"
MAKING_ROOM = "421 4.3.2 All places are taken, and this connection was idle for the longest time; connect again"
SESSION_TOO_LONG = "421 4.3.2 This session has gone on for too long without a message; connect again"
SESSION_TOO_OLD = "421 4.3.2 This session has gone on for too long; connect again"
NO_PLACE_FOR_LARGE = "421 4.3.2 Too many large messages at once; try again later"
IDLE_TOO_LONG = "421 4.4.2 Waited too long for the client; closing the connection"
TOO_MANY_ERRORS = "421 4.7.0 Too many errors; closing the connection"
TOO_MANY_FAILED_AUTHS = "421 4.7.0 Too many failed authentications; check the user name and the secret"
NOT_ADMITTED_ANY_MORE = (
    "421 4.7.0 What this session authenticated with is not valid any more; connect and authenticate again"
)
NOT_SMTP = "421 4.7.0 That is not SMTP; closing the connection"

STORE_UNAVAILABLE = "451 4.3.0 The message cannot be stored at the moment; try again later"
LOOKUP_UNAVAILABLE = "451 4.3.0 The recipient cannot be checked at the moment; try again later"
WHO_UNAVAILABLE = "451 4.3.0 It cannot be checked at the moment who may send here; try again later"
INTERNAL_ERROR = "451 4.3.0 The mail gateway met an error of its own; try again later"
NO_ROOM = "452 4.3.1 The mail gateway is short of disk space; try again later"
TOO_MUCH_IN_FLIGHT = "452 4.3.1 Too much mail is arriving at once; try again later"
TOO_MANY_RECIPIENTS = "452 4.5.3 Too many recipients; send the rest in another transaction"

AUTH_UNAVAILABLE = "454 4.7.0 It cannot be checked at the moment who may send here; try again later"

TLS_UNAVAILABLE = "454 4.7.0 TLS is not available: the mail gateway has no certificate"

COMMAND_TOO_LONG = "500 5.5.2 The command line is too long"
COMMAND_WITHOUT_CRLF = "500 5.5.2 A command must end with <CR><LF>"
COMMAND_NOT_ASCII = "500 5.5.2 A command may hold printable ASCII characters only"
UNKNOWN_COMMAND = "500 5.5.2 The command is not known here"
HELO_SYNTAX = "501 5.5.4 Say HELO or EHLO with the name of your host"
MAIL_SYNTAX = "501 5.5.4 Syntax: MAIL FROM:<address>"
RCPT_SYNTAX = "501 5.5.4 Syntax: RCPT TO:<address>"
DATA_SYNTAX = "501 5.5.4 Syntax: DATA"
STARTTLS_SYNTAX = "501 5.5.4 Syntax: STARTTLS"
SIZE_SYNTAX = "501 5.5.4 SIZE must be a number of octets"
BODY_SYNTAX = "501 5.5.4 BODY must be 7BIT or 8BITMIME"
AUTH_SYNTAX = "501 5.5.4 Syntax: AUTH PLAIN or AUTH LOGIN"
AUTH_UNREADABLE = "501 5.5.2 The response cannot be decoded; it must be base64 as the mechanism wants it"
AUTH_TOO_LONG = "500 5.5.6 The response is too long"
AUTH_CANCELLED = "501 5.7.0 Authentication was cancelled"
NOT_IMPLEMENTED = "502 5.5.1 The command is not offered here"
HELO_FIRST = "503 5.5.1 Say HELO or EHLO first"
MAIL_FIRST = "503 5.5.1 Say MAIL first"
RCPT_FIRST = "503 5.5.1 No recipient was accepted; say RCPT first"
AUTH_AGAIN = "503 5.5.1 This session has authenticated already"
AUTH_IN_TRANSACTION = "503 5.5.1 A mail transaction is open; say RSET before AUTH"
NESTED_MAIL = "503 5.5.1 A mail transaction is open already; say RSET first"
AUTH_MECHANISM = "504 5.5.4 That mechanism is not offered; PLAIN and LOGIN are"
AUTH_REQUIRED = "530 5.7.0 Authentication required: say AUTH with a user name and its secret"
AUTH_REFUSED = "535 5.7.8 The user name or the secret is wrong, or sending under it has been switched off"
AUTH_FOR_ANOTHER = "535 5.7.8 A credential can be used for itself only; leave the authorization identity empty"
AUTH_IN_CLEAR = "538 5.7.11 A secret may be sent over an encrypted connection only; use TLS"
TLS_ACTIVE = "503 5.5.1 TLS is in use already"
TLS_FIRST = "530 5.7.0 Must issue a STARTTLS command first"
TOO_LARGE = "552 5.3.4 The message is larger than the mail gateway takes"
NON_ASCII_ADDRESS = "553 5.6.7 The part before the @ must be ASCII: Amazon SES sends to no other address"
NON_ASCII_DOMAIN = "553 5.6.7 The domain is no name beyond ASCII that can be converted; write it in its xn-- form"
SPOKE_TOO_EARLY = "554 5.5.0 The client must wait for the reply; closing the connection"
SPOKE_BEFORE_TLS = "554 5.5.0 The client must not speak between STARTTLS and the handshake; closing the connection"
PROXY_NOT_TAKEN = "554 5.7.1 No PROXY header is taken from this address; closing the connection"
UNKNOWN_PARAMETER = "555 5.5.4 A parameter of the command is not supported"

_CONTENT_REASONS = {
    ContentFault.BARE_LF: "550 5.6.0 The content has a bare LF{line}; lines must end with <CR><LF>",
    ContentFault.BARE_CR: "550 5.6.0 The content has a bare CR{line}; lines must end with <CR><LF>",
    ContentFault.NUL: "550 5.6.0 The content has a NUL octet{line}",
    ContentFault.LINE_TOO_LONG: f"550 5.6.0 The content has a line longer than {MAX_LINE} octets{{line}}",
    ContentFault.HEADER_TOO_LARGE: f"550 5.6.0 The header section is larger than {MAX_HEADER} octets",
    ContentFault.NOT_A_FIELD: (
        "550 5.6.0 The header section has neither a field nor the empty line that ends it{line}"
    ),
    ContentFault.NO_FROM: "550 5.6.0 The message has no From header field",
    ContentFault.SEVERAL_FROM: "550 5.6.0 The message has more than one From header field",
    ContentFault.TOO_MANY_HOPS: f"554 5.4.6 The message has more than {MAX_RECEIVED} Received fields: a mail loop",
    ContentFault.LOOP: "554 5.4.6 The message has passed this mail gateway before: a mail loop",
}
_MAX_REPLY = 510  # without CRLF
_EXAMPLES = 3
_RULES = 5
_LONGEST_EXAMPLE = 64
_FINDINGS = frozenset({Reason.BOUNCE, Reason.SOFT_BOUNCE, Reason.GLOBAL_LIST})


def banner(hostname: str) -> str:
    return f"220 {hostname} {IDENT}"


def helo(hostname: str) -> str:
    return f"250 {hostname}"


def ehlo(hostname: str, max_message_bytes: int, *more: str) -> str:
    extensions = (f"SIZE {max_message_bytes}", "8BITMIME", "PIPELINING", "ENHANCEDSTATUSCODES", *more)
    return "\r\n".join((f"250-{hostname}", *(f"250-{extension}" for extension in extensions), "250 HELP"))


def session_full(messages: int) -> str:
    return f"421 4.3.2 This session has sent {messages} messages; connect again to send more"


def queued(ulid: str) -> str:
    return f"250 2.0.0 OK: queued as {ulid}"


def suppressed(mailbox: Mailbox, reason: Reason, since: datetime, *, with_domain: bool = False) -> str:
    """5.1.1 says that the mailbox does not work, 5.7.1 that it is not to be mailed."""
    code = "5.1.1" if reason in _FINDINGS else "5.7.1"
    others = ", as is all mail to its domain" if with_domain else ""
    return f"550 {code} <{mailbox}>: suppressed ({reason}, {since:%Y-%m-%d}){others}"


def relaying_denied(client_address: str) -> str:
    return f"550 5.7.1 Relaying denied: {client_address or 'the client'} is in no trusted network"


def not_enabled(credential: str) -> str:
    return f"550 5.7.1 The credential {credential} has been switched off"


def too_large_for(credential: Credential) -> str:
    return f"552 5.3.4 {credential.name} may send messages of {credential.max_message_bytes} octets at most"


def too_many_recipients_for(credential: str, most: int) -> str:
    return f"452 4.5.3 {credential} may send to {most} recipients at once; send the rest in another transaction"


def over_cap(error: OverCapError) -> str:
    """4yz where waiting helps: the client keeps the mail and nothing is lost."""
    limit = f"{error.credential} may send to {error.cap} recipients a {error.period}"
    if error.free_at is None:
        return f"550 5.7.1 {limit}, and this message has more"
    return f"451 4.7.1 {limit}; try again after {error.free_at:%H:%M:%S} UTC"


def reverse_path_not_allowed(credential: Credential, address: str) -> str:
    return _not_allowed(credential, f"with <{address}> as the envelope sender")


def author_not_allowed(credential: Credential, address: str | None) -> str:
    """`address` is None when the field holds none that can be read."""
    try:
        shown = None if address is None else parse_mailbox(address)
    except AddressError:
        shown = None
    what = "without a readable address" if shown is None else f"with <{shown}>"
    return _not_allowed(credential, f"{what} in the From header")


def _not_allowed(credential: Credential, what: str) -> str:
    reply = f"550 5.7.1 {credential.name} may not send {what}"
    rules = [_spoken_rule(rule) for rule in credential.senders if len(rule) <= _LONGEST_EXAMPLE][:_RULES]
    more = " among others" if len(rules) < len(credential.senders) else ""
    whole = f"{reply}; it may use {' or '.join(rules)}{more}"
    return whole if rules and len(whole) <= _MAX_REPLY else reply


def _spoken_rule(rule: str) -> str:
    if "@" in rule:
        return f"<{rule}>"
    return f"any address below {rule[1:]}" if rule.startswith(".") else f"any address of {rule}"


def bad_sender(reason: str) -> str:
    return f"553 5.1.7 The sender is no valid mailbox: {reason}"


def bad_recipient(reason: str) -> str:
    return f"553 5.1.3 The recipient is no valid mailbox: {reason}"


def content_refused(error: ContentError) -> str:
    return _CONTENT_REASONS[error.fault].format(line="" if error.line is None else f" in line {error.line}")


def sender_not_verified(sender: SenderAddress, identities: Identities) -> str:
    """Names the header and the ways out; a reply of one line has at most 512 octets (RFC 5321 section 4.5.3.1.5)."""
    try:
        mailbox = parse_mailbox(sender.address)
    except AddressError:
        reply = f"550 5.7.1 The {sender.field} header holds no address that Amazon SES could verify"
        remedy = ""
    else:
        reply = (
            f"550 5.7.1 Amazon SES in {identities.region} does not send for <{mailbox}> in the {sender.field} header"
        )
        remedy = f"verify that address or {mailbox.domain} there (it counts here within two minutes), or "
    known = [name for name in identities.examples(_EXAMPLES) if len(name) <= _LONGEST_EXAMPLE]
    instead = f"use an address of {' or '.join(known)}" if known else "use a verified one"
    whole = f"{reply}: {remedy}{instead}"
    return whole if len(whole) <= _MAX_REPLY else reply


class RefusedError(Exception):
    """A command is refused with `reply`; `is_error` says that it counts towards the client's budget of errors."""

    def __init__(self, reply: str, *, is_error: bool = True) -> None:
        super().__init__(reply)
        self.reply = reply
        self.is_error = is_error


class CloseError(Exception):
    """The connection cannot go on; `reply` is the last one."""

    def __init__(self, reply: str) -> None:
        super().__init__(reply)
        self.reply = reply
