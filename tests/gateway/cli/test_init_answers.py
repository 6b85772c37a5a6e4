from __future__ import annotations

from ipaddress import ip_network

import pytest

from gateway.cli.init_answers import (
    Answers,
    environment_of,
    parse_environment,
    parse_networks,
    parse_region,
    parse_reports,
    parse_sender,
    sender_to_prove_with,
)

HOME = (ip_network("127.0.0.0/8"), ip_network("::1/128"))


def answers(**changes):
    usual = {
        "region": "eu-west-1",
        "environment": "production",
        "sender": "example.com",
        "networks": HOME,
        "reports": "queue",
    }
    return Answers(**{**usual, **changes})


def test_who_sends_only_from_this_machine_listens_only_there():
    assert answers().variables() == {
        "AWS_REGION": "eu-west-1",
        "SESGATE_TRUSTED_NETWORKS": "127.0.0.0/8, ::1/128",
        "SESGATE_SES_CONFIGURATION_SET": "sesgate-production",
    }


def test_a_network_beyond_it_opens_the_front():
    found = answers(networks=(*HOME, ip_network("10.0.0.0/8")), environment="staging").variables()
    assert found["SESGATE_LISTENERS"] == "0.0.0.0:2525 lan"
    assert found["SESGATE_TRUSTED_NETWORKS"].endswith("10.0.0.0/8")
    assert found["SESGATE_SES_CONFIGURATION_SET"] == "sesgate-staging"


@pytest.mark.parametrize(
    ("reports", "arguments"),
    [
        ("queue", ("--environment", "production", "--queue")),
        ("https://m.example/sns", ("--environment", "production", "--webhook-url", "https://m.example/sns")),
    ],
)
def test_the_account_is_wired_as_it_was_asked_for(reports, arguments):
    assert answers(reports=reports).provision_arguments() == arguments


@pytest.mark.parametrize("text", ["eu-west-1", " us-gov-east-1 ", "CN-NORTH-1"])
def test_a_region_is_taken(text):
    assert parse_region(text) == text.strip().lower()


@pytest.mark.parametrize(
    ("parse", "text", "words"),
    [
        (parse_region, "Ireland", "it looks like eu-west-1"),
        (parse_environment, "my shop", "letters, digits"),
        (parse_environment, "x" * 60, "letters, digits"),
        (parse_sender, "localhost", "neither an address nor a domain"),
        (parse_sender, "a b@example.com", "is no address"),
        (parse_networks, "10.0.0.1/8", "are no networks"),
        (parse_networks, "the office", "are no networks"),
        (lambda text: parse_reports(text, may_be_plain=False), "http://m.example/sns", "not encrypted"),
        (lambda text: parse_reports(text, may_be_plain=False), "m.example/sns", "or write queue"),
    ],
)
def test_what_cannot_be_is_said_in_words(parse, text, words):
    with pytest.raises(ValueError, match=words):
        parse(text)


def test_this_machine_is_always_among_the_networks():
    assert parse_networks("") == HOME
    assert parse_networks("192.168.1.5, 127.0.0.0/8") == (*HOME, ip_network("192.168.1.5"))


def test_a_domain_proves_itself_by_an_address_in_it():
    assert sender_to_prove_with("example.com") == "sesgate@example.com"
    assert sender_to_prove_with("you@example.com") == "you@example.com"


def test_plain_http_is_for_the_simulation_only():
    assert parse_reports("http://127.0.0.1:8024/sns", may_be_plain=True) == "http://127.0.0.1:8024/sns"
    assert parse_reports(" Queue ", may_be_plain=False) == "queue"


@pytest.mark.parametrize(
    ("configuration_set", "environment"),
    [
        ("sesgate-staging", "staging"),
        ("sesgate-shop-2", "shop-2"),
        ("sesgate", "production"),
        ("of-others", "production"),
        (None, "production"),
    ],
)
def test_a_second_run_stays_with_the_environment_of_the_first(configuration_set, environment):
    known = {} if configuration_set is None else {"SESGATE_SES_CONFIGURATION_SET": configuration_set}
    assert environment_of(known) == environment
