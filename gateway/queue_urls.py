"""Which AWS a queue belongs to, and how it is asked: all that the URL of a queue says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from gateway.setting_values import QueueUrl


class QueueUrlError(Exception):
    """A queue cannot be read here; the text is one sentence with the fix."""


def check_queue(queue: QueueUrl, stamp: Literal["sandbox", "aws"]) -> None:
    """QueueUrlError for a queue at AWS while the database belongs to the simulated AWS.

    Its messages would be taken off the queue, and away from the gateway that they are meant for.
    """
    if queue.is_at_aws and stamp == "sandbox":
        raise QueueUrlError(
            f"{queue} is a queue of a real AWS account, but this database belongs to the simulated AWS."
            " Take it out of SESGATE_FEEDBACK_QUEUE_URL, or use another SESGATE_DATA_DIR."
        )


def endpoint_of(queue: QueueUrl, environ: Mapping[str, str]) -> str | None:
    """Where SQS is for this queue; None when boto3 finds the place by itself.

    An endpoint in the environment stands above all, so that what is kept inside the simulated AWS stays there. The host
    of the URL is asked only where boto3 cannot know it: an interface endpoint of a VPC, or an SQS that is not AWS's.
    """
    if environ.get("AWS_ENDPOINT_URL_SQS") or environ.get("AWS_ENDPOINT_URL"):
        return None
    return queue.origin if queue.is_private or not queue.is_at_aws else None
