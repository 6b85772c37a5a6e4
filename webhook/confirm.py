"""Agreeing to a subscription, by a call to SNS; the SubscribeURL of a message is never visited."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from gateway.sns import SubscriptionConfirmation

# SNS waits 15 seconds for our answer: two attempts and the pause between them end before that.
_CONFIG = Config(connect_timeout=1.5, read_timeout=2.5, retries={"total_max_attempts": 2, "mode": "standard"})


class ConfirmError(Exception):
    """SNS did not take the confirmation; the text says why."""


Confirm: TypeAlias = Callable[[SubscriptionConfirmation], None]


def confirm_subscription(message: SubscriptionConfirmation) -> None:
    """Confirm a verified subscription in its topic's region; ConfirmError when that fails.

    With AuthenticateOnUnsubscribe the UnsubscribeURL, which stands in every notification, no longer ends the
    subscription for whoever gets to see one. https://docs.aws.amazon.com/sns/latest/api/API_ConfirmSubscription.html
    """
    try:
        # A session of its own, for boto3's default one must not make clients in two threads at once.
        client = boto3.session.Session().client("sns", region_name=message.topic.region, config=_CONFIG)
        client.confirm_subscription(TopicArn=message.topic.arn, Token=message.token, AuthenticateOnUnsubscribe="true")
    except (BotoCoreError, ClientError) as error:
        raise ConfirmError(str(error)) from error
