"""The least that each part of the gateway must be allowed, as IAM policies.

https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonses.html
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from gateway.aws.provisioning.names import CLASSIC_KINDS, Names, Place
from gateway.aws.provisioning.options import Options

Json = dict[str, Any]

_VERSION: Final = "2012-10-17"


@dataclass(frozen=True, slots=True)
class Subject:
    """What the policies are about. `identities`: the verified ones; empty when they are not known."""

    options: Options
    place: Place
    identities: Sequence[str] = field(default=())

    @property
    def names(self) -> Names:
        return Names(self.options.scope, self.options.environment)

    @property
    def topics(self) -> list[str]:
        """The topics of the chosen mode."""
        kinds = CLASSIC_KINDS if self.options.classic else ()
        names = [self.names.classic_topic(kind) for kind in kinds] or [self.names.topic]
        return [self.place.arn("sns", name) for name in names]

    @property
    def queues(self) -> list[str]:
        own = [self.names.queue] if self.options.queue else []
        return [self.place.arn("sqs", name) for name in (*own, self.names.dead_queue)]


def gateway_policy(subject: Subject) -> Json:
    """All that the running gateway needs, for one role that every program of it shares."""
    webhook = _webhook(subject) if subject.options.webhook_url is not None else []
    return _document([*_sender(subject), *webhook, *_queue(subject)])


def policies(subject: Subject) -> dict[str, Json]:
    """One document for each role.

    `gateway` is sender, webhook and queue together; `suppressions` is for whoever syncs SES's own list, `doctor` for
    whoever looks with it, which changes nothing, and `operator` for whoever runs provision.
    """
    return {
        "gateway": gateway_policy(subject),
        "sender": _document(_sender(subject)),
        "webhook": _document(_webhook(subject)),
        "queue": _document(_queue(subject)),
        "suppressions": _document([_allow("SyncSuppressions", _prefixed("ses", _LIST_ACTIONS), "*")]),
        "doctor": _document([*_doctor(subject), _WHO_AM_I]),
        "operator": _document(_operator(subject)),
    }


def _sender(subject: Subject) -> list[Json]:
    """For the workers. SES asks for the configuration set beside the identity, which is forgotten most often.

    There is no condition on ses:FromAddress: the identities in `Resource` say the same, and StringLike would refuse an
    address for a capital letter in its domain.
    """
    place = subject.place
    senders = [place.arn("ses", f"identity/{name}") for name in subject.identities or ("*",)]
    sets = [] if subject.options.classic else [place.arn("ses", f"configuration-set/{subject.names.configuration_set}")]
    return [
        _allow("SendMail", ["ses:SendEmail", "ses:SendRawEmail"], [*senders, *sets]),
        _allow("KnowTheAccount", ["ses:GetAccount", "ses:ListEmailIdentities"], "*"),
    ]


def _webhook(subject: Subject) -> list[Json]:
    return [_allow("ConfirmSubscriptions", ["sns:ConfirmSubscription"], subject.topics)]


def _queue(subject: Subject) -> list[Json]:
    """The dead-letter queue too: what lies in it is taken in by the same program."""
    actions = ("ChangeMessageVisibility", "DeleteMessage", "GetQueueAttributes", "ReceiveMessage")
    return [_allow("TakeFeedback", [f"sqs:{action}" for action in actions], subject.queues)]


_TOPIC_ACTIONS: Final = (
    "CreateTopic",
    "DeleteTopic",
    "GetTopicAttributes",
    "ListSubscriptionsByTopic",
    "ListTagsForResource",
    "SetTopicAttributes",
    "Subscribe",
    "TagResource",
)
_SUBSCRIPTION_ACTIONS: Final = ("GetSubscriptionAttributes", "SetSubscriptionAttributes", "Unsubscribe")
_QUEUE_ACTIONS: Final = (
    "CreateQueue",
    "DeleteQueue",
    "GetQueueAttributes",
    "GetQueueUrl",
    "ListQueueTags",
    "SetQueueAttributes",
    "TagQueue",
)
_SET_ACTIONS: Final = (
    "CreateConfigurationSet",
    "CreateConfigurationSetEventDestination",
    "DeleteConfigurationSet",
    "DeleteConfigurationSetEventDestination",
    "GetConfigurationSet",
    "GetConfigurationSetEventDestinations",
    "ListTagsForResource",
    "PutConfigurationSetSendingOptions",
    "TagResource",
    "UpdateConfigurationSetEventDestination",
)
_LIST_ACTIONS: Final = (
    "DeleteSuppressedDestination",
    "GetSuppressedDestination",
    "ListSuppressedDestinations",
    "PutSuppressedDestination",
)
_IDENTITY_ACTIONS: Final = (
    "GetIdentityNotificationAttributes",
    "ListEmailIdentities",
    "SetIdentityFeedbackForwardingEnabled",
    "SetIdentityHeadersInNotificationsEnabled",
    "SetIdentityNotificationTopic",
)


_LOOK_ACTIONS: Final = (
    "GetAccount",
    "GetConfigurationSet",
    "GetConfigurationSetEventDestinations",
    "GetEmailIdentity",
    "GetIdentityNotificationAttributes",
    "ListEmailIdentities",
    "ListSuppressedDestinations",
    "ListTagsForResource",
)


def _doctor(subject: Subject) -> list[Json]:
    """Whatever it may not look at it warns of; it looks at other sets and topics, too, where settings name them."""
    queue = [*subject.queues, subject.place.arn("sqs", subject.names.queue)]
    return [
        _allow("LookAtSes", _prefixed("ses", _LOOK_ACTIONS), "*"),
        _allow(
            "LookAtTopics",
            _prefixed("sns", ("GetSubscriptionAttributes", "GetTopicAttributes", "ListSubscriptionsByTopic")),
            "*",
        ),
        _allow("LookAtQueues", _prefixed("sqs", ("GetQueueAttributes", "GetQueueUrl")), sorted(set(queue))),
    ]


def _operator(subject: Subject) -> list[Json]:
    """For whoever runs provision, with --destroy too, in either mode. IAM knows no resource for those with a star."""
    names, place = subject.names, subject.place
    topics = [place.arn("sns", name) for name in names.topics]
    queues = [place.arn("sqs", name) for name in (names.queue, names.dead_queue)]
    return [
        _allow("Topics", _prefixed("sns", _TOPIC_ACTIONS), topics),
        _allow("Subscriptions", _prefixed("sns", _SUBSCRIPTION_ACTIONS), "*"),
        _allow("Queues", _prefixed("sqs", _QUEUE_ACTIONS), queues),
        _allow(
            "ConfigurationSet",
            _prefixed("ses", _SET_ACTIONS),
            place.arn("ses", f"configuration-set/{names.configuration_set}"),
        ),
        _allow("Identities", _prefixed("ses", _IDENTITY_ACTIONS), "*"),
        _WHO_AM_I,
    ]


def _prefixed(service: str, actions: Iterable[str]) -> list[str]:
    return [f"{service}:{action}" for action in actions]


def _allow(sid: str, actions: Sequence[str], resources: str | Sequence[str]) -> Json:
    listed = resources if isinstance(resources, str) else list(resources)
    return {"Sid": sid, "Effect": "Allow", "Action": list(actions), "Resource": listed}


def _document(statements: Sequence[Json]) -> Json:
    return {"Version": _VERSION, "Statement": list(statements)}


_WHO_AM_I: Final = _allow("WhoAmI", ["sts:GetCallerIdentity"], "*")
