from __future__ import annotations

import pytest

from gateway.sns_topics import TopicsError, check_topics, parse_topic

REAL = "arn:aws:sns:eu-west-1:123456789012:mail"
SIMULATED = "arn:aws:sns:us-east-1:000000000000:sesgate"


@pytest.mark.parametrize(
    ("partition", "region", "host"),
    [
        ("aws", "us-east-1", "sns.us-east-1.amazonaws.com"),
        ("aws", "af-south-1", "sns.af-south-1.amazonaws.com"),
        ("aws-cn", "cn-north-1", "sns.cn-north-1.amazonaws.com.cn"),
        ("aws-us-gov", "us-gov-east-1", "sns.us-gov-east-1.amazonaws.com"),
        ("aws-iso", "us-iso-east-1", "sns.us-iso-east-1.c2s.ic.gov"),
        ("aws-iso-b", "us-isob-east-1", "sns.us-isob-east-1.sc2s.sgov.gov"),
        ("aws-iso-e", "eu-isoe-west-1", "sns.eu-isoe-west-1.cloud.adc-e.uk"),
        ("aws-iso-f", "us-isof-south-1", "sns.us-isof-south-1.csp.hci.ic.gov"),
        ("aws-eusc", "eusc-de-east-1", "sns.eusc-de-east-1.amazonaws.eu"),
    ],
)
def test_the_host_of_the_certificate_follows_from_partition_and_region(partition, region, host):
    assert parse_topic(f"arn:{partition}:sns:{region}:123456789012:mail").host == host


@pytest.mark.parametrize(
    ("partition", "region", "name"),
    [
        ("aws", "us-east-1", "sns.amazonaws.com"),
        ("aws", "eu-west-3", "sns.amazonaws.com"),
        ("aws", "eu-south-1", "sns-signing.eu-south-1.amazonaws.com"),
        ("aws", "ap-southeast-7", "sns-signing.ap-southeast-7.amazonaws.com"),
        ("aws", "il-central-1", "sns-signing.il-central-1.amazonaws.com"),
        ("aws-us-gov", "us-gov-east-1", "sns-us-gov-west-1.amazonaws.com"),
    ],
)
def test_the_name_in_the_certificate_follows_from_the_region(partition, region, name):
    assert parse_topic(f"arn:{partition}:sns:{region}:123456789012:mail").common_names == {name}


@pytest.mark.parametrize(
    ("partition", "region", "name"),
    [
        ("aws-cn", "cn-northwest-1", "sns-cn-northwest-1.amazonaws.com.cn"),
        ("aws-iso", "us-iso-east-1", "sns-us-iso-east-1.c2s.ic.gov"),
        ("aws-iso-f", "us-isof-south-1", "sns-signing.us-isof-south-1.csp.hci.ic.gov"),
        ("aws-eusc", "eusc-de-east-1", "sns-signing.eusc-de-east-1.amazonaws.eu"),
        ("aws", "xx-newer-1", "sns.amazonaws.com"),
        ("aws", "xx-newer-1", "sns-signing.xx-newer-1.amazonaws.com"),
    ],
)
def test_where_the_name_is_less_sure_only_names_of_the_region_fit(partition, region, name):
    assert name in parse_topic(f"arn:{partition}:sns:{region}:123456789012:mail").common_names


@pytest.mark.parametrize(
    "arn",
    [
        "",
        "mail",
        "arn:aws:sqs:eu-west-1:123456789012:mail",
        "arn:aws:sns:eu-west-1:12345678901:mail",
        "arn:aws:sns:eu-west-1:123456789012:mail\n",
        "arn:aws:sns:eu-west-1:123456789012:mail:2bcfbf39",
        "arn:aws:sns:evil.example/:123456789012:mail",
        "arn:aws-of-tomorrow:sns:eu-west-1:123456789012:mail",
    ],
)
def test_what_is_no_topic_is_refused_with_one_sentence(arn):
    with pytest.raises(TopicsError, match=r"is no ARN of an SNS topic; .*\.$"):
        parse_topic(arn)


@pytest.mark.parametrize(("arns", "stamp"), [([REAL], "aws"), ([SIMULATED], "sandbox"), ([], "aws"), ([], "sandbox")])
def test_topics_of_one_world_are_trusted_in_it(arns, stamp):
    assert check_topics(arns, stamp) == set(arns)


@pytest.mark.parametrize(
    ("arns", "stamp", "reason"),
    [
        ([REAL, SIMULATED], "aws", "never trusted together"),
        ([SIMULATED, REAL], "sandbox", "never trusted together"),
        ([SIMULATED], "aws", "this database belongs to a real AWS account"),
        ([REAL], "sandbox", "this database belongs to the simulated AWS"),
    ],
)
def test_the_simulated_and_the_real_world_do_not_meet(arns, stamp, reason):
    with pytest.raises(TopicsError, match=reason):
        check_topics(arns, stamp)
