"""SES v1: where an identity sends its notifications, which v2 has no calls for."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from gateway import resource_policies
from gateway.sandbox.config import SandboxConfig
from gateway.sandbox.errors import bad_request
from gateway.sandbox.events import NOTIFIED
from gateway.sandbox.identities import Identity
from gateway.sandbox.names import EVENT_SUBJECT
from gateway.sandbox.publishing import Publisher
from gateway.sandbox.query import Entries, Parameters, Result
from gateway.sandbox.resources import Resources

_TRUE: Final = "true"


class NotificationApi:
    def __init__(self, config: SandboxConfig, resources: Resources, publisher: Publisher) -> None:
        self._config = config
        self._identities = resources.identities
        self._topics = resources.topics
        self._database = resources.database
        self._publisher = publisher

    def actions(self) -> dict[str, Callable[[Parameters], Result | None]]:
        return {
            "SetIdentityNotificationTopic": self._set_topic,
            "SetIdentityFeedbackForwardingEnabled": self._set_forwarding,
            "SetIdentityHeadersInNotificationsEnabled": self._set_headers,
            "GetIdentityNotificationAttributes": self._get,
        }

    def _set_topic(self, parameters: Parameters) -> Result:
        """Without a topic the setting is cleared. A topic gets a test message at once, so its policy comes first."""
        identity, kind = self._identity(parameters), _kind(parameters)
        topic_arn = parameters.get("SnsTopic")
        changed = identity.with_topic(kind, topic_arn)
        if topic_arn is not None:
            self._require_topic(identity, topic_arn)
        with self._database.transaction():
            self._identities.put(changed)
            if topic_arn is not None:
                self._publisher.publish(topic_arn, _hello(identity, kind, topic_arn), subject=EVENT_SUBJECT)
        return {}

    def _require_topic(self, identity: Identity, topic_arn: str) -> None:
        topic = self._topics.find(topic_arn)
        if topic is None:
            raise bad_request(f"SNS topic {topic_arn} is invalid.")
        if not resource_policies.admits_ses(
            topic.attributes["Policy"],
            topic_arn=topic_arn,
            account_id=self._config.account_id,
            source_arn=self._config.identity_arn(identity.name),
        ):
            raise bad_request(
                f"Could not publish to SNS topic {topic_arn}: its policy does not let ses.amazonaws.com publish."
            )

    def _set_forwarding(self, parameters: Parameters) -> Result:
        enabled = parameters.require("ForwardingEnabled") == _TRUE
        self._identities.put(self._identity(parameters).with_forwarding(enabled=enabled))
        return {}

    def _set_headers(self, parameters: Parameters) -> Result:
        identity, kind = self._identity(parameters), frozenset({_kind(parameters)})
        enabled = parameters.require("Enabled") == _TRUE
        kinds = identity.with_headers | kind if enabled else identity.with_headers - kind
        self._identities.put(replace(identity, with_headers=kinds))
        return {}

    def _get(self, parameters: Parameters) -> Result:
        """Of the identities that there are; the others are left out."""
        asked = {name: self._identities.get(name) for name in parameters.members("Identities")}
        known = {name: _shown(found) for name, found in asked.items() if found is not None}
        return {"NotificationAttributes": Entries(known)}

    def _identity(self, parameters: Parameters) -> Identity:
        name = parameters.require("Identity")
        found = self._identities.get(name)
        if found is None:
            raise bad_request(f"Identity {name} does not exist.")
        return found


def _kind(parameters: Parameters) -> str:
    kind = parameters.require("NotificationType")
    if kind not in NOTIFIED:
        raise bad_request(f"NotificationType is one of {', '.join(NOTIFIED)}.")
    return kind


def _shown(identity: Identity) -> dict[str, object]:
    """A topic that is not set is left out."""
    headers = {f"HeadersIn{kind}NotificationsEnabled": kind in identity.with_headers for kind in NOTIFIED}
    topics = {f"{kind}Topic": arn for kind, arn in identity.topics.items()}
    return {**topics, "ForwardingEnabled": identity.forwards, **headers}


def _hello(identity: Identity, kind: str, topic_arn: str) -> str:
    """The test message: JSON here, and without a `mail`."""
    message = (
        f"You have successfully subscribed your Amazon SNS topic '{topic_arn}' to receive '{kind}' notifications from "
        f"Amazon SES for identity '{identity.name}'."
    )
    return json.dumps({"notificationType": "AmazonSnsSubscriptionSucceeded", "message": message})
