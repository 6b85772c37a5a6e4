"""Carrying a plan out, one step after the other. Each step can be repeated, so a run that broke off is run again."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from gateway.aws.call_errors import AwsCallError
from gateway.aws.provisioning.names import CLASSIC_KINDS
from gateway.aws.provisioning.plan import TAG_ATTRIBUTE, Action, Found, Plan, Step
from gateway.aws.provisioning.wanted import Kind, Resource
from gateway.aws.session import Aws

_TOPIC_NOT_READY: Final = ("SNS topic", "publish")
_POLICY_TRIES: Final = 6
_POLICY_PAUSE: Final = 2.0
"""A topic's policy takes a moment until SES, which tries the topic at once, is let in by it."""
_SETTLING: Final = (1.0, 2.0, 4.0, 8.0)
_OTHER_ATTRIBUTES: Final = "already exists with different attributes"


class ApplyError(Exception):
    """A step failed, and those after it were not tried. The text says what failed and what was carried out before."""

    def __init__(self, failed: Step, done: tuple[Step, ...], cause: AwsCallError) -> None:
        before = f" Done before: {', '.join(step.resource.title for step in done)}." if done else ""
        super().__init__(
            f"It stopped at {failed.resource.title}. {cause}{before} Run the same command again to go on from there."
        )
        self.failed = failed
        self.done = done
        self.cause = cause


@dataclass(frozen=True, slots=True)
class Awaited:
    """A subscription that its endpoint has yet to confirm."""

    arn: str
    resource: Resource


