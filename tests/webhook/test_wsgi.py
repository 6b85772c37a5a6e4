"""The two entry points, in processes of their own."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

import webhook.wsgi
from gateway.sns_topics import TopicsError
from gateway.store.errors import StoreError
from gateway.store.schema import migrate
from gateway.store.stores import open_stores
from tests.support.affinity import CPUS, cpus_of, stays_on_one_cpu, two_cpus
from tests.support.environment import own_environment
from tests.support.garbage import Frozen
from tests.support.payloads import ses
from tests.support.sandbox import free_port
from tests.support.sns import Signer
from tests.support.stores import sqlite_settings, sqlite_stores
from tests.support.waiting import until

SIMULATED = "arn:aws:sns:us-east-1:000000000000:sesgate"
WORKER = "webhook.worker.DeadlineThreadWorker"
REAL = "arn:aws:sns:us-east-1:123456789012:sesgate"
SIGNER = Signer.make(
    topic_arn=SIMULATED, signing_cert_url="http://127.0.0.1:4566/SimpleNotificationService-" + "0" * 32 + ".pem"
)


def environment(directory: Path, **given: str) -> dict[str, str]:
    return own_environment() | {
        "SESGATE_DATA_DIR": str(directory),
        "SESGATE_SNS_TOPIC_ARNS": SIMULATED,
        "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
        **given,
    }


def gunicorn(app: str, port: int, worker: str = WORKER) -> list[str]:
    options = ["--bind", f"127.0.0.1:{port}", "--worker-class", worker, "--threads", "4", "--no-control-socket"]
    return [sys.executable, "-m", "gunicorn", app, *options]


def ask(port: int, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path, body)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def is_alive(process: subprocess.Popen[bytes], port: int) -> bool:
    assert process.poll() is None
    try:
        return ask(port, "GET", "/healthz")[0] == 200
    except OSError:
        return False


@contextmanager
def running(app: str, environ: dict[str, str], directory: Path, worker: str = WORKER) -> Iterator[int]:
    with running_as(app, environ, directory, worker) as (port, _):
        yield port


@contextmanager
def running_as(app: str, environ: dict[str, str], directory: Path, worker: str = WORKER) -> Iterator[tuple[int, int]]:
    """The port, and gunicorn's process id."""
    port = free_port()
    with subprocess.Popen(gunicorn(app, port, worker), env=environ, cwd=directory, stderr=subprocess.PIPE) as process:
        try:
            until(lambda: is_alive(process, port), what="an answer of gunicorn")
            yield port, process.pid
        finally:
            process.terminate()
            _, errors = process.communicate(timeout=30)
            assert process.returncode == 0, errors.decode()


@pytest.fixture
def installation(tmp_path):
    """A migrated data directory of a sandbox that has not written its certificate yet."""
    migrate(sqlite_settings(tmp_path).database, "sandbox")
    (tmp_path / "sandbox").mkdir()
    return tmp_path


def test_the_webhook_stores_what_the_simulated_aws_signed(installation):
    body = SIGNER.notification(ses.event("Bounce", bounce=ses.bounce()))
    with running("webhook.wsgi:app", environment(installation), installation) as port:
        assert ask(port, "POST", "/sns", body)[0] == 503
        (installation / "sandbox" / "sns-signing-cert.pem").write_bytes(SIGNER.certificate_pem)
        status, answer = ask(port, "POST", "/sns", body)
        assert (status, json.loads(answer)) == (200, {"status": "stored"})
        status, answer = ask(port, "POST", "/sns", body)
        assert (status, json.loads(answer)) == (200, {"status": "known"})
        assert ask(port, "POST", "/sns", b"{}")[0] == 403
        assert ask(port, "GET", "/readyz")[0] == 200
        assert b" 413 " in first_line_for_endless_body(port)
    stores = sqlite_stores(installation)
    try:
        assert stores.reports.gauges().inbox.unprocessed == 1
    finally:
        stores.close()


@two_cpus
def test_the_process_that_serves_stays_on_one_cpu_and_the_one_that_would_start_another_does_not(installation):
    with running_as("webhook.wsgi:app", environment(installation), installation) as (_, pid):
        (serving,) = psutil.Process(pid).children()
        until(lambda: stays_on_one_cpu(serving.pid), what="it is on one CPU")
        assert cpus_of(pid) == {CPUS}


def test_the_process_that_serves_leaves_out_of_collections_what_it_has_loaded(installation):
    frozen = Frozen(installation)
    with running_as("webhook.wsgi:app", environment(installation) | frozen.environ, installation) as (_, pid):
        (serving,) = psutil.Process(pid).children()
        assert frozen.pids() == {serving.pid}


def first_line_for_endless_body(port: int) -> bytes:
    """What a chunked body of a megabyte gets, whose end never comes."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(b"POST /sns HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(16):
            connection.sendall(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
        return connection.makefile("rb").readline()


def test_the_operators_app_has_metrics(installation):
    with running("webhook.admin.wsgi:app", environment(installation), installation) as port:
        status, content = ask(port, "GET", "/metrics")
    assert status == 200
    assert b'sesgate_recipients{status="QUEUED"} 0.0' in content


@pytest.mark.parametrize(
    ("stamp", "endpoint", "arns", "reason"),
    [
        ("sandbox", "http://127.0.0.1:1", (SIMULATED, REAL), "never trusted together"),
        ("sandbox", "http://127.0.0.1:1", (REAL,), "belongs to the simulated AWS"),
        ("aws", "", (SIMULATED,), "belongs to a real AWS account"),
        ("sandbox", "", (SIMULATED,), "simulated AWS"),
        ("aws", "http://127.0.0.1:1", (REAL,), "real AWS account"),
    ],
)
def test_topics_database_and_endpoint_of_different_worlds_are_no_way_to_start(
    tmp_path, monkeypatch, stamp, endpoint, arns, reason
):
    settings = sqlite_settings(tmp_path, sns_topic_arns=arns)
    migrate(settings.database, stamp)
    monkeypatch.delenv("AWS_ENDPOINT_URL_SESV2", raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    stores = open_stores(settings)
    try:
        with pytest.raises((StoreError, TopicsError), match=reason):
            webhook.wsgi._compose(settings, stores)
    finally:
        stores.close()


def refusal_of(directory: Path, app: str, **given: str) -> tuple[int, str]:
    """Exit code and words when `app` is asked for as gunicorn does."""
    command = [sys.executable, "-c", f"import {app} as module; module.app"]
    environ = environment(directory, **given)
    ended = subprocess.run(command, env=environ, cwd=directory, capture_output=True, text=True, timeout=60, check=False)
    return ended.returncode, ended.stderr


def test_a_setting_that_is_unknown_is_no_way_to_start(tmp_path):
    code, words = refusal_of(tmp_path, "webhook.wsgi", SESGATE_SNS_TOPICS="x")
    assert (code, words.count("\n")) == (4, 1)
    assert words.startswith("SESGATE_SNS_TOPICS is not a setting")


def test_the_operators_app_needs_a_schema_too(tmp_path):
    code, words = refusal_of(tmp_path, "webhook.admin.wsgi")
    assert (code, words.count("\n")) == (3, 1)
    assert "sesgate migrate" in words


def test_gunicorn_ends_instead_of_starting_it_again_and_again(tmp_path):
    port = free_port()
    ended = subprocess.run(
        gunicorn("webhook.wsgi:app", port),
        env=environment(tmp_path),
        cwd=tmp_path,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 3
    assert ended.stderr.count(b"run `sesgate migrate` first") == 1
