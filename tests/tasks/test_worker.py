"""Real Celery workers, a real Redis, a real database and the simulated AWS."""

from __future__ import annotations

import re
import signal
from collections import Counter

import pytest

from gateway.settings import Settings
from gateway.store.schema import migrate
from gateway.store.stores import open_stores
from tests.support.affinity import stays_on_one_cpu, two_cpus
from tests.support.garbage import Frozen
from tests.support.mail import accept, rows
from tests.support.redis import Redis
from tests.support.sandbox import Sandbox
from tests.support.waiting import until
from tests.support.worker import Worker

pytestmark = pytest.mark.timeout(240)

POOLS = pytest.mark.parametrize(
    "pool", [("-P", "threads", "-c", "8"), ("-P", "prefork", "-c", "2")], ids=["threads", "prefork"]
)


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox() as running:
        yield running


@pytest.fixture
def fresh(sandbox):
    sandbox.clear()
    sandbox.set_faults()
    sandbox.set_account()
    return sandbox


@pytest.fixture
def redis():
    with Redis() as running:
        yield running


@pytest.fixture
def accepted(tmp_path):
    """Stores that the test and the worker share."""
    settings = Settings(data_dir=tmp_path)
    migrate(settings.database, "sandbox")
    opened = open_stores(settings)
    yield opened
    opened.close()


def flood(stores, count, label="n"):
    addresses = [f"{label}{number}@example.com" for number in range(count)]
    for start in range(0, count, 20):
        accept(stores, *addresses[start : start + 20])
    return addresses


def statuses(stores):
    return dict(rows(stores, "SELECT status, count(*) FROM recipients GROUP BY status"))


def all_sent(stores, count, worker, seconds=60.0):
    until(lambda: statuses(stores) == {"SENT": count}, seconds=seconds, what=f"all are sent\n{worker.log[-2000:]}")


def copies(sandbox):
    return Counter(address for message in sandbox.messages() for address in message["recipients"])


@POOLS
def test_a_worker_sends_everything_once(tmp_path, accepted, fresh, redis, pool):
    addresses = flood(accepted, 100)
    with Worker(tmp_path, fresh, *pool, SESGATE_BROKER_URL=redis.url) as worker:
        all_sent(accepted, 100, worker)
        assert "Task sesgate.send" in worker.log
        assert worker.stop() == 0
        assert "Traceback" not in worker.log
    assert copies(fresh) == Counter(addresses)
    assert accepted.control.read_lease().holder == ""


@two_cpus
@POOLS
def test_each_process_of_a_worker_stays_on_one_cpu_with_all_its_threads(tmp_path, accepted, fresh, redis, pool):
    flood(accepted, 20)
    with Worker(tmp_path, fresh, *pool, SESGATE_BROKER_URL=redis.url) as worker:
        all_sent(accepted, 20, worker)
        pids = [worker.pid, *(child.pid for child in worker.children)]
        assert len(pids) == (3 if "prefork" in pool else 1)
        until(lambda: all(map(stays_on_one_cpu, pids)), what="each is on one CPU")


@pytest.mark.usefixtures("accepted")
@POOLS
def test_each_process_of_a_worker_leaves_out_of_collections_what_it_has_loaded(tmp_path, fresh, redis, pool):
    frozen = Frozen(tmp_path)
    with Worker(tmp_path, fresh, *pool, SESGATE_BROKER_URL=redis.url, **frozen.environ) as worker:
        until(lambda: {worker.pid, *(child.pid for child in worker.children)} <= frozen.pids(), what="each is up")


def test_a_child_that_is_killed_again_and_again_stalls_nothing_and_doubles_nothing(tmp_path, accepted, fresh, redis):
    fresh.set_account(max_send_rate=40)
    fresh.set_faults(latency_ms=30)
    addresses = flood(accepted, 300)
    with Worker(tmp_path, fresh, "-P", "prefork", "-c", "2", SESGATE_BROKER_URL=redis.url) as worker:
        until(lambda: statuses(accepted).get("SENT", 0) > 10, what="the first are sent")
        killed = set()
        for _ in range(10):
            before = len(killed)
            victim = until(lambda: next((child for child in worker.children if child.pid not in killed), None))
            killed.add(victim.pid)
            victim.send_signal(signal.SIGKILL)
            progress = len(copies(fresh))
            until(lambda progress=progress: len(copies(fresh)) > progress + 2 or len(copies(fresh)) > 290)
            assert len(killed) == before + 1
        until(
            lambda: set(statuses(accepted)) <= {"SENT", "AMBIGUOUS"},
            seconds=90,
            what=f"everything is sent or ambiguous\n{worker.log[-3000:]}",
        )
        ambiguous = statuses(accepted).get("AMBIGUOUS", 0)
        worker.stop()
    counted = copies(fresh)
    assert set(counted.values()) == {1}
    unsent = set(addresses) - set(counted)
    assert len(unsent) <= ambiguous
    assert ambiguous < 200
    accepted.control.put("after", {})


