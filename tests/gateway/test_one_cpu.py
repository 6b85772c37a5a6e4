from __future__ import annotations

import os
import subprocess
import sys
import time
from textwrap import dedent

import pytest

from gateway.one_cpu import OneCpu, busy_seconds, choose, pause
from tests.support.affinity import CPUS, two_cpus

STAT = """\
cpu  300 0 100 1000 50 0 10 5 0 0
cpu0 100 10 50 500 20 3 5 2 7 7
cpu12 200 0 50 500 30 0 5 3
intr 12345 0 1
ctxt 99
"""


def test_busy_is_all_but_idle_and_waiting_for_disks():
    tick = os.sysconf("SC_CLK_TCK")
    assert busy_seconds(STAT) == {0: 170 / tick, 12: 258 / tick}


def test_without_lines_of_cpus_nothing_is_known():
    assert busy_seconds("cpu  300 0 100 1000\nctxt 99\n") == {}


@pytest.mark.parametrize(
    ("others", "current", "drawn_from"),
    [
        ({0: 0.0, 1: 0.0}, None, [0, 1]),
        ({0: 0.9, 1: 0.0}, None, [1]),
        ({0: 0.9, 1: 0.0, 2: 0.1, 3: 0.4}, 0, [1, 2]),
        ({0: 0.2, 1: 0.0}, 0, None),  # not clearly more room
        ({0: 0.6, 1: 0.3}, 0, None),
        ({0: 1.0, 1: 1.0}, 1, None),
        ({0: 0.5, 1: 0.1}, 0, [1]),
        ({1: 0.5}, 0, [1]),  # ours is gone
    ],
)
def test_it_moves_where_clearly_more_room_is(others, current, drawn_from):
    asked = []
    chosen = choose(others, current, draw=lambda among: asked.append(list(among)) or among[0])
    assert asked == ([] if drawn_from is None else [drawn_from])
    assert chosen == (current if drawn_from is None else drawn_from[0])


@pytest.mark.parametrize(
    ("looked", "drawn", "seconds"), [(0.0, 0.07, 0.07), (0.0001, 0.12, 0.12), (0.002, 0.12, 0.4), (0.05, 0.05, 10.0)]
)
def test_looking_takes_next_to_nothing_of_a_cpu(looked, drawn, seconds):
    assert pause(looked, draw=lambda _least, _most: drawn) == pytest.approx(seconds)


def test_the_dearer_a_look_is_the_longer_it_is_until_the_next(monkeypatch):
    pauses = []

    def busy():
        if len(pauses) == 2:
            raise OSError("the test is over")
        began = time.thread_time()
        while time.thread_time() - began < 0.01:
            pass
        return {0: 0.0, 1: 0.0}

    monkeypatch.setattr("gateway.one_cpu.time.sleep", pauses.append)
    OneCpu({0, 1}, busy=busy, pin=lambda _cpus: None).run()
    assert pauses[0] < 1
    assert pauses[1] >= 2


class Machine:
    """CPUs whose work a test says, and where the process was put."""

    def __init__(self, *cpus):
        self.busy = dict.fromkeys(cpus, 0.0)
        self.own = 0.0
        self.pinned = []
        self.error = None

    def pin(self, cpus):
        if self.error is not None:
            raise self.error
        self.pinned += cpus

    def process(self, *allowed):
        return OneCpu(allowed, busy=lambda: dict(self.busy), own=lambda: self.own, pin=self.pin)

    def work(self, cpu):
        """Of the process, on this CPU: far more than the time that goes by in a test."""
        self.busy[cpu] += 1e6
        self.own += 1e6


def test_a_busy_cpu_is_left_for_one_with_room():
    machine = Machine(0, 1)
    process = machine.process(0, 1)
    assert process.move()
    (first,) = machine.pinned
    assert process.move()
    assert machine.pinned == [first]
    machine.work(first)
    machine.busy[first] += 1e6
    assert process.move()
    assert machine.pinned == [first, 1 - first]


def test_a_process_that_rests_stays_where_it_is():
    """Else all that rest would meet where there is room, and begin there together."""
    machine = Machine(0, 1)
    process = machine.process(0, 1)
    process.move()
    (first,) = machine.pinned
    machine.busy[first] += 1e6
    assert process.move()
    assert machine.pinned == [first]


def test_what_is_not_allowed_is_no_choice():
    machine = Machine(0, 1, 2)
    process = machine.process(1)
    for cpu in (1, 1, 0):
        assert process.move()
        machine.work(cpu)
    assert machine.pinned == [1]


def test_what_this_process_does_itself_is_no_reason_to_move():
    machine = Machine(0, 1)
    process = machine.process(0, 1)
    process.move()
    (first,) = machine.pinned
    machine.work(first)
    assert process.move()
    assert machine.pinned == [first]


@pytest.mark.parametrize("error", [PermissionError("not here"), OSError("no such CPU")])
def test_where_it_is_not_allowed_the_kernel_decides(error):
    machine = Machine(0, 1)
    machine.error = error
    process = machine.process(0, 1)
    assert not process.move()
    process.run()  # ends


@pytest.mark.parametrize("told", [(), (0,), (1, 2)])
def test_where_the_system_does_not_tell_of_each_cpu_the_kernel_decides(told):
    machine = Machine(*told)
    assert not machine.process(0, 1).move()
    assert machine.pinned == []


def test_who_leaves_has_all_cpus_again_and_stays_nowhere():
    machine = Machine(0, 1)
    process = machine.process(0, 1)
    process.move()
    process.leave()
    assert sorted(machine.pinned[1:]) == [0, 1]
    assert not process.move()


def test_who_cannot_look_any_more_has_all_cpus_again():
    machine = Machine(0, 1)
    process = machine.process(0, 1)
    process.move()
    machine.busy.clear()
    assert not process.move()
    assert sorted(machine.pinned[1:]) == [0, 1]


PROGRAM = dedent("""
    import os, threading, time
    from gateway.one_cpu import leave_one_cpu, stay_on_one_cpu

    def masks():
        return {frozenset(os.sched_getaffinity(int(thread))) for thread in os.listdir("/proc/self/task")}

    go = threading.Event()
    before = threading.Thread(target=go.wait)
    before.start()
    stay_on_one_cpu()
    stay_on_one_cpu()
    after = threading.Thread(target=go.wait)
    after.start()
    print(threading.active_count(), *sorted(len(mask) for mask in masks()), len(masks()), flush=True)
    child = os.fork()
    if not child:
        # What was allowed to the parent in the beginning is still there to be chosen.
        import gateway.one_cpu
        print(len(gateway.one_cpu._ALLOWED), flush=True)
        os._exit(0)
    os.waitpid(child, 0)
    leave_one_cpu()
    print(*{len(mask) for mask in masks()}, "left", flush=True)
    go.set()
""")


@two_cpus
def test_all_threads_of_a_process_are_on_one_cpu_and_a_child_may_choose_anew():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=True)
    lines = sorted(done.stdout.split("\n"))
    cpus = len(CPUS)
    # Its own thread, the first, the second, and the one that looks: all on one; then all of them may be anywhere.
    assert lines == sorted(["", "4 1 1", str(cpus), f"{cpus} left"])
