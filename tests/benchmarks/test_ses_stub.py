"""The stub of SES, asked by boto3 and by what the workers ask with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from benchmarks.ses_stub import RunningStub, running_stub
from gateway.aws.account import read_account
from gateway.aws.identities import read_identities


@pytest.fixture
def stub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningStub]:
    with running_stub(tmp_path, rate=321) as running:
        for name, value in {
            "AWS_ENDPOINT_URL": running.url,
            "AWS_ACCESS_KEY_ID": "sandbox",
            "AWS_SECRET_ACCESS_KEY": "sandbox",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }.items():
            monkeypatch.setenv(name, value)
        yield running


def send(client: Any, address: str) -> str:
    answer = client.send_email(Destination={"ToAddresses": [address]}, Content={"Raw": {"Data": b"From: a@b\r\n\r\n"}})
    return str(answer["MessageId"])


def test_it_tells_what_it_was_given_and_how_often(stub: RunningStub) -> None:
    client = boto3.Session().client("sesv2")
    ids = [send(client, address) for address in ("a@example.test", "b@example.test", "a@example.test")]
    client.close()
    assert len(set(ids)) == 3
    assert stub.addresses() == ["a@example.test", "b@example.test", "a@example.test"]
    assert stub.summary()["answered"] == 3
    assert stub.summary()["seconds"] > 0


def test_it_forgets_when_it_is_told_to(stub: RunningStub) -> None:
    client = boto3.Session().client("sesv2")
    send(client, "a@example.test")
    client.close()
    stub.forget()
    assert stub.addresses() == []


def test_it_is_an_account_for_the_workers(stub: RunningStub) -> None:
    assert read_account().max_send_rate == 321
    assert read_identities(None).names == ("example.test",)
