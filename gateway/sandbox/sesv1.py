"""SES v1, the query API (https://docs.aws.amazon.com/ses/latest/APIReference/)."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from typing import Final

from gateway.sandbox import checks
from gateway.sandbox.account import AccountDesk
from gateway.sandbox.composing import SimpleContent, compose
from gateway.sandbox.config import SandboxConfig
from gateway.sandbox.errors import named
from gateway.sandbox.identities import Identity
from gateway.sandbox.publishing import Publisher
from gateway.sandbox.query import Entries, Parameters, Result
from gateway.sandbox.resources import Resources
from gateway.sandbox.sending import Ses, Submission
from gateway.sandbox.sesv1_notifications import NotificationApi

SENDS: Final = frozenset({"SendEmail", "SendRawEmail"})


class SesV1:
    def __init__(
        self,
        config: SandboxConfig,
        ses: Ses,
        account: AccountDesk,
        resources: Resources,
        publisher: Publisher,
    ) -> None:
        self._ses = ses
        self._account = account
        self._copies = resources.copies
        self._identities = resources.identities
        self._tags = resources.tags
        self._config = config
        self._actions: dict[str, Callable[[Parameters], Result | None]] = {
            "SendEmail": self._send_email,
            "SendRawEmail": self._send_raw_email,
            "GetSendQuota": self._get_send_quota,
            "GetAccountSendingEnabled": self._get_account_sending_enabled,
            "UpdateAccountSendingEnabled": self._update_account_sending_enabled,
            "ListIdentities": self._list_identities,
            "VerifyDomainIdentity": self._verify_domain_identity,
            "VerifyEmailIdentity": self._verify_email_identity,
            "DeleteIdentity": self._delete_identity,
            "GetIdentityVerificationAttributes": self._get_identity_verification_attributes,
            **NotificationApi(config, resources, publisher).actions(),
        }

    def call(self, action: str, parameters: Parameters) -> Result | None:
        """InvalidAction for what this simulation does not know."""
        handler = self._actions.get(action)
        if handler is None:
            raise named("InvalidAction", f"The simulated SES v1 does not know the action {action}.")
        return handler(parameters)

    def _send_raw_email(self, parameters: Parameters) -> Result:
        encoded = parameters.require("RawMessage.Data")
        try:
            raw = base64.b64decode(encoded)
        except binascii.Error as error:
            raise named("ValidationError", "RawMessage.Data is not base64.") from error
        return self._send("SendRawEmail", parameters, raw, len(encoded), tuple(parameters.members("Destinations")))

    def _send_email(self, parameters: Parameters) -> Result:
        to, cc, bcc = (parameters.members(f"Destination.{name}Addresses") for name in ("To", "Cc", "Bcc"))
        raw = compose(
            SimpleContent(
                sender=parameters.require("Source"),
                to=to,
                cc=cc,
                reply_to=parameters.members("ReplyToAddresses"),
                subject=parameters.get("Message.Subject.Data") or "",
                text=parameters.get("Message.Body.Text.Data"),
                html=parameters.get("Message.Body.Html.Data"),
            )
        )
        return self._send("SendEmail", parameters, raw, len(raw), (*to, *cc, *bcc))

    def _send(
        self, operation: str, parameters: Parameters, raw: bytes, size: int, destinations: tuple[str, ...]
    ) -> Result:
        submission = Submission(
            operation=operation,
            raw=raw,
            encoded_size=size,
            size_limit=checks.MAX_BYTES_V1,
            sender=parameters.get("Source"),
            replaces_from=False,
            destinations=destinations,
            configuration_set=parameters.get("ConfigurationSetName"),
            tags=tuple((tag.get("Name", ""), tag.get("Value", "")) for tag in parameters.structures("Tags")),
        )
        return {"MessageId": self._ses.send(submission)}

    def _get_send_quota(self, _: Parameters) -> Result:
        account = self._account.account
        return {
            "Max24HourSend": account.max_24_hour_send,
            "MaxSendRate": account.max_send_rate,
            "SentLast24Hours": float(self._copies.sent_last_24_hours()),
        }

    def _get_account_sending_enabled(self, _: Parameters) -> Result:
        return {"Enabled": self._account.account.sending_enabled}

    def _update_account_sending_enabled(self, parameters: Parameters) -> None:
        self._account.set_sending(enabled=parameters.get("Enabled") == "true")

    def _list_identities(self, parameters: Parameters) -> Result:
        kind = parameters.get("IdentityType")
        wanted = {None: (True, False), "Domain": (True,), "EmailAddress": (False,)}.get(kind, ())
        return {"Identities": [found.name for found in self._identities.all() if found.is_domain in wanted]}

    def _verify_domain_identity(self, parameters: Parameters) -> Result:
        self._verify(parameters.require("Domain"))
        return {"VerificationToken": "c2FuZGJveC12ZXJpZmljYXRpb24tdG9rZW4="}

    def _verify_email_identity(self, parameters: Parameters) -> Result:
        self._verify(parameters.require("EmailAddress"))
        return {}

    def _verify(self, name: str) -> None:
        """Asking again is allowed."""
        if self._identities.get(name) is None:
            self._identities.create(name, None)

    def _delete_identity(self, parameters: Parameters) -> Result:
        identity = self._identities.get(parameters.require("Identity"))
        if identity is not None:
            self._identities.delete(identity.name)
            self._tags.clear(self._config.identity_arn(identity.name))
        return {}

    def _get_identity_verification_attributes(self, parameters: Parameters) -> Result:
        asked = {name: self._identities.get(name) for name in parameters.members("Identities")}
        known = {name: _verification(found) for name, found in asked.items() if found is not None}
        return {"VerificationAttributes": Entries(known)}


def _verification(identity: Identity) -> dict[str, str]:
    return {"VerificationStatus": "Success" if identity.verified else "Pending"}
