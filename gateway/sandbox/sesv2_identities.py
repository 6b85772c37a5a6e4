"""SES v2, the REST API: identities."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from gateway.sandbox import checks
from gateway.sandbox.config import SandboxConfig
from gateway.sandbox.errors import bad_request, configuration_set_missing, not_found
from gateway.sandbox.identities import Identity
from gateway.sandbox.resources import Resources
from gateway.sandbox.sesv2 import Json, Route, body
from gateway.sandbox.sesv2_pages import page
from gateway.sandbox.sesv2_tags import listed, tags_of

_USE_DEFAULT: Final = "USE_DEFAULT_VALUE"


class IdentityApi:
    def __init__(self, config: SandboxConfig, resources: Resources) -> None:
        self._config = config
        self._identities = resources.identities
        self._sets = resources.configuration_sets
        self._tags = resources.tags
        self._database = resources.database

    def routes(self) -> list[Route]:
        one = "/identities/<path:name>"
        return [
            Route("CreateEmailIdentity", "POST", "/identities", self._create),
            Route("GetEmailIdentity", "GET", one, self._get),
            Route("ListEmailIdentities", "POST", "/list-identities", self._list),
            Route("ListEmailIdentities_GET", "GET", "/identities", self._list),
            Route("DeleteEmailIdentity", "DELETE", one, self._delete),
            Route(
                "PutEmailIdentityConfigurationSetAttributes", "PUT", f"{one}/configuration-set", self._put_default_set
            ),
            Route("PutEmailIdentityFeedbackAttributes", "PUT", f"{one}/feedback", self._put_feedback),
            Route("PutEmailIdentityDkimAttributes", "PUT", f"{one}/dkim", self._put_dkim),
            Route("PutEmailIdentityMailFromAttributes", "PUT", f"{one}/mail-from", self._put_mail_from),
        ]

    def _create(self) -> Json:
        given = body()
        name = given.get("EmailIdentity") or ""
        fault = checks.address_fault(name if "@" in name else f"postmaster@{name}")
        if fault is not None:
            raise bad_request(f"Invalid email identity: {fault}.")
        default_set = self._existing_set(given.get("ConfigurationSetName"))
        with self._database.transaction():
            made = self._identities.create(name, default_set)
            self._tags.add(self._config.identity_arn(made.name), tags_of(given))
        shown = _shown(made)
        return {key: shown[key] for key in ("IdentityType", "VerifiedForSendingStatus", "DkimAttributes")}

    def _get(self, name: str) -> Json:
        identity = self._require(name)
        return _shown(identity) | {"Tags": listed(self._tags.of(self._config.identity_arn(identity.name)))}

    def _list(self) -> Json:
        return page([_summary(identity) for identity in self._identities.all()], "EmailIdentities")

    def _delete(self, name: str) -> Json:
        identity = self._require(name)
        with self._database.transaction():
            self._identities.delete(identity.name)
            self._tags.clear(self._config.identity_arn(identity.name))
        return {}

    def _put_default_set(self, name: str) -> Json:
        default_set = self._existing_set(body().get("ConfigurationSetName"))
        self._identities.put(replace(self._require(name), configuration_set=default_set))
        return {}

    def _put_feedback(self, name: str) -> Json:
        enabled = bool(body().get("EmailForwardingEnabled", False))
        self._identities.put(self._require(name).with_forwarding(enabled=enabled))
        return {}

    def _put_dkim(self, name: str) -> Json:
        self._identities.put(replace(self._require(name), signs=bool(body().get("SigningEnabled", False))))
        return {}

    def _put_mail_from(self, name: str) -> Json:
        """Without a domain mail is from amazonses.com again. The domain is below the identity's."""
        identity, given = self._require(name), body()
        domain = given.get("MailFromDomain") or ""
        if domain and not domain.lower().endswith(f".{identity.name.rpartition('@')[2]}"):
            raise bad_request(f"Provided MAIL-FROM domain <{domain}> is not subdomain of the domain of the identity.")
        behaviour = given.get("BehaviorOnMxFailure") or _USE_DEFAULT
        mail_from = {"MailFromDomain": domain, "BehaviorOnMxFailure": behaviour} if domain else {}
        self._identities.put(replace(identity, mail_from=mail_from))
        return {}

    def _existing_set(self, name: str | None) -> str | None:
        if name is not None and not self._sets.exists(name):
            raise configuration_set_missing(name)
        return name

    def _require(self, name: str) -> Identity:
        found = self._identities.get(name)
        if found is None:
            raise not_found(f"Email identity {name} does not exist.")
        return found


def _kind(identity: Identity) -> str:
    return "DOMAIN" if identity.is_domain else "EMAIL_ADDRESS"


def _summary(identity: Identity) -> Json:
    return {
        "IdentityType": _kind(identity),
        "IdentityName": identity.name,
        "SendingEnabled": identity.verified,
        "VerificationStatus": _status(identity),
    }


def _status(identity: Identity) -> str:
    return "SUCCESS" if identity.verified else "PENDING"


def _mail_from(identity: Identity) -> Json:
    if not identity.mail_from:
        return {"BehaviorOnMxFailure": _USE_DEFAULT}
    return {**identity.mail_from, "MailFromDomainStatus": _status(identity)}


def _shown(identity: Identity) -> Json:
    tokens = [f"sandbox{number}token" for number in range(1, 4)] if identity.is_domain else []
    shown: Json = {
        "IdentityType": _kind(identity),
        "FeedbackForwardingStatus": identity.forwards,
        "VerifiedForSendingStatus": identity.verified,
        "DkimAttributes": {
            "SigningEnabled": identity.is_domain and identity.signs,
            "Status": _status(identity) if identity.is_domain else "NOT_STARTED",
            "Tokens": tokens,
            "SigningAttributesOrigin": "AWS_SES",
        },
        "MailFromAttributes": _mail_from(identity),
        "Policies": {},
        "VerificationStatus": _status(identity),
    }
    if identity.configuration_set is not None:
        shown["ConfigurationSetName"] = identity.configuration_set
    return shown
