"""SES v2, the REST API: configuration sets and event destinations."""

from __future__ import annotations

import re
from typing import Any, Final

from gateway import resource_policies
from gateway.sandbox.config import SandboxConfig
from gateway.sandbox.errors import bad_request, configuration_set_missing
from gateway.sandbox.names import DESTINATION_TEST_MESSAGE, EVENT_SUBJECT, EVENT_TYPES
from gateway.sandbox.publishing import Publisher
from gateway.sandbox.resources import Resources
from gateway.sandbox.sesv2 import Json, Route, body
from gateway.sandbox.sesv2_pages import page
from gateway.sandbox.sesv2_tags import listed, tags_of

_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_MAX_DESTINATIONS: Final = 10


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

    def __init__(self, config: SandboxConfig, resources: Resources) -> None:
        self._config = config
        self._sets = resources.configuration_sets
        self._tags = resources.tags
        self._database = resources.database

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
        options = {key: given[key] for key in self._OPTIONS if given.get(key) is not None}
        name = _require_name(given.get("ConfigurationSetName"))
        with self._database.transaction():
            self._sets.create(name, options)
            self._tags.add(self._config.configuration_set_arn(name), tags_of(given))
        return {}

    def _get(self, name: str) -> Json:
        defaults = {"SendingOptions": {"SendingEnabled": True}}
        tags = listed(self._tags.of(self._config.configuration_set_arn(name)))
        return defaults | self._sets.options(name) | {"ConfigurationSetName": name, "Tags": tags}

    def _list(self) -> Json:
        return page(self._sets.names(), "ConfigurationSets")

    def _delete(self, name: str) -> Json:
        with self._database.transaction():
            self._sets.delete(name)
            self._tags.clear(self._config.configuration_set_arn(name))
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
        if not resource_policies.admits_ses(
            policy, topic_arn=topic_arn, account_id=self._config.account_id, source_arn=source_arn
        ):
            raise bad_request(
                f"Could not publish to SNS topic <{topic_arn}>: its policy does not let ses.amazonaws.com publish."
            )

    def _say_hello(self, definition: Json) -> None:
        topic_arn = (definition.get("SnsDestination") or {}).get("TopicArn")
        if topic_arn is not None:
            self._publisher.publish(topic_arn, DESTINATION_TEST_MESSAGE, subject=EVENT_SUBJECT)
