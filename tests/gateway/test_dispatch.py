from __future__ import annotations

import json
import threading

import pytest

from gateway.broker import FEEDBACK_QUEUE, KEY_PREFIX, QUEUES, SEND_QUEUE, find_broker_url, make_app
from gateway.dispatch import FEEDBACK, SEND, BrokerError, Dispatch, HintThread, shorten
from gateway.settings import Settings
from tests.support.redis import Redis
from tests.support.waiting import until


@pytest.fixture(scope="module")
def redis():
    with Redis() as running:
        yield running


@pytest.fixture
def app(redis):
    with redis.client() as client:
        client.flushall()  # the test's own Redis
    made = make_app(redis.url)
    with made.connection_for_write() as connection:  # as a worker does, that consumes from all of them
        for queue in made.amqp.queues.values():
            queue(connection.default_channel).declare()
    yield made
    made.close()


def waiting(redis):
    """What waits in the broker: (task, ids, what Flower shows of them) by queue."""
    with redis.client() as client:
        return {
            name: [_task(body) for body in client.lrange(KEY_PREFIX + name, 0, -1)]
            for name in QUEUES
            if client.llen(KEY_PREFIX + name)
        }


def _task(body):
    envelope = json.loads(body)
    headers = envelope["headers"]
    return headers["task"], headers["argsrepr"]


def test_each_kind_of_work_goes_to_its_own_queue_and_no_other(app, redis):
    dispatch = Dispatch(app)
    dispatch.send([1])
    assert waiting(redis) == {SEND_QUEUE: [(SEND, "([1],)")]}
    dispatch.feedback([7, 8])
    assert waiting(redis) == {SEND_QUEUE: [(SEND, "([1],)")], FEEDBACK_QUEUE: [(FEEDBACK, "([7, 8],)")]}


def test_every_key_in_the_broker_has_our_prefix(app, redis):
    Dispatch(app).send([1])
    with redis.client() as client:
        assert not [key for key in client.scan_iter() if not key.startswith(KEY_PREFIX.encode())]


def test_a_queue_that_nobody_consumes_is_not_filled_without_end(app, redis, monkeypatch):
    monkeypatch.setattr("gateway.dispatch._MOST_TASKS", 3)
    monkeypatch.setattr("gateway.dispatch._LOOK_EVERY", -1.0)
    dispatch = Dispatch(app)
    for id_ in range(4):
        dispatch.send([id_])
    with pytest.raises(BrokerError, match=r"4 tasks wait in sesgate\.send, and nobody takes them"):
        dispatch.send([4])
    assert len(waiting(redis)[SEND_QUEUE]) == 4
    dispatch.feedback([1])
    with redis.client() as client:
        client.lpop(KEY_PREFIX + SEND_QUEUE)
    dispatch.send([5])
    assert len(waiting(redis)[SEND_QUEUE]) == 4


def test_a_broker_that_is_not_there_is_told_and_not_waited_for():
    app = make_app("redis+socket:///nowhere/redis.sock")
    for publish in (Dispatch(app).send, Dispatch(app).feedback):
        with pytest.raises(BrokerError, match="did not take the task"):
            publish([1])
    app.close()


def test_a_broker_that_hangs_is_told_too(monkeypatch):
    monkeypatch.setattr("gateway.broker._SOCKET_TIMEOUT", 0.1)
    with Redis() as hanging:
        app = make_app(hanging.url)
        Dispatch(app).send([1])
        hanging.hang()
        with pytest.raises(BrokerError):
            Dispatch(app).send([1])
        hanging.go_on()
        Dispatch(app).send([2])
        app.close()


@pytest.mark.parametrize(
    ("ids", "shown"),
    [
        ([], "([],)"),
        ([4, 5], "([4, 5],)"),
        (list(range(10)), "([0, 1, 2, 3, 4, 5, 6, 7, 8, 9],)"),
        (list(range(1000, 1025)), "(25 ids from 1000,)"),
    ],
)
def test_what_flower_shows_of_the_ids_is_short(ids, shown):
    assert shorten(ids) == shown


def test_only_json_is_taken_and_nothing_is_kept():
    app = make_app("memory://")
    assert app.conf.accept_content == ["json"]
    assert app.conf.task_serializer == "json"
    assert app.conf.task_ignore_result is True
    assert app.conf.worker_send_task_events is True
    assert app.conf.task_create_missing_queues is False
    assert app.conf.broker_transport_options["visibility_timeout"] == 600
    app.close()


def test_the_broker_is_the_one_configured_else_the_one_that_up_noted(tmp_path):
    assert find_broker_url(Settings(data_dir=tmp_path)) == ""
    (tmp_path / "broker.url").write_text("redis+socket:///x/redis.sock\n")
    assert find_broker_url(Settings(data_dir=tmp_path)) == "redis+socket:///x/redis.sock"
    assert find_broker_url(Settings(data_dir=tmp_path, broker_url="redis://h")) == "redis://h"


# Hints


def test_hints_that_came_together_go_out_together():
    published, go_on = [], threading.Event()

    def publish(ids):
        assert go_on.wait(30)
        published.append(ids)

    hints = HintThread(publish)
    hints.offer(1)
    until(hints._hints._offered.empty)
    for id_ in (2, 3, 4):
        hints.offer(id_)
    go_on.set()
    until(lambda: len(published) == 2)
    assert published == [[1], [2, 3, 4]]
    hints.stop()


def test_the_first_hint_goes_out_at_once_and_those_after_it_share_a_task():
    published = []
    hints = HintThread(published.append, pause=3600)
    hints.offer(1)
    until(lambda: published == [[1]])
    for id_ in (2, 3, 4):
        hints.offer(id_)
    hints.stop()
    assert published == [[1], [2, 3, 4]]


def test_an_offer_never_waits_and_what_does_not_fit_is_dropped():
    go_on, published = threading.Event(), []

    def publish(ids):
        assert go_on.wait(30)
        published.extend(ids)

    hints = HintThread(publish, capacity=3)
    hints.offer(0)
    until(hints._hints._offered.empty)
    for id_ in range(1, 10):
        hints.offer(id_)
    go_on.set()
    until(lambda: len(published) == 4)
    assert published == [0, 1, 2, 3]
    hints.stop()


@pytest.mark.parametrize("error", [BrokerError("away"), TypeError("unforeseen")])
def test_a_hint_that_fails_does_not_end_the_thread(error):
    published = []

    def publish(ids):
        if ids == [1]:
            raise error
        published.extend(ids)

    hints = HintThread(publish)
    hints.offer(1)
    until(hints._hints._offered.empty)
    hints.offer(2)
    until(lambda: published == [2])
    hints.stop()


def test_stopping_publishes_what_waits_and_ends_the_thread():
    published = []
    hints = HintThread(published.extend)
    for id_ in range(600):
        hints.offer(id_)
    hints.stop()
    assert published == list(range(600))
    assert not hints._hints._thread.is_alive()


def test_a_hint_that_came_by_a_lost_connection_is_acknowledged_without_it(redis):
    app = make_app(redis.url)
    with app.connection_for_read() as connection:
        channel = connection.default_channel
        app.send_task("sesgate.send", ([1],), queue=SEND_QUEUE)
        message = until(lambda: channel.basic_get(SEND_QUEUE), what="the hint has come")
        lost, channel.connection = channel.connection, None
        message.ack()
        assert message.acknowledged
        channel.connection = lost
