"""Against an AWS emulator that nobody here wrote: what it knows is made, what it does not know is said."""

from __future__ import annotations

import logging

import pytest

from gateway.aws.provisioning.apply import apply
from gateway.aws.provisioning.destroy import Remover, farewell, take_inventory
from gateway.aws.provisioning.found import caller
from gateway.aws.provisioning.names import TAG
from gateway.aws.provisioning.options import Options
from gateway.aws.provisioning.plan import Action
from gateway.aws.provisioning.wanted import Kind
from gateway.aws.session import Aws
from tests.gateway.aws.provisioning.conftest import Wiring
from tests.support.ports import free_port

pytest.importorskip("moto.server")
from moto.server import ThreadedMotoServer


@pytest.fixture(scope="module")
def moto():
    logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
    port = free_port()
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
    server.start()
    yield f"http://127.0.0.1:{port}"
    server.stop()


@pytest.fixture
def wired(moto, monkeypatch):
    for name, value in {
        "AWS_ENDPOINT_URL": moto,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "eu-west-1",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    aws = Aws(sleep=lambda _seconds: None)
    return Wiring(aws, Options(webhook_url="https://user:s3cret@mail.example.com/sns", queue=True), caller(aws)[0])


def test_what_moto_knows_is_made_and_stays_and_goes_and_what_it_does_not_know_is_told(wired):
    outcome = apply(wired.plan(), wired.applier.carry_out, lambda _step: None)
    assert [step.resource.kind for step, _ in outcome.skipped] == [Kind.EVENT_DESTINATION]
    assert "ses:CreateConfigurationSetEventDestination" in outcome.skipped[0][1]

    actions = {step.resource.title: step.action for step in wired.plan().steps if step.resource.kind in _KEPT}
    assert set(actions.values()) == {Action.UNCHANGED}
    assert wired.reader.topic(wired.names.topic).tags == {TAG: wired.options.scope}
    assert wired.reader.configuration_set(wired.names.configuration_set).tags == {TAG: wired.options.scope}

    goodbye = farewell(take_inventory(wired.reader, wired.names), wired.names)
    remover = Remover(wired.aws, goodbye.topics)
    for removal in goodbye.removals:
        remover.remove(removal)
    assert wired.reader.topic(wired.names.topic) is None
    assert wired.reader.queue(wired.names.queue) is None
    assert wired.reader.configuration_set(wired.names.configuration_set) is None


# moto shows no signature version of a topic, and a set as not sending whatever it was told.
_KEPT = frozenset({Kind.QUEUE, Kind.SUBSCRIPTION, Kind.TRUST})
