from __future__ import annotations

import asyncio
import socket
import threading
from datetime import UTC, datetime, timedelta

import pytest

from gateway.cli.network import reachable
from gateway.cli.up.banner import banner
from gateway.cli.up.readiness import Probe, probes, wait_until_ready
from gateway.setting_values import HostPort, Listener
from gateway.settings import Settings, read_settings
from tests.support.sandbox import free_port
from tests.support.stores import sqlite_stores


def test_what_answers_late_is_ready_and_what_never_does_is_named():
    asked = []

    def late():
        asked.append(1)
        return len(asked) > 1

    def never():
        raise ConnectionRefusedError

    missing = asyncio.run(wait_until_ready([Probe("late", late), Probe("never", never)], patience=0.5))
    assert missing == ["never"]


def test_a_port_that_is_open_but_does_not_greet_is_no_smtp_front():
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = HostPort("127.0.0.1", server.getsockname()[1])
        settings = Settings(listeners=(Listener(address, "lan"),))
        [smtp] = [probe for probe in probes(settings, "redis://127.0.0.1:1/0", sandbox=False) if "smtp" in probe.name]

        def answer(greeting):
            connection, _ = server.accept()
            with connection:
                connection.sendall(greeting)
                connection.recv(100)
                connection.sendall(b"221 Bye\r\n")

        for greeting, ready in ((b"220 here ESMTP\r\n", True), (b"554 no\r\n", False)):
            thread = threading.Thread(target=answer, args=(greeting,))
            thread.start()
            assert smtp.check() is ready
            thread.join()


def test_everything_that_is_started_is_asked():
    names = [probe.name for probe in probes(Settings(workers=2), "redis://127.0.0.1:1/0", sandbox=True)]
    assert names == ["sandbox", "smtp on 127.0.0.1:2525", "webhook", "admin", "flower", "worker1", "worker2"]


def test_the_feedback_queue_is_ready_when_its_consumer_says_so_since_the_start(tmp_path):
    settings = read_settings(
        {"SESGATE_DATA_DIR": str(tmp_path), "SESGATE_FEEDBACK_QUEUE_URL": "http://127.0.0.1:4566/000000000000/feedback"}
    )
    stores, started = sqlite_stores(tmp_path), datetime.now(UTC)
    given = probes(settings, "redis://127.0.0.1:1/0", sandbox=True, since=started)
    [queue] = [probe for probe in given if probe.name == "feedback-queue"]

    def is_ready(*, reading, ago):
        since = (started - timedelta(seconds=ago)).isoformat()
        stores.control.put("feedback-queue", {"reading": reading, "reason": "", "since": since})
        return asyncio.run(wait_until_ready([queue], patience=0)) == []

    try:
        assert asyncio.run(wait_until_ready([queue], patience=0)) == ["feedback-queue"]
        assert not is_ready(reading=True, ago=60)  # of the run before, which was killed
        assert not is_ready(reading=False, ago=-1)
        assert is_ready(reading=True, ago=-1)
    finally:
        stores.close()


def test_a_worker_behind_no_broker_does_not_answer():
    settings = Settings(workers=1)
    url = f"redis://127.0.0.1:{free_port()}/0"
    [worker] = [probe for probe in probes(settings, url, sandbox=False) if probe.name == "worker1"]
    assert asyncio.run(wait_until_ready([worker], patience=0.1)) == ["worker1"]


def test_a_wildcard_is_reached_on_loopback():
    assert reachable(HostPort("0.0.0.0", 25)) == HostPort("127.0.0.1", 25)
    assert reachable(HostPort("::", 25)) == HostPort("::1", 25)
    assert reachable(HostPort("127.0.0.1", 25)) == HostPort("127.0.0.1", 25)


def test_the_banner_says_where_everything_is_and_what_to_try(tmp_path):
    text = banner(Settings(data_dir=tmp_path), sandbox=True, own_redis=True, missing=[])
    for part in ("127.0.0.1:2525 (lan, no TLS)", "http://127.0.0.1:8024/sns", "http://127.0.0.1:5555", str(tmp_path)):
        assert part in text
    assert text.count("swaks --server 127.0.0.1:2525") == 3


def test_several_fronts_over_sqlite_are_warned_of():
    over_sqlite = banner(Settings(fronts=2), sandbox=False, own_redis=True, missing=[])
    over_postgresql = banner(
        Settings(fronts=2, database_url="postgresql://db/sesgate"), sandbox=False, own_redis=True, missing=[]
    )
    assert "SESGATE_FRONTS is 2 over SQLite" in over_sqlite
    assert "2 processes that share the SMTP ports" in over_sqlite
    assert "SESGATE_FRONTS" not in over_postgresql
    assert "SESGATE_FRONTS" not in banner(Settings(), sandbox=False, own_redis=True, missing=[])


def test_the_banner_names_the_queue_that_is_read():
    url = "https://sqs.eu-west-1.amazonaws.com/123456789012/feedback"
    settings = read_settings({"SESGATE_FEEDBACK_QUEUE_URL": url})
    assert url in banner(settings, sandbox=False, own_redis=True, missing=[])
    assert "feedback queue" not in banner(Settings(), sandbox=False, own_redis=True, missing=[])


def test_without_the_sandbox_nobody_is_told_to_mail_a_simulator():
    assert "swaks" not in banner(Settings(), sandbox=False, own_redis=False, missing=[])


def test_the_banner_names_what_is_missing():
    assert banner(Settings(), sandbox=False, own_redis=True, missing=["flower"]).startswith(
        "sesgate is up, except: flower (see the log)"
    )


def test_the_banner_warns_of_who_may_relay_from_outside():
    open_to_a_network = {"SESGATE_LISTENERS": "0.0.0.0:2525", "SESGATE_TRUSTED_NETWORKS": "127.0.0.0/8, 10.0.0.0/8"}
    for settings, warned in ((read_settings(open_to_a_network), True), (Settings(), False)):
        text = banner(settings, sandbox=False, own_redis=True, missing=[])
        assert ("Warning: Every client in 10.0.0.0/8 may send" in text) is warned


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        (
            {"capture_only": True},
            "Warning: SESGATE_CAPTURE_ONLY is on: mail is accepted and kept, and none of it is sent.",
        ),
        ({"allowed_recipients": ("example.com",)}, "Warning: Mail is sent to example.com only"),
    ],
)
def test_the_banner_warns_of_a_staging_guard(fields, says):
    assert says in banner(Settings(**fields), sandbox=False, own_redis=True, missing=[])
    assert "Warning" not in banner(Settings(), sandbox=False, own_redis=True, missing=[])
