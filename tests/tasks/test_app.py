from __future__ import annotations

from datetime import timedelta

import pytest
from celery.signals import worker_shutdown

from gateway.broker import FEEDBACK_QUEUE, SEND_QUEUE
from gateway.dispatch import FEEDBACK, SEND
from gateway.settings import Settings
from gateway.store.errors import StoreError
from gateway.store.schema import migrate
from tasks.app import make_worker_app
from tasks.services import PerProcess, open_services, read_timeout


def settings(directory, **fields):
    return Settings(data_dir=directory, broker_url="memory://", ses_configuration_set="sesgate", **fields)


@pytest.fixture
def sandboxed(monkeypatch, tmp_path):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.delenv("AWS_ENDPOINT_URL_SESV2", raising=False)
    migrate(settings(tmp_path).database, "sandbox")
    return monkeypatch


def test_the_tasks_are_those_that_are_handed_over_by_name(tmp_path):
    app = make_worker_app(settings(tmp_path))
    assert {name for name in app.tasks if not name.startswith("celery.")} == {SEND, FEEDBACK}
    assert set(app.amqp.queues) == {SEND_QUEUE, FEEDBACK_QUEUE}
    app.close()


def test_nothing_is_opened_before_a_worker_starts(tmp_path):
    make_worker_app(settings(tmp_path)).close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("lease", "seconds"), [(120, 60.0), (600, 60.0), (20, 10.0)])
def test_the_claim_outlives_the_call(lease, seconds):
    assert read_timeout(timedelta(seconds=lease)) == seconds


def test_services_are_made_once_a_process_and_again_after_closing(sandboxed, tmp_path):
    per_process = PerProcess(settings(tmp_path))
    first = per_process.get()
    assert per_process.get() is first
    per_process.close()
    second = per_process.get()
    assert second is not first
    second.stores.control.put("x", {})
    per_process.close()
    per_process.close()


def test_all_cpus_are_there_again_before_celery_may_start_a_worker_in_this_ones_place(tmp_path, monkeypatch):
    left = []
    monkeypatch.setattr("tasks.app.leave_one_cpu", lambda: left.append(True))
    make_worker_app(settings(tmp_path))
    worker_shutdown.send(sender=None)
    assert left


def test_a_child_gets_services_of_its_own(sandboxed, tmp_path):
    per_process = PerProcess(settings(tmp_path))
    first = per_process.get()
    per_process._forget()  # what a fork does in the child
    assert per_process.get() is not first
    per_process.close()
    first.close()


@pytest.mark.parametrize(
    ("environ", "fields", "reason"),
    [
        ({"AWS_ENDPOINT_URL": ""}, {}, "never sent for real"),
        ({}, {"ses_configuration_set": None}, "SESGATE_SES_CONFIGURATION_SET is not set"),
    ],
)
def test_a_worker_that_may_not_send_is_refused(sandboxed, tmp_path, environ, fields, reason):
    for name, value in environ.items():
        sandboxed.setenv(name, value)
    with pytest.raises(StoreError, match=reason):
        open_services(settings(tmp_path).model_copy(update=fields))


def test_the_weaker_feedback_needs_no_configuration_set(sandboxed, tmp_path):
    weaker = settings(tmp_path).model_copy(update={"ses_configuration_set": None, "feedback": "identity"})
    open_services(weaker).close()
