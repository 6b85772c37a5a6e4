"""SES v2, the REST API: configuration sets, event destinations, identities and the suppression list."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from flask import request

from gateway.sandbox import checks, topic_policy
from gateway.sandbox.config import SandboxConfig
from gateway.sandbox.errors import bad_request, configuration_set_missing, not_found
from gateway.sandbox.names import DESTINATION_TEST_MESSAGE, EVENT_SUBJECT, EVENT_TYPES
from gateway.sandbox.publishing import Publisher
from gateway.sandbox.resources import Resources
from gateway.sandbox.ses_resources import (
    ConfigurationSets,
    Identities,
    Identity,
    Suppressed,
    SuppressionList,
)
from gateway.sandbox.sesv2 import Json, Route, body

_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_REASONS: Final = ("BOUNCE", "COMPLAINT")
_PAGE: Final = 100
_MAX_DESTINATIONS: Final = 10


def _page(items: Sequence[Any], key: str) -> Json:
    """One page of a list, with a NextToken (the place to go on from) while there is more."""
    given = body() if request.method == "POST" else dict(request.args)
    start, size = _whole(given.get("NextToken"), 0), _whole(given.get("PageSize"), _PAGE)
    page: Json = {key: list(items[start : start + size])}
    if start + size < len(items):
        page["NextToken"] = str(start + size)
    return page


def _whole(given: Any, otherwise: int) -> int:
    if given is None:
        return otherwise
    try:
        return int(given)
    except ValueError as error:
        raise bad_request("NextToken or PageSize is not one this service gave out.") from error


def _require_name(name: Any) -> str:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise bad_request("A name has 1 to 64 of the characters A-Z, a-z, 0-9, '_' and '-'.")
    return name


class ConfigurationSetApi:
    _OPTIONS: Final = {
        "SendingOptions": "sending",
        "SuppressionOptions": "suppression-options",
        "ReputationOptions": "reputation-options",
        "DeliveryOptions": "delivery-options",
        "TrackingOptions": "tracking-options",
        "VdmOptions": "vdm-options",
    }

    def __init__(self, sets: ConfigurationSets) -> None:
        self._sets = sets

    def routes(self) -> list[Route]:
        one = "/configuration-sets/<name>"
        return [
            Route("CreateConfigurationSet", "POST", "/configuration-sets", self._create),
            Route("GetConfigurationSet", "GET", one, self._get),
            Route("ListConfigurationSets", "POST", "/list-configuration-sets", self._list),
            Route("ListConfigurationSets_GET", "GET", "/configuration-sets", self._list),
            Route("DeleteConfigurationSet", "DELETE", one, self._delete),
            *(
                Route(f"PutConfigurationSet{key}", "PUT", f"{one}/{path}", self._putter(key))
                for key, path in self._OPTIONS.items()
            ),
        ]

    def _create(self) -> Json:
        given = body()
        options = {key: given[key] for key in (*self._OPTIONS, "Tags") if given.get(key) is not None}
        self._sets.create(_require_name(given.get("ConfigurationSetName")), options)
        return {}

    def _get(self, name: str) -> Json:
        defaults = {"SendingOptions": {"SendingEnabled": True}, "Tags": []}
        return defaults | self._sets.options(name) | {"ConfigurationSetName": name}

    def _list(self) -> Json:
        return _page(self._sets.names(), "ConfigurationSets")

    def _delete(self, name: str) -> Json:
        self._sets.delete(name)
        return {}

    def _putter(self, key: str) -> Any:
        def put(name: str) -> Json:
            self._sets.change(name, {key: body()})
            return {}

        return put


class EventDestinationApi:
    """Making a destination publishes a test message at once, so the topic and its policy must be there first."""

    def __init__(self, config: SandboxConfig, resources: Resources, publisher: Publisher) -> None:
        self._config = config
        self._sets = resources.configuration_sets
        self._destinations = resources.destinations
        self._topics = resources.topics
        self._publisher = publisher

    def routes(self) -> list[Route]:
        every = "/configuration-sets/<name>/event-destinations"
        return [
            Route("CreateConfigurationSetEventDestination", "POST", every, self._create),
            Route("GetConfigurationSetEventDestinations", "GET", every, self._get),
            Route("UpdateConfigurationSetEventDestination", "PUT", f"{every}/<destination>", self._update),
            Route("DeleteConfigurationSetEventDestination", "DELETE", f"{every}/<destination>", self._delete),
        ]

    def _create(self, name: str) -> Json:
        given = body()
        definition = given.get("EventDestination") or {}
        destination = _require_name(given.get("EventDestinationName"))
        self._require_set(name)
        if len(self._destinations.of(name)) >= _MAX_DESTINATIONS:
            raise bad_request(f"A configuration set has at most {_MAX_DESTINATIONS} event destinations.")
        self._require_sense(name, definition)
        self._destinations.create(name, destination, definition)
        self._say_hello(definition)
        return {}

    def _get(self, name: str) -> Json:
        self._require_set(name)
        listed = [{"Name": one.name} | one.definition for one in self._destinations.of(name)]
        return {"EventDestinations": listed}

    def _update(self, name: str, destination: str) -> Json:
        definition = body().get("EventDestination") or {}
        self._require_set(name)
        self._require_sense(name, definition)
        self._destinations.update(name, destination, definition)
        self._say_hello(definition)
        return {}

    def _delete(self, name: str, destination: str) -> Json:
        self._require_set(name)
        self._destinations.delete(name, destination)
        return {}

    def _require_set(self, name: str) -> None:
        if not self._sets.exists(name):
            raise configuration_set_missing(name)

    def _require_sense(self, name: str, definition: Json) -> None:
        unknown = set(definition.get("MatchingEventTypes") or []) - set(EVENT_TYPES)
        if unknown:
            raise bad_request(f"Unknown event types: {', '.join(sorted(unknown))}.")
        topic_arn = (definition.get("SnsDestination") or {}).get("TopicArn")
        if topic_arn is not None:
            self._require_topic(name, topic_arn)

    def _require_topic(self, name: str, topic_arn: str) -> None:
        source_arn = self._config.configuration_set_arn(name)
        if not self._topics.exists(topic_arn):
            raise bad_request(f"SNS topic <{topic_arn}> does not exist.")
        policy = self._topics.get(topic_arn).attributes["Policy"]
        if not topic_policy.admits_ses(
            policy, topic_arn=topic_arn, account_id=self._config.account_id, source_arn=source_arn
        ):
            raise bad_request(
                f"Could not publish to SNS topic <{topic_arn}>: its policy does not let ses.amazonaws.com publish."
            )

    def _say_hello(self, definition: Json) -> None:
        topic_arn = (definition.get("SnsDestination") or {}).get("TopicArn")
        if topic_arn is not None:
            self._publisher.publish(topic_arn, DESTINATION_TEST_MESSAGE, subject=EVENT_SUBJECT)


class IdentityApi:
    def __init__(self, identities: Identities) -> None:
        self._identities = identities

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
        ]

    def _create(self) -> Json:
        given = body()
        name = given.get("EmailIdentity") or ""
        fault = checks.address_fault(name if "@" in name else f"postmaster@{name}")
        if fault is not None:
            raise bad_request(f"Invalid email identity: {fault}.")
        shown = _shown(self._identities.create(name, given.get("ConfigurationSetName")))
        return {key: shown[key] for key in ("IdentityType", "VerifiedForSendingStatus", "DkimAttributes")}

    def _get(self, name: str) -> Json:
        return _shown(self._require(name))

    def _list(self) -> Json:
        return _page([_summary(identity) for identity in self._identities.all()], "EmailIdentities")

    def _delete(self, name: str) -> Json:
        self._identities.delete(self._require(name).name)
        return {}

    def _put_default_set(self, name: str) -> Json:
        self._identities.put(Identity(self._require(name).name, body().get("ConfigurationSetName")))
        return {}

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


def _shown(identity: Identity) -> Json:
    tokens = [f"sandbox{number}token" for number in range(1, 4)] if identity.is_domain else []
    shown: Json = {
        "IdentityType": _kind(identity),
        "FeedbackForwardingStatus": True,
        "VerifiedForSendingStatus": identity.verified,
        "DkimAttributes": {
            "SigningEnabled": identity.is_domain,
            "Status": _status(identity) if identity.is_domain else "NOT_STARTED",
            "Tokens": tokens,
            "SigningAttributesOrigin": "AWS_SES",
        },
        "MailFromAttributes": {"BehaviorOnMxFailure": "USE_DEFAULT_VALUE"},
        "Policies": {},
        "Tags": [],
        "VerificationStatus": _status(identity),
    }
    if identity.configuration_set is not None:
        shown["ConfigurationSetName"] = identity.configuration_set
    return shown


class SuppressionApi:
    def __init__(self, suppressions: SuppressionList) -> None:
        self._suppressions = suppressions

    def routes(self) -> list[Route]:
        every, one = "/suppression/addresses", "/suppression/addresses/<path:address>"
        return [
            Route("PutSuppressedDestination", "PUT", every, self._put),
            Route("GetSuppressedDestination", "GET", one, self._get),
            Route("DeleteSuppressedDestination", "DELETE", one, self._delete),
            Route("ListSuppressedDestinations", "GET", every, self._list),
        ]

    def _put(self) -> Json:
        given = body()
        address, reason = given.get("EmailAddress") or "", given.get("Reason")
        checks.require_address(address)
        if reason not in _REASONS:
            raise bad_request(f"Reason is one of {', '.join(_REASONS)}.")
        self._suppressions.put(address, reason)
        return {}

    def _get(self, address: str) -> Json:
        found = self._suppressions.get(address)
        if found is None:
            raise not_found(f"Email address {address} does not exist on your suppression list.")
        return {"SuppressedDestination": _suppressed(found)}

    def _delete(self, address: str) -> Json:
        if not self._suppressions.delete(address):
            raise not_found(f"Email address {address} does not exist on your suppression list.")
        return {}

    def _list(self) -> Json:
        asked = request.args
        size = _whole(asked.get("PageSize"), _PAGE)
        listed = self._suppressions.page(
            after=asked.get("NextToken", ""),
            size=size,
            reasons=asked.getlist("Reason") or list(_REASONS),
            since=_moment(asked.get("StartDate"), 0.0),
            before=_moment(asked.get("EndDate"), float("inf")),
        )
        page: Json = {"SuppressedDestinationSummaries": [_suppressed(one) for one in listed]}
        return page | ({"NextToken": listed[-1].address} if len(listed) == size else {})


def _suppressed(found: Suppressed) -> Json:
    return {"EmailAddress": found.address, "Reason": found.reason, "LastUpdateTime": found.updated_at}


def _moment(given: str | None, otherwise: float) -> float:
    """A timestamp of a query string: ISO 8601 in UTC."""
    if given is None:
        return otherwise
    try:
        parsed = datetime.fromisoformat(given)
    except ValueError as error:
        raise bad_request(f"Not a time: {given}") from error
    return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()