def test_an_account_that_allows_far_more_than_the_workers_send_does_not_make_them_wait(
    tmp_path, accepted, fresh, redis
):
    """What is marked in vain lapses, again and again, and next to nothing goes out: here that would take minutes."""
    fresh.set_account(max_send_rate=5000)
    fresh.set_faults(latency_ms=50)
    addresses = flood(accepted, 500)
    settings = {"SESGATE_WORKER_THREADS": "2", "SESGATE_DISPATCH_TIMEOUT": "5s", "SESGATE_BROKER_URL": redis.url}
    with Worker(tmp_path, fresh, "-P", "threads", "-c", "2", **settings) as worker:
        all_sent(accepted, 500, worker)
    assert copies(fresh) == Counter(addresses)


def test_a_worker_that_is_to_stop_records_the_calls_it_makes_and_leaves_the_rest(tmp_path, accepted, fresh, redis):
    fresh.set_faults(latency_ms=300)
    addresses = flood(accepted, 300)
    settings = {"SESGATE_WORKER_THREADS": "4", "SESGATE_BROKER_URL": redis.url}
    with Worker(tmp_path, fresh, "-P", "threads", "-c", "4", **settings) as worker:
        until(lambda: statuses(accepted).get("SENT", 0) > 8, what="the first are sent")
        assert worker.stop() == 0
        assert "Traceback" not in worker.log
    assert set(statuses(accepted)) == {"SENT", "QUEUED"}
    fresh.set_faults()
    with Worker(tmp_path, fresh, "-P", "threads", "-c", "4", **settings) as worker:
        all_sent(accepted, 300, worker)
    assert copies(fresh) == Counter(addresses)


@pytest.mark.parametrize("outage", ["hang", "kill"])
def test_without_redis_sending_goes_on(tmp_path, accepted, fresh, redis, outage):
    flood(accepted, 20, "before")
    with Worker(tmp_path, fresh, "-P", "threads", "-c", "4", SESGATE_BROKER_URL=redis.url) as worker:
        all_sent(accepted, 20, worker)
        getattr(redis, outage)()
        flood(accepted, 30, "during")
        all_sent(accepted, 50, worker)
        if outage == "hang":
            redis.go_on()
        else:
            redis.start()
        flood(accepted, 20, "after")
        all_sent(accepted, 70, worker)
    assert set(copies(fresh).values()) == {1}


def test_a_worker_that_never_saw_its_broker_sends(tmp_path, accepted, fresh):
    broker = "redis+socket:///nowhere/redis.sock"
    addresses = flood(accepted, 20)
    with Worker(tmp_path, fresh, "-P", "threads", "-c", "2", SESGATE_BROKER_URL=broker) as worker:
        all_sent(accepted, 20, worker)
    assert copies(fresh) == Counter(addresses)


def test_a_worker_takes_no_task_before_it_can_begin_it(tmp_path, accepted, fresh, redis):
    """What it had taken would wait for it, while another worker may be free."""
    fresh.set_faults(latency_ms=200)
    settings = {"SESGATE_WORKER_THREADS": "1", "SESGATE_DISPATCH_TIMEOUT": "30s", "SESGATE_BROKER_URL": redis.url}
    flood(accepted, 4)
    with Worker(tmp_path, fresh, "-P", "threads", "-c", "1", **settings) as worker:
        all_sent(accepted, 4, worker)
        seen = until(lambda: found if (found := _of_tasks(worker.log)).count("succeeded") == 4 else None)
    assert seen == ["received", "succeeded"] * 4


def _of_tasks(log):
    return re.findall(r"Task sesgate\.send\[[^]]*\] (received|succeeded)", log)


def test_a_second_worker_takes_over_from_a_killed_one(tmp_path, accepted, fresh, redis):
    options = ("-P", "threads", "-c", "4")
    with Worker(tmp_path, fresh, *options, SESGATE_BROKER_URL=redis.url) as first:
        flood(accepted, 20, "first")
        all_sent(accepted, 20, first)
        with Worker(tmp_path, fresh, *options, name="w2", SESGATE_BROKER_URL=redis.url) as second:
            until(lambda: "ready" in second.log, what="the second worker is ready")
            first.kill()
            flood(accepted, 20, "second")
            all_sent(accepted, 40, second)
    assert set(copies(fresh).values()) == {1}


@pytest.mark.parametrize(
    ("settings", "reason", "code"),
    [
        ({"SESGATE_BROKER_URL": ""}, "No broker is set", 2),
        ({"SESGATE_COLOUR": "red"}, "SESGATE_COLOUR is not a setting", 2),
        ({"SESGATE_SES_CONFIGURATION_SET": ""}, "SESGATE_SES_CONFIGURATION_SET is not set", 1),
        ({"AWS_ENDPOINT_URL": "https://email.us-east-1.amazonaws.com"}, "never sent for real", 1),
        ({"SESGATE_DATABASE_URL": "sqlite:////nowhere/sesgate.db"}, "does not exist", 1),
    ],
)
def test_a_worker_that_may_not_run_says_why_in_one_sentence(tmp_path, accepted, sandbox, settings, reason, code):
    with Worker(
        tmp_path, sandbox, "-P", "threads", **{"SESGATE_BROKER_URL": "redis://127.0.0.1:1"} | settings
    ) as worker:
        assert worker.wait() == code
        assert reason in worker.log
        assert "Traceback" not in worker.log


def test_a_worker_without_a_schema_asks_for_migrate(tmp_path, sandbox):
    with Worker(tmp_path, sandbox, "-P", "threads", SESGATE_BROKER_URL="redis://127.0.0.1:1") as worker:
        assert worker.wait() == 1
        assert "run `sesgate migrate` first" in worker.log
