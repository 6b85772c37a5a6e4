"""What SES reports of a mail: to the destinations of its configuration set, and to the topics of its identity."""

from __future__ import annotations

from typing import Final

from gateway import resource_policies
from gateway.sandbox import events, simulator
from gateway.sandbox.account import AccountDesk
from gateway.sandbox.config import SandboxConfig
from gateway.sandbox.events import NOTIFIED, Accepted, Event
from gateway.sandbox.fates import FateDesk
from gateway.sandbox.faults import FaultDesk
from gateway.sandbox.happenings import Happening
from gateway.sandbox.identities import Identity
from gateway.sandbox.mime import mailbox
from gateway.sandbox.names import EVENT_SUBJECT, EVENT_TYPES
from gateway.sandbox.publishing import Publisher
from gateway.sandbox.resources import Resources
from gateway.sandbox.ses_resources import EventDestination

_API_NAMES: Final = {spelled: api_name for api_name, spelled in EVENT_TYPES.items()}
_NO_FEEDBACK_OF_A_READER: Final = frozenset({"not-spam", "auth-failure"})


class Reporter:
    def __init__(
        self,
        config: SandboxConfig,
        resources: Resources,
        account: AccountDesk,
        faults: FaultDesk,
        fates: FateDesk,
        publisher: Publisher,
    ) -> None:
        self._config = config
        self._resources = resources
        self._account = account
        self._faults = faults
        self._fates = fates
        self._publisher = publisher

    def report(self, accepted: Accepted, raw: bytes) -> None:
        """Inside the transaction of the acceptance, so that every copy has its events and nothing else does."""
        destinations = self._destinations(accepted)
        identity = self._resources.identities.get(accepted.identity)
        topics = {} if identity is None else identity.topics
        if not destinations and not topics and not self._fates.fates:
            return  # Nobody hears of it, as at AWS.
        happened = self._events(accepted, raw)
        self._learn(accepted, happened)
        told = [event for event in happened if event.kind not in self._faults.faults.drop_events]
        for event in told:
            self._to_destinations(accepted, destinations, event)
        if identity is not None:
            self._to_identity(accepted, identity, told)

    def _destinations(self, accepted: Accepted) -> list[EventDestination]:
        if accepted.configuration_set is None:
            return []
        return self._resources.destinations.of(accepted.configuration_set)

    def _events(self, accepted: Accepted, raw: bytes) -> list[Event]:
        if simulator.has_virus(raw):
            return [events.rejection(accepted)]
        reasons = self._reasons_in_force(accepted)
        return events.of(accepted, {mailbox(who): self._timeline(mailbox(who), reasons) for who in accepted.recipients})

    def _timeline(self, address: str, reasons: list[str]) -> tuple[Happening, ...]:
        """The account's list is asked before anything is tried."""
        listed = self._resources.suppressions.get(address)
        if listed is not None and listed.reason in reasons:
            return simulator.echo(listed.reason)
        return self._fates.of(address) or simulator.timeline(address)

    def _reasons_in_force(self, accepted: Accepted) -> list[str]:
        """The configuration set's override the account's; an empty list switches the list off."""
        name = accepted.configuration_set
        options = {} if name is None else self._resources.configuration_sets.options(name)
        reasons = (options.get("SuppressionOptions") or {}).get("SuppressedReasons")
        return self._account.suppressed_reasons() if reasons is None else list(reasons)

    def _learn(self, accepted: Accepted, happened: list[Event]) -> None:
        """Hard bounces and complaints put addresses on the account's list. Those of the simulator never do."""
        reasons = self._reasons_in_force(accepted)
        for event in happened:
            reason = _lists_for(event.happening)
            if reason is not None and reason in reasons:
                self._suppress(accepted, event, reason)

    def _suppress(self, accepted: Accepted, event: Event, reason: str) -> None:
        for address in event.recipients:
            if not simulator.is_simulated(address):
                feedback_id = str(event.detail["feedbackId"])
                self._resources.suppressions.put(
                    address, reason, message_id=accepted.message_id, feedback_id=feedback_id
                )

    def _to_destinations(self, accepted: Accepted, destinations: list[EventDestination], event: Event) -> None:
        source_arn = self._config.configuration_set_arn(accepted.configuration_set or "")
        for destination in destinations:
            if destination.topic_arn is not None and destination.wants(_API_NAMES[event.kind]):
                self._to_topic(destination.topic_arn, source_arn, event.message(), event.after)

    def _to_identity(self, accepted: Accepted, identity: Identity, told: list[Event]) -> None:
        known = identity
        for event in told:
            topic_arn = identity.topics.get(event.kind) if event.kind in NOTIFIED else None
            if topic_arn is None:
                continue
            text = event.notification(source_ip=accepted.source_ip, headers=event.kind in identity.with_headers)
            if not self._to_topic(topic_arn, self._config.identity_arn(identity.name), text, event.after):
                known = known.without_dead_topic(event.kind)
        if known != identity:
            self._resources.identities.put(known)

    def _to_topic(self, topic_arn: str, source_arn: str, text: str, after: float) -> bool:
        """A topic that is gone, or does not let SES publish, loses the report and not the mail."""
        topic = self._resources.topics.find(topic_arn)
        if topic is None or not resource_policies.admits_ses(
            topic.attributes["Policy"],
            topic_arn=topic_arn,
            account_id=self._config.account_id,
            source_arn=source_arn,
        ):
            return False
        self._publisher.publish(topic_arn, text, subject=EVENT_SUBJECT, after=after)
        return True


def _lists_for(happening: Happening) -> str | None:
    """The reason for which the account's list takes the address, if it does."""
    if happening.kind == "Bounce":
        return "BOUNCE" if happening.is_hard_bounce else None
    if happening.kind != "Complaint" or happening.subtype or happening.type in _NO_FEEDBACK_OF_A_READER:
        return None
    return "COMPLAINT"