class Applier:
    """The calls behind each step.

    `trust` makes the gateway know topics, and returns once its running programs do; `warn` is told of what an emulator
    of AWS cannot do and nobody depends on.
    """

    def __init__(
        self,
        aws: Aws,
        tag: tuple[str, str],
        *,
        trust: Callable[[list[str]], None],
        warn: Callable[[str], None],
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._aws = aws
        self._tag = tag
        self._trust = trust
        self._warn = warn
        self._sleep = sleep
        self._has_made = False
        self.awaited: list[Awaited] = []

    def carry_out(self, step: Step) -> None:
        """AwsCallError when it cannot be. What was just made may not be there yet for the next call: it waits."""
        for pause in _SETTLING:
            try:
                self._do(step)
            except AwsCallError as error:
                if not (self._has_made and _is_not_there_yet(error)):
                    raise
            else:
                self._has_made = self._has_made or step.action is Action.CREATE
                return
            self._sleep(pause)
        self._do(step)

    def _do(self, step: Step) -> None:
        {
            Kind.TOPIC: self._topic,
            Kind.QUEUE: self._queue,
            Kind.CONFIGURATION_SET: self._configuration_set,
            Kind.EVENT_DESTINATION: self._event_destination,
            Kind.IDENTITY: self._identity,
            Kind.TRUST: self._trusted,
            Kind.SUBSCRIPTION: self._subscription,
        }[step.resource.kind](step)

    def _topic(self, step: Step) -> None:
        resource = step.resource
        if step.action is Action.CREATE:
            self._aws.call(
                "sns", "CreateTopic", Name=resource.name, Attributes=_texts(resource.attributes), Tags=self._tags()
            )
            return
        for name, value in _changed(step).items():
            self._aws.call(
                "sns", "SetTopicAttributes", TopicArn=resource.arn, AttributeName=name, AttributeValue=_text(value)
            )
        if _tagged(step):
            self._optional("sns", "TagResource", ResourceArn=resource.arn, Tags=self._tags())

    def _queue(self, step: Step) -> None:
        resource = step.resource
        if step.action is Action.CREATE:
            tags = dict([self._tag])
            self._aws.call(
                "sqs", "CreateQueue", QueueName=resource.name, Attributes=_texts(resource.attributes), tags=tags
            )
            return
        url = _found(step).url
        if changed := _changed(step):
            self._aws.call("sqs", "SetQueueAttributes", QueueUrl=url, Attributes=_texts(changed))
        if _tagged(step):
            self._optional("sqs", "TagQueue", QueueUrl=url, Tags=dict([self._tag]))

    def _configuration_set(self, step: Step) -> None:
        resource = step.resource
        if step.action is Action.CREATE:
            self._aws.call(
                "sesv2",
                "CreateConfigurationSet",
                ConfigurationSetName=resource.name,
                SendingOptions={"SendingEnabled": True},
                Tags=self._tags(),
            )
            return
        if _changed(step):
            self._aws.call(
                "sesv2",
                "PutConfigurationSetSendingOptions",
                ConfigurationSetName=resource.name,
                SendingEnabled=True,
            )
        if _tagged(step):
            self._optional("sesv2", "TagResource", ResourceArn=resource.arn, Tags=self._tags())

    def _event_destination(self, step: Step) -> None:
        resource = step.resource
        verb = "Create" if step.action is Action.CREATE else "Update"
        definition = {
            "Enabled": resource.attributes["Enabled"],
            "MatchingEventTypes": resource.attributes["MatchingEventTypes"],
            "SnsDestination": {"TopicArn": resource.attributes["TopicArn"]},
        }
        self._when_ses_may_publish(
            lambda: self._aws.call(
                "sesv2",
                f"{verb}ConfigurationSetEventDestination",
                ConfigurationSetName=resource.parent,
                EventDestinationName=resource.name,
                EventDestination=definition,
            )
        )

    def _identity(self, step: Step) -> None:
        """Forwarding by mail ends last, and only once SES itself says that both topics are set."""
        identity, changed = step.resource.name, _changed(step)
        for kind in CLASSIC_KINDS:
            if f"{kind}Topic" in changed:
                topic = changed[f"{kind}Topic"]
                self._when_ses_may_publish(
                    lambda kind=kind, topic=topic: self._aws.call(  # type: ignore[misc]  # mypy cannot infer defaults
                        "ses", "SetIdentityNotificationTopic", Identity=identity, NotificationType=kind, SnsTopic=topic
                    )
                )
            if f"HeadersIn{kind}NotificationsEnabled" in changed:
                self._aws.call(
                    "ses",
                    "SetIdentityHeadersInNotificationsEnabled",
                    Identity=identity,
                    NotificationType=kind,
                    Enabled=True,
                )
        if "ForwardingEnabled" in changed:
            self._end_forwarding(step.resource)

    def _end_forwarding(self, identity: Resource) -> None:
        answer = self._aws.call("ses", "GetIdentityNotificationAttributes", Identities=[identity.name])
        told = answer.get("NotificationAttributes", {}).get(identity.name, {})
        unset = [name for name in ("BounceTopic", "ComplaintTopic") if told.get(name) != identity.attributes[name]]
        if unset:
            self._warn(
                f"SES does not show {' and '.join(unset)} of {identity.name} as set; bounces and complaints go on"
                " coming by mail as well. Run it again."
            )
            return
        self._aws.call("ses", "SetIdentityFeedbackForwardingEnabled", Identity=identity.name, ForwardingEnabled=False)

    def _trusted(self, step: Step) -> None:
        self._trust(list(step.resource.attributes["arns"]))

    def _subscription(self, step: Step) -> None:
        if step.action is Action.CREATE or "Confirmed" in _changed(step):
            self._subscribe(step.resource)
            return
        self._set_subscription(_found(step).arn, _changed(step))

    def _subscribe(self, resource: Resource) -> None:
        """Also asks again for a confirmation that never came. SNS takes no other attributes with that."""
        settable = {
            name: value for name, value in resource.attributes.items() if name not in _NOT_SETTABLE and value != {}
        }
        request = {
            "TopicArn": resource.parent,
            "Protocol": resource.attributes["Protocol"],
            "Endpoint": resource.endpoint,
            "ReturnSubscriptionArn": True,
        }
        try:
            answer = self._aws.call("sns", "Subscribe", **request, Attributes=_texts(settable))
        except AwsCallError as error:
            if _OTHER_ATTRIBUTES not in error.message:
                raise
            answer = self._aws.call("sns", "Subscribe", **request)
            self._set_subscription(str(answer["SubscriptionArn"]), settable)
        self.awaited.append(Awaited(str(answer["SubscriptionArn"]), resource))

    def _set_subscription(self, arn: str, attributes: Mapping[str, Any]) -> None:
        for name, value in attributes.items():
            if name not in _NOT_SETTABLE:
                self._aws.call(
                    "sns",
                    "SetSubscriptionAttributes",
                    SubscriptionArn=arn,
                    AttributeName=name,
                    AttributeValue=_text(value),
                )

    def _when_ses_may_publish(self, call: Callable[[], Any]) -> None:
        for _ in range(_POLICY_TRIES - 1):
            try:
                call()
            except AwsCallError as error:
                if not any(words in error.message for words in _TOPIC_NOT_READY):
                    raise
                self._sleep(_POLICY_PAUSE)
            else:
                return
        call()

    def _optional(self, service: Any, operation: str, **parameters: Any) -> None:
        try:
            self._aws.call(service, operation, **parameters)
        except AwsCallError as error:
            if not error.is_unknown_call:
                raise
            self._warn(str(error))

    def _tags(self) -> list[dict[str, str]]:
        return [{"Key": self._tag[0], "Value": self._tag[1]}]


_NOT_SETTABLE: Final = frozenset({"Confirmed", "Protocol"})


@dataclass(frozen=True, slots=True)
class Outcome:
    """How far it came. `skipped`: steps that an emulator of AWS does not know the calls of, with its sentence."""

    is_complete: bool
    skipped: tuple[tuple[Step, str], ...] = ()


def apply(
    plan: Plan,
    carry_out: Callable[[Step], None],
    tell: Callable[[Step], None],
    ending: Callable[[], bool] = lambda: False,
) -> Outcome:
    """Carry out what the plan changes, and `tell` of each step that is done; `ending` asks for an end between two.

    ApplyError at the first step that fails.
    """
    done: tuple[Step, ...] = ()
    skipped: tuple[tuple[Step, str], ...] = ()
    for step in plan.changes:
        if ending():
            return Outcome(is_complete=False, skipped=skipped)
        try:
            carry_out(step)
        except AwsCallError as error:
            if not error.is_unknown_call:
                raise ApplyError(step, done, error) from error
            skipped = (*skipped, (step, str(error)))
            continue
        done = (*done, step)
        tell(step)
    return Outcome(is_complete=True, skipped=skipped)


def _is_not_there_yet(error: AwsCallError) -> bool:
    """SQS and SNS say of a dead-letter queue by their words alone that they do not know it."""
    return error.is_missing or "does not exist" in error.message


def _changed(step: Step) -> dict[str, Any]:
    return {each.attribute: each.new for each in step.differences if each.attribute != TAG_ATTRIBUTE}


def _tagged(step: Step) -> bool:
    return any(each.attribute == TAG_ATTRIBUTE for each in step.differences)


def _found(step: Step) -> Found:
    if step.found is None:
        raise LookupError(f"{step.resource.title} is to be changed and was not found")  # a plan never says so
    return step.found


def _texts(attributes: Mapping[str, Any]) -> dict[str, str]:
    return {name: _text(value) for name, value in attributes.items()}


def _text(value: Any) -> str:
    return json.dumps(value) if isinstance(value, dict) else str(value)
