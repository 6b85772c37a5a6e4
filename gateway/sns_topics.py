"""SNS topics whose messages are trusted, and what may sign for them.

A topic's ARN fixes the host that serves the signing certificate and the name in that certificate, so both follow from
what the operator configured and never from a message.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from gateway.settings import SANDBOX_ACCOUNT

_ARN = re.compile(
    r"arn:(?P<partition>aws[a-z-]*):sns:(?P<region>[a-z0-9-]+):(?P<account>\d{12}):(?P<name>[A-Za-z0-9_-]{1,256})",
    re.ASCII,
)
_DNS_SUFFIXES = {
    "aws": "amazonaws.com",
    "aws-cn": "amazonaws.com.cn",
    "aws-us-gov": "amazonaws.com",
    "aws-iso": "c2s.ic.gov",
    "aws-iso-b": "sc2s.sgov.gov",
    "aws-iso-e": "cloud.adc-e.uk",
    "aws-iso-f": "csp.hci.ic.gov",
    "aws-eusc": "amazonaws.eu",
}

# Regions of the commercial partition sign in the name of `sns.amazonaws.com` when every account has them, and in a name
# of their own when an account must opt in: AWS's Java SDK 2 (sns-message-manager) has the same table.
_COMMON_NAME = "sns.amazonaws.com"
_ENABLED_BY_DEFAULT = re.compile(
    r"ap-northeast-[123]|ap-south-1|ap-southeast-[12]|ca-central-1|eu-central-1|eu-north-1|eu-west-[123]|sa-east-1"
    r"|us-(east|west)-[12]"
)
_OPT_IN = re.compile(
    r"af-south-1|ap-east-[12]|ap-south-2|ap-southeast-[34567]|ca-west-1|eu-central-2|eu-south-[12]|il-central-1"
    r"|me-central-1|me-south-1|mx-central-1"
)


class TopicsError(Exception):
    """The trusted topics cannot be used together or here; the text is one sentence with the fix."""


@dataclass(frozen=True, slots=True)
class Topic:
    """An SNS topic, by its ARN."""

    arn: str
    partition: str
    region: str
    account: str

    @property
    def is_simulated(self) -> bool:
        """Whether it is one of the simulated AWS, whose account no customer of AWS can have."""
        return self.account == SANDBOX_ACCOUNT

    @property
    def host(self) -> str:
        """The SNS endpoint of the topic's region, which alone serves its signing certificates."""
        return f"sns.{self.region}.{_DNS_SUFFIXES[self.partition]}"

    @property
    def common_names(self) -> frozenset[str]:
        """The names that a signing certificate of the topic's region may have."""
        suffix = _DNS_SUFFIXES[self.partition]
        if self.partition == "aws-us-gov":
            return frozenset({f"sns-us-gov-west-1.{suffix}"})  # one for both of its regions
        if self.partition != "aws":
            return frozenset({f"sns-{self.region}.{suffix}", f"sns-signing.{self.region}.{suffix}"})
        if _ENABLED_BY_DEFAULT.fullmatch(self.region):
            return frozenset({_COMMON_NAME})
        own = f"sns-signing.{self.region}.{suffix}"
        # A region younger than this table may do either.
        return frozenset({own}) if _OPT_IN.fullmatch(self.region) else frozenset({own, _COMMON_NAME})


def parse_topic(arn: str) -> Topic:
    """Read an ARN; TopicsError when it is none, or of a partition whose host names are not known."""
    match = _ARN.fullmatch(arn)
    if match is None or match["partition"] not in _DNS_SUFFIXES:
        raise TopicsError(f"{arn!r} is no ARN of an SNS topic; it looks like arn:aws:sns:eu-west-1:123456789012:name.")
    return Topic(arn, match["partition"], match["region"], match["account"])


def check_topics(arns: Iterable[str], stamp: Literal["sandbox", "aws"]) -> frozenset[str]:
    """The set of trusted topics, once it is sure that they belong together and to this database.

    Whoever can reach a sandbox can make it sign anything, so its topics are trusted only where nothing is real.
    TopicsError when simulated topics stand beside others, or meet a database whose stamp is the other one.
    """
    topics = [parse_topic(arn) for arn in arns]
    simulated = {topic.arn for topic in topics if topic.is_simulated}
    real = {topic.arn for topic in topics} - simulated
    if simulated and real:
        raise TopicsError(
            f"{min(simulated)} is a topic of the simulated AWS and {min(real)} a real one; both are never trusted"
            " together. Take one of them out of SESGATE_SNS_TOPIC_ARNS."
        )
    if simulated and stamp != "sandbox":
        raise TopicsError(
            f"{min(simulated)} is a topic of the simulated AWS, but this database belongs to a real AWS account."
            " Take it out of SESGATE_SNS_TOPIC_ARNS, or use another SESGATE_DATA_DIR."
        )
    if real and stamp != "aws":
        raise TopicsError(
            f"{min(real)} is a topic of a real AWS account, but this database belongs to the simulated AWS."
            " Take it out of SESGATE_SNS_TOPIC_ARNS, or use another SESGATE_DATA_DIR."
        )
    return frozenset(simulated | real)
