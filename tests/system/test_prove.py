"""`sesgate prove` as an operator types it, with the loop whole and with one link of it missing."""

from __future__ import annotations

import json
import os

import boto3
import pytest

from gateway.sandbox.environment import child_environment
from tests.support.installation import Installation
from tests.support.ports import free_port

ADDRESSES = ("success", "bounce", "complaint", "ooto", "suppressionlist")
SENDER = "app@example.com"


def prove(installation: Installation, *options: str) -> tuple[int, list[dict], str]:
    done = installation.cli("prove", "--from", SENDER, "--json", *options)
    return done.returncode, json.loads(done.stdout or '{"results": []}')["results"], done.stderr


@pytest.fixture
def aws(installation, monkeypatch):
    """The environment of a program beside the running sandbox."""
    for name, value in child_environment(f"http://127.0.0.1:{installation.sandbox_port}").items():
        if value is None:
            monkeypatch.delenv(name, raising=False)
            installation.environ.pop(name, None)
        else:
            monkeypatch.setenv(name, value)
            monkeypatch.setitem(installation.environ, name, value)
    return os.environ


def ses():
    return boto3.session.Session().client("sesv2")


def test_the_whole_loop_is_proved_and_leaves_nothing_behind(installation, aws):
    code, results, _ = prove(installation)
    assert code == 0
    assert {result["address"].partition("+")[0] for result in results} == set(ADDRESSES)
    by_name = {result["address"].partition("+")[0]: result for result in results}
    assert by_name["success"]["status"] == "DELIVERED"
    assert by_name["ooto"]["status"] == "DELIVERED"
    assert by_name["bounce"] | {"status": "BOUNCED", "suppressed_for": "bounce"} == by_name["bounce"]
    assert by_name["complaint"] | {"status": "COMPLAINED", "suppressed_for": "complaint"} == by_name["complaint"]
    assert by_name["suppressionlist"]["suppressed_for"] == "global-list"
    assert [result["refused_again"] for result in results if result["suppressed_for"]] == [True, True, True]
    assert all(result["taken_by_ses"] <= result["reported"] for result in results)
    for result in results:
        assert installation.cli("suppressions", "show", result["address"]).returncode == 1


def test_a_person_reads_a_table(installation, aws):
    done = installation.cli("prove", "--from", SENDER, "--only", "success")
    assert done.returncode == 0, done.stderr
    assert "The loop holds: 1 of 1 addresses" in done.stdout


def test_a_front_that_is_not_there_is_named(installation, aws):
    elsewhere = {"SESGATE_LISTENERS": f"127.0.0.1:{free_port()}"}
    installation.environ, before = {**installation.environ, **elsewhere}, installation.environ
    try:
        code, results, _ = prove(installation, "--only", "success")
    finally:
        installation.environ = before
    assert (code, results[0]["missing_link"]) == (1, "door")
    assert "no talking with the SMTP front" in results[0]["why"]


def test_a_pause_is_named(installation, aws):
    assert installation.cli("queue", "pause", "--reason", "a test").returncode == 0
    try:
        code, results, _ = prove(installation, "--only", "success", "--timeout", "2s")
    finally:
        assert installation.cli("queue", "resume").returncode == 0
    assert (code, results[0]["missing_link"]) == (1, "sending")
    assert "Sending is paused" in results[0]["why"]
    assert installation.statuses(results[0]["message"]) == {"CANCELLED"}


def test_a_silent_event_destination_is_named(installation, aws):
    destination = {"ConfigurationSetName": "sesgate", "EventDestinationName": "sesgate"}
    definition = ses().get_configuration_set_event_destinations(ConfigurationSetName="sesgate")["EventDestinations"][0]
    name = definition.pop("Name")
    destination["EventDestinationName"] = name
    ses().update_configuration_set_event_destination(**destination, EventDestination={**definition, "Enabled": False})
    try:
        code, results, _ = prove(installation, "--only", "bounce", "--timeout", "4s")
    finally:
        ses().update_configuration_set_event_destination(**destination, EventDestination=definition)
    assert (code, results[0]["missing_link"]) == (1, "report")
    assert "event destination" in results[0]["why"]


def test_a_wrong_sender_is_no_address(installation, aws):
    done = installation.cli("prove", "--from", "nobody")
    assert done.returncode == 2
    assert "is no address" in done.stderr
