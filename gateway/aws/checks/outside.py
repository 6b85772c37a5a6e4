"""The webhook as SNS meets it: by its public name, with TLS, through whatever stands before it.

From inside it is not certain what the internet sees: a name may resolve to another address here. So what does not
answer from here is a failure only as long as nothing of SNS has arrived lately.
"""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from dataclasses import dataclass
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Final
from urllib.parse import SplitResult, urlsplit

from gateway.findings import Finding, Ledger, failed, ok, skipped, warning
from gateway.sns_endpoints import masked_endpoint

_TIMEOUT: Final = 5.0
_LATELY: Final = timedelta(minutes=15)
_LONGEST: Final = 4096
_WEBHOOK: Final = "webhook"
_INSIDE: Final = "as seen from here, which is not the internet"


@dataclass(frozen=True, slots=True)
class Reply:
    """What answered: `status` and `body` of the POST, `healthz` of the sibling; or why there was no answer.

    `trouble` is one of dns, refused, timeout, tls, broken.
    """

    status: int = 0
    body: bytes = b""
    location: str = ""
    healthz: int = 0
    trouble: str = ""
    reason: str = ""

    @property
    def is_ours(self) -> bool:
        """Whether it is the answer of our webhook to a body that is no envelope."""
        try:
            told = json.loads(self.body)
        except ValueError:
            return False
        return self.status == HTTPStatus.FORBIDDEN and isinstance(told, dict) and told.get("status") == "refused"


def outside_check(endpoint: str) -> str:
    return f"webhook at {masked_endpoint(endpoint)}"


def look_from_outside(
    ledger: Ledger, endpoint: str, *, is_well: bool, heard_at: datetime | None, now: datetime
) -> None:
    """`heard_at`: when a message last came by this subscription."""
    check = outside_check(endpoint)
    if not is_well:
        ledger.add(skipped(check, f"needs {_WEBHOOK}"))
        return
    hears_lately = heard_at is not None and now - heard_at < _LATELY
    ledger.add(judge_reply(endpoint, ask(endpoint), hears_lately=hears_lately))


def ask(endpoint: str, tls: ssl.SSLContext | None = None) -> Reply:
    """POST of nothing, which does no harm anywhere, and GET of /healthz beside it. Redirects are not followed."""
    parts = urlsplit(endpoint)
    try:
        status, body, location = _request(parts, "POST", _path(parts), tls)
    except (OSError, http.client.HTTPException) as error:
        return _trouble(error)
    try:
        healthz = _request(parts, "GET", parts.path.rpartition("/")[0] + "/healthz", tls)[0]
    except (OSError, http.client.HTTPException):
        healthz = 0
    return Reply(status, body, location, healthz)


def _path(parts: SplitResult) -> str:
    return f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"


def _request(parts: SplitResult, method: str, path: str, tls: ssl.SSLContext | None) -> tuple[int, bytes, str]:
    host = parts.hostname or ""
    connection: http.client.HTTPConnection = (
        http.client.HTTPSConnection(host, parts.port, timeout=_TIMEOUT, context=tls or ssl.create_default_context())
        if parts.scheme == "https"
        else http.client.HTTPConnection(host, parts.port, timeout=_TIMEOUT)
    )
    try:
        connection.request(method, path, headers={"User-Agent": "sesgate doctor", "Content-Length": "0"})
        response = connection.getresponse()
        return response.status, response.read(_LONGEST), response.getheader("Location") or ""
    finally:
        connection.close()


def _trouble(error: Exception) -> Reply:
    kinds: tuple[tuple[type[Exception], str], ...] = (
        (socket.gaierror, "dns"),
        (ssl.SSLError, "tls"),
        (TimeoutError, "timeout"),
        (ConnectionRefusedError, "refused"),
    )
    trouble = next((name for kind, name in kinds if isinstance(error, kind)), "broken")
    reason = getattr(error, "verify_message", "") or getattr(error, "strerror", "") or type(error).__name__
    return Reply(trouble=trouble, reason=str(reason))


def judge_reply(endpoint: str, reply: Reply, *, hears_lately: bool) -> Finding:
    check, host = outside_check(endpoint), urlsplit(endpoint).hostname or ""
    if reply.is_ours:
        return ok(check, f"our webhook answers there, {_INSIDE}")
    if reply.trouble:
        seen, fix = _spoken_trouble(endpoint, host, reply)
        if hears_lately and reply.trouble != "tls":
            return warning(
                check, f"{seen}; but SNS has reached it in the last minutes", f"Perhaps only from here: {fix}"
            )
        return failed(check, f"{seen}, {_INSIDE}", fix)
    return _judge_status(check, endpoint, reply)


def _spoken_trouble(endpoint: str, host: str, reply: Reply) -> tuple[str, str]:
    where = masked_endpoint(endpoint)
    return {
        "dns": (f"the name {host} does not resolve", f"Put {host} into the public DNS, or subscribe another name."),
        "refused": (
            f"nothing listens at {where}",
            "Start the proxy, and open its port in the firewall for the internet.",
        ),
        "timeout": (
            f"{where} does not answer in {_TIMEOUT:g} s",
            "Open the port in the firewall and the security group.",
        ),
        "tls": (
            f"the TLS certificate of {host} is not trusted ({reply.reason})",
            "SNS wants the whole chain of a public authority, such as Let's Encrypt, made out to this name.",
        ),
    }.get(
        reply.trouble,
        (f"the connection to {where} breaks off ({reply.reason})", "Look at the log of the proxy before the webhook."),
    )


def _judge_status(check: str, endpoint: str, reply: Reply) -> Finding:
    status = reply.status
    if status == HTTPStatus.UNAUTHORIZED:
        return ok(check, "asks for the password that the subscription has; what is behind it is not seen from here")
    if 300 <= status < 400:  # noqa: PLR2004  the redirects
        return failed(
            check,
            f"answers with a redirect to {reply.location or 'elsewhere'}, which SNS takes for a failure",
            "Subscribe the address that it leads to, or let the proxy pass POST on without a redirect.",
        )
    if status == HTTPStatus.NOT_FOUND and reply.healthz == HTTPStatus.OK:
        return failed(
            check,
            f"our webhook answers there, but not at {urlsplit(endpoint).path or '/'} (404)",
            "Subscribe the path /sns, or let the proxy pass it on unchanged.",
        )
    if status in {HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT}:
        return failed(
            check,
            f"the proxy does not reach the webhook ({status})",
            "Let the proxy pass on to SESGATE_WEBHOOK_LISTEN; its log says what it tries.",
        )
    return failed(
        check,
        f"something else answers there ({status}), not our webhook",
        "Let the proxy pass POST of this path on to SESGATE_WEBHOOK_LISTEN, unchanged and without a login of its own.",
    )
