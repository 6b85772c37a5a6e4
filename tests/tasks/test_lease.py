from __future__ import annotations

import threading

import pytest

from gateway.store.control import Lease
from gateway.store.errors import StoreUnavailableError
from tasks.lease import LeaseKeeper, Watch
from tests.support.mail import lease_of
from tests.support.waiting import until


@pytest.mark.parametrize(
    ("looks", "answers"),
    [
        # A lease that nobody holds is free at once.
        ([(Lease("", 0, 0), 0.0)], [True]),
        ([(Lease("", 7, 3), 0.0)], [True]),
        # A held one is free when it stood still for its time.
        ([(Lease("a", 1, 1), 0.0), (Lease("a", 1, 1), 4.9), (Lease("a", 1, 1), 5.0)], [False, False, True]),
        # Each beat, each epoch begins the wait anew.
        ([(Lease("a", 1, 1), 0.0), (Lease("a", 1, 2), 4.9), (Lease("a", 1, 2), 9.8)], [False, False, False]),
        ([(Lease("a", 1, 1), 0.0), (Lease("b", 2, 1), 5.0), (Lease("b", 2, 1), 10.0)], [False, False, True]),
        # What was seen long ago and differs now says nothing.
        ([(Lease("a", 1, 1), 0.0), (Lease("a", 1, 9), 100.0)], [False, False]),
    ],
)
def test_when_a_standby_may_take_over(looks, answers):
    watch = Watch(5.0)
    assert [watch.may_take(lease, now) for lease, now in looks] == answers


def keeper(stores, holder="standby", seconds=0.3, stopping=None):
    return LeaseKeeper(stores.control, holder, seconds, stopping or threading.Event())


def test_a_free_lease_is_taken(stores):
    assert keeper(stores).wait() == Lease("standby", 1, 0)


def test_a_lease_whose_holder_stopped_beating_is_taken_over(stores):
    dead = lease_of(stores, "dead")
    assert keeper(stores).wait().epoch == dead.epoch + 1


def test_a_standby_that_is_stopped_takes_nothing(stores):
    lease_of(stores, "holder")
    stopping = threading.Event()
    stopping.set()
    assert keeper(stores, stopping=stopping).wait() is None
    assert stores.control.read_lease().holder == "holder"


def test_the_lease_is_kept_while_the_loop_moves(stores):
    holder = keeper(stores, "holder")
    lease = holder.wait()
    ticks = iter(range(10**9))
    with holder.beating(lease, lambda: next(ticks)) as lost:
        until(lambda: stores.control.read_lease().beat >= 3)
        assert not lost.is_set()


def test_a_loop_that_hangs_stops_beating(stores):
    holder = keeper(stores, "holder")
    lease = holder.wait()
    asked = []

    def stuck():
        asked.append(True)
        return 7

    with holder.beating(lease, stuck):
        until(lambda: len(asked) >= 4)
        assert stores.control.read_lease().beat == 1
        assert keeper(stores).wait().holder == "standby"


def test_a_holder_learns_that_it_lost_the_lease(stores):
    holder = keeper(stores, "holder")
    lease = holder.wait()
    ticks = iter(range(10**9))
    with holder.beating(lease, lambda: next(ticks)) as lost:
        lease_of(stores, "other")
        assert lost.wait(30)


def test_a_beat_that_the_database_does_not_take_is_tried_again(stores, monkeypatch):
    holder = keeper(stores, "holder")
    lease = holder.wait()
    ticks = iter(range(10**9))
    beat, failures = stores.control.beat, []

    def failing(lease):
        if len(failures) < 2:
            failures.append(True)
            raise StoreUnavailableError("busy")
        return beat(lease)

    monkeypatch.setattr(stores.control, "beat", failing)
    with holder.beating(lease, lambda: next(ticks)) as lost:
        until(lambda: stores.control.read_lease().beat >= 1)
        assert not lost.is_set()
