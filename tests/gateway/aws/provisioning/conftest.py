from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import pytest

from gateway.aws.provisioning.apply import Applier
from gateway.aws.provisioning.found import Reader
from gateway.aws.provisioning.names import TAG, Names, Place
from gateway.aws.provisioning.options import Options
from gateway.aws.provisioning.plan import Found, Plan, key_of, plan
from gateway.aws.provisioning.wanted import Kind, wanted
from gateway.aws.session import Aws
from tests.support.sandbox import Sandbox

SIMULATED = Place("000000000000", "us-east-1")


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox() as running:
        yield running


@pytest.fixture
def aws(sandbox, monkeypatch):
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name, value in sandbox.environment().items():
        monkeypatch.setenv(name, value)
    sandbox.set_faults()
    return Aws(sleep=lambda _seconds: None)


@dataclass
class Wiring:
    """One set-up, with the trust kept in a set instead of a database."""

    aws: Aws
    options: Options
    place: Place = SIMULATED
    trusted: set[str] = field(default_factory=set)
    warnings: list[str] = field(default_factory=list)

    @property
    def names(self) -> Names:
        return Names(self.options.scope, self.options.environment)

    @property
    def reader(self) -> Reader:
        return Reader(self.aws, self.place)

    @property
    def applier(self) -> Applier:
        return Applier(
            self.aws,
            (TAG, self.options.scope),
            trust=self.trusted.update,
            warn=self.warnings.append,
            sleep=lambda _seconds: None,
        )

    def plan(self, *, adopt: bool = False) -> Plan:
        resources = wanted(self.options, self.place)
        found = self.reader.look(resources)
        for resource in resources:
            if resource.kind is Kind.TRUST:
                arns = [arn for arn in resource.attributes["arns"] if arn in self.trusted]
                found[key_of(resource)] = Found(Kind.TRUST, resource.name, {"arns": arns})
        return plan(resources, found, tag=(TAG, self.options.scope), adopt=adopt)


@dataclass
class Recording:
    """A client that notes which calls are made."""

    aws: Aws
    calls: list[str] = field(default_factory=list)

    def call(self, service: Any, operation: str, **parameters: Any) -> dict[str, Any]:
        self.calls.append(operation)
        return self.aws.call(service, operation, **parameters)

    def every(self, service: Any, operation: str, key: str, **parameters: Any) -> Iterable[Any]:
        self.calls.append(operation)
        return self.aws.every(service, operation, key, **parameters)

    @property
    def changing(self) -> list[str]:
        return [call for call in self.calls if not call.startswith(("Get", "List"))]


@pytest.fixture
def wiring(aws, request):
    """A set-up of its own for each test, with a queue and a webhook that is not there."""

    def make(**options: Any) -> Wiring:
        given = {"webhook_url": "http://127.0.0.1:1/sns", "queue": True, "may_be_plain": True} | options
        environment = str(abs(hash(request.node.name)) % 10**8)
        return Wiring(aws, Options(**{"environment": environment, **given}))

    return make
