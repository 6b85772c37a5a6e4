from __future__ import annotations

import socket

import pytest

from gateway.cli.errors import CommandError, UsageError
from gateway.cli.up.preflight import addresses, check_addresses, check_aws
from gateway.setting_values import HostPort
from gateway.settings import Settings
from tests.support.sandbox import free_port


@pytest.fixture
def taken():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield HostPort("127.0.0.1", server.getsockname()[1])


def test_a_taken_port_is_named_with_the_setting_that_changes_it(taken):
    with pytest.raises(CommandError) as caught:
        check_addresses((("SESGATE_ADMIN_LISTEN", taken),))
    assert caught.value.message == (
        f"{taken} is in use by another program; set SESGATE_ADMIN_LISTEN to another address."
    )


def test_a_free_port_passes_and_stays_free():
    address = HostPort("127.0.0.1", free_port())
    check_addresses((("SESGATE_ADMIN_LISTEN", address),))
    check_addresses((("SESGATE_ADMIN_LISTEN", address),))


def test_two_settings_with_one_address_are_refused():
    address = HostPort("127.0.0.1", free_port())
    with pytest.raises(UsageError, match="SESGATE_WEBHOOK_LISTEN and SESGATE_ADMIN_LISTEN both say"):
        check_addresses((("SESGATE_WEBHOOK_LISTEN", address), ("SESGATE_ADMIN_LISTEN", address)))


def test_an_address_of_another_machine_is_refused():
    with pytest.raises(CommandError, match="is no address of this machine"):
        check_addresses((("SESGATE_LISTENERS", HostPort("192.0.2.1", 2525)),))


def test_a_host_that_nobody_knows_is_refused():
    with pytest.raises(UsageError, match=r"the host no-such-host\.invalid is not known"):
        check_addresses((("SESGATE_LISTENERS", HostPort("no-such-host.invalid", 2525)),))


def test_the_port_of_the_sandbox_matters_only_with_the_sandbox():
    settings = Settings()
    assert "SESGATE_SANDBOX_LISTEN" in dict(addresses(settings, sandbox=True))
    assert "SESGATE_SANDBOX_LISTEN" not in dict(addresses(settings, sandbox=False))


@pytest.mark.parametrize(
    ("environ", "settings", "sentence"),
    [
        ({}, Settings(ses_configuration_set="main"), "AWS_REGION is not set"),
        ({"AWS_REGION": "eu-west-1"}, Settings(), "SESGATE_SES_CONFIGURATION_SET is not set"),
    ],
)
def test_real_aws_needs_a_region_and_a_way_back_for_events(environ, settings, sentence):
    with pytest.raises(UsageError, match=sentence):
        check_aws(settings, environ)


def test_the_weaker_feedback_needs_no_configuration_set():
    check_aws(Settings(feedback="identity"), {"AWS_DEFAULT_REGION": "eu-west-1"})
