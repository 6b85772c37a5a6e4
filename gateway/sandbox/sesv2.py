"""SES v2, the REST API (https://docs.aws.amazon.com/ses/latest/APIReference-V2/).

The sending and account calls; `sesv2_resources` has the rest.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from flask import Blueprint, Response, request

from gateway.sandbox import checks
from gateway.sandbox.accepted import AcceptedCopies
from gateway.sandbox.account import AccountDesk
from gateway.sandbox.calls import Calls
from gateway.sandbox.composing import Attachment, SimpleContent, compose
from gateway.sandbox.errors import AwsError, bad_request, named
from gateway.sandbox.sending import Ses, Submission

Json = dict[str, Any]
Handler = Callable[..., Json]

PREFIX: Final = "/v2/email"


@dataclass(frozen=True)
class Route:
    """An operation with its place in the REST API."""

    operation: str
    method: str
    path: str
    handler: Handler


def blueprint(routes: list[Route], calls: Calls) -> Blueprint:
    """A URL rule for each operation; whatever else is asked for gets UnknownOperationException."""
    made = Blueprint("sesv2", __name__, url_prefix=PREFIX)
    for route in routes:
        made.add_url_rule(route.path, endpoint=route.operation, methods=[route.method], view_func=_view(route, calls))
    made.add_url_rule("/<path:unknown>", "unknown", _unknown, methods=["GET", "POST", "PUT", "DELETE", "PATCH"])
    made.register_error_handler(AwsError, answer_error)
    return made


def _view(route: Route, calls: Calls) -> Callable[..., Response]:
    def view(**path: str) -> Response:
        calls.before(route.operation)
        response = _answer(route.handler(**path))
        return calls.accepted(response) if route.operation == "SendEmail" else response

    return view


def _unknown(unknown: str) -> Response:
    raise named("UnknownOperationException", f"The simulated SES v2 has no {request.method} {PREFIX}/{unknown}.")


def _answer(result: Json) -> Response:
    return Response(json.dumps(result), mimetype="application/json")


def answer_error(error: AwsError) -> Response:
    """The body and header in which botocore looks for the code."""
    response = Response(json.dumps({"message": error.message}), error.status, mimetype="application/json")
    response.headers["x-amzn-ErrorType"] = error.code
    return response


def body() -> Json:
    """The JSON object that came with the request; none is an empty one."""
    try:
        given = json.loads(request.get_data(cache=False) or b"{}")
    except ValueError as error:
        raise named("SerializationException", "The request body is not JSON.") from error
    if not isinstance(given, dict):
        raise named("SerializationException", "The request body is not a JSON object.")
    return given


class Sending:
    """SendEmail and the account."""

    def __init__(self, ses: Ses, account: AccountDesk, copies: AcceptedCopies) -> None:
        self._ses = ses
        self._account = account
        self._copies = copies

    def routes(self) -> list[Route]:
        return [
            Route("SendEmail", "POST", "/outbound-emails", self._send_email),
            Route("GetAccount", "GET", "/account", self._get_account),
            Route("PutAccountSendingAttributes", "PUT", "/account/sending", self._put_sending),
            Route("PutAccountSuppressionAttributes", "PUT", "/account/suppression", self._put_suppression),
        ]

    def _send_email(self) -> Json:
        return {"MessageId": self._ses.send(_submission(body()))}

    def _get_account(self) -> Json:
        account = self._account.account
        return {
            "DedicatedIpAutoWarmupEnabled": False,
            "EnforcementStatus": account.enforcement_status,
            "ProductionAccessEnabled": account.production_access_enabled,
            "SendQuota": {
                "Max24HourSend": account.max_24_hour_send,
                "MaxSendRate": account.max_send_rate,
                "SentLast24Hours": float(self._copies.sent_last_24_hours()),
            },
            "SendingEnabled": account.sending_enabled,
            "SuppressionAttributes": {"SuppressedReasons": self._account.suppressed_reasons()},
            "VdmAttributes": {"VdmEnabled": "DISABLED"},
        }

    def _put_sending(self) -> Json:
        self._account.set_sending(enabled=bool(body().get("SendingEnabled", False)))
        return {}

    def _put_suppression(self) -> Json:
        self._account.set_suppressed_reasons(body().get("SuppressedReasons") or [])
        return {}


def _submission(call: Json) -> Submission:
    destination = call.get("Destination") or {}
    to, cc, bcc = (destination.get(f"{name}Addresses") or [] for name in ("To", "Cc", "Bcc"))
    raw, encoded_size = _content(call, to, cc)
    return Submission(
        operation="SendEmail",
        raw=raw,
        encoded_size=encoded_size,
        size_limit=checks.MAX_BYTES_V2,
        sender=call.get("FromEmailAddress"),
        replaces_from=True,
        destinations=(*to, *cc, *bcc),
        configuration_set=call.get("ConfigurationSetName"),
        tags=tuple((tag.get("Name", ""), tag.get("Value", "")) for tag in call.get("EmailTags") or []),
    )


def _content(call: Json, to: list[str], cc: list[str]) -> tuple[bytes, int]:
    """The MIME message, and its size the way SES counts it."""
    content = call.get("Content") or {}
    if "Raw" in content:
        encoded = content["Raw"].get("Data") or ""
        return _decoded(encoded), len(encoded)
    if "Simple" in content:
        raw = compose(_simple(call, content["Simple"], to, cc))
        return raw, len(raw) * 4 // 3
    raise bad_request("The sandbox sends Raw and Simple content; this call has neither.")


def _simple(call: Json, simple: Json, to: list[str], cc: list[str]) -> SimpleContent:
    sender = call.get("FromEmailAddress")
    if not sender:
        raise bad_request("Missing required parameter: FromEmailAddress.")
    body_parts = simple.get("Body") or {}
    return SimpleContent(
        sender=sender,
        to=to,
        cc=cc,
        reply_to=call.get("ReplyToAddresses") or [],
        subject=(simple.get("Subject") or {}).get("Data", ""),
        text=(body_parts.get("Text") or {}).get("Data"),
        html=(body_parts.get("Html") or {}).get("Data"),
        headers=[(header["Name"], header["Value"]) for header in simple.get("Headers") or []],
        attachments=[_attachment(given) for given in simple.get("Attachments") or []],
    )


def _attachment(given: Json) -> Attachment:
    return Attachment(
        filename=given.get("FileName", "attachment"),
        content=_decoded(given.get("RawContent", "")),
        content_type=given.get("ContentType") or "application/octet-stream",
    )


def _decoded(encoded: str) -> bytes:
    try:
        return base64.b64decode(encoded)
    except binascii.Error as error:
        raise named("SerializationException", "The content is not base64.") from error
