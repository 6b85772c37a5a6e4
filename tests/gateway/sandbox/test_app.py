"""The application in this process: what it says without moto, without an action, and when it breaks."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519
from flask.testing import FlaskClient

from gateway.sandbox.app import create_app
from gateway.sandbox.config import SandboxConfig
from gateway.sandbox.state import State, open_state


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    opened = open_state(SandboxConfig("::1", 4566, tmp_path / "sandbox", None))
    yield opened
    opened.close()


@pytest.fixture
def client(state: State) -> FlaskClient:
    return create_app(state).test_client()


def signed_for(service: str) -> dict[str, str]:
    return {"Authorization": f"AWS4-HMAC-SHA256 Credential=x/20261121/us-east-1/{service}/aws4_request, Signature=y"}


def test_without_moto_another_service_gets_one_clear_sentence(client: FlaskClient, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "moto.moto_server.werkzeug_app", None)

    answer = client.post("/", data="Action=GetCallerIdentity", headers=signed_for("sts"))

    assert answer.status_code == 501
    assert answer.headers["x-amzn-ErrorType"] == "ServiceNotInSandbox"
    assert "pip install 'sesgate[sandbox]'" in answer.get_json()["message"]


def test_a_browser_is_told_what_listens_here(client: FlaskClient):
    answer = client.get("/")
    assert answer.status_code == 400
    assert b"The simulated AWS is listening." in answer.data


@pytest.mark.parametrize(
    ("path", "body", "headers"),
    [("/v2/email/account", None, {}), ("/", "Action=GetSendQuota", signed_for("ses"))],
)
def test_what_nobody_thought_of_is_an_internal_failure(
    client: FlaskClient, state: State, path: str, body: str | None, headers: dict[str, str]
):
    state.resources.database.execute("DROP TABLE usage")
    answer = client.open(path, method="POST" if body else "GET", data=body, headers=headers)

    assert answer.status_code == 500
    assert b"The sandbox failed; its log says why." in answer.data
    assert b"usage" not in answer.data


@pytest.mark.parametrize("body", ["{", "[]"])
def test_a_body_that_is_no_json_object_is_refused(client: FlaskClient, body: str):
    answer = client.post("/v2/email/outbound-emails", data=body)
    assert answer.status_code == 400
    assert answer.headers["x-amzn-ErrorType"] == "SerializationException"


def test_a_put_that_is_no_json_is_400(client: FlaskClient):
    answer = client.put("/_sandbox/faults", data="{")
    assert (answer.status_code, answer.get_json()) == (400, {"error": "The body is not JSON."})


def test_the_urls_of_an_ipv6_sandbox_have_brackets(state: State):
    assert state.config.endpoint == "http://[::1]:4566"


def test_a_wrong_key_file_is_named(tmp_path: Path, state: State):
    state.close()
    directory = state.config.directory
    pem = ed25519.Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (directory / "sns-signing-key.pem").write_bytes(pem)
    with pytest.raises(ValueError, match=r"sns-signing-key.pem holds no RSA key"):
        open_state(state.config)
