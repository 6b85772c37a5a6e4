from __future__ import annotations

import json
import subprocess
import sys
import threading

from gateway.store.fork import ForkGuard
from tests.support.mail import accept
from tests.support.stores import sqlite_stores
from tests.support.waiting import until

# A parent that reads and writes in threads, and children that write, read and end; some are killed in their midst.
SQLITE_ONLY = True

_PROGRAM = """
import json, os, signal, sys, threading, time
from pathlib import Path
from gateway.settings import Settings
from gateway.store.stores import open_stores

stores = open_stores(Settings(data_dir=Path(sys.argv[1])))
stop = threading.Event()

def read():
    while not stop.is_set():
        stores.sending.outlook()

def write():
    while not stop.is_set():
        stores.control.put("parent", {"text": "x" * 3000})

threads = [threading.Thread(target=work) for work in (read, read, read, write)]
for thread in threads:
    thread.start()

def child(number):
    if number % 3 == 0:
        while True:  # until it is killed, maybe with the gate shut
            stores.control.put("killed", {"by": number})
    stores.control.put(f"child {number}", {"number": number})
    os._exit(0 if stores.control.get(f"child {number}") == {"number": number} else 1)

failed = []
for number in range(30):
    pid = os.fork()
    if pid == 0:
        try:
            child(number)
        finally:
            os._exit(2)
    if number % 3 == 0:
        time.sleep(0.02)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        continue
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code:
        failed.append((number, code))
stop.set()
for thread in threads:
    thread.join()
stores.control.put("after", {})
stores.close()
print(json.dumps(failed))
"""

# The parent's writer waits at the gate while it forks; the child must not keep the gate shut by what it inherits.
_LINGERING_CHILD = """
import os, sys
from pathlib import Path
from gateway.settings import Settings
from gateway.store.stores import open_stores

stores = open_stores(Settings(data_dir=Path(sys.argv[1])))
stores.control.put("warm", {})
if os.fork() == 0:
    sys.stdin.readline()
    os._exit(0)
stores.control.put("parent", {})
print("written", flush=True)
os.wait()
"""


def test_children_read_and_write_while_the_parent_does(tmp_path):
    sqlite_stores(tmp_path).close()
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, str(tmp_path)], capture_output=True, text=True, timeout=100, check=True
    )
    assert json.loads(done.stdout) == []
    stores = sqlite_stores(tmp_path)
    assert {stores.control.get(f"child {number}")["number"] for number in range(30) if number % 3} == {
        number for number in range(30) if number % 3
    }
    stores.close()


def test_a_child_that_lingers_does_not_keep_the_gate_shut(tmp_path):
    stores = sqlite_stores(tmp_path)
    with subprocess.Popen(
        [sys.executable, "-c", _LINGERING_CHILD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout.readline() == b"written\n"
        accept(stores)
        process.stdin.write(b"\n")
    stores.close()


def test_no_connection_is_open_at_the_moment_of_a_fork(stores):
    accept(stores)
    stores.sending.outlook()
    stores.db.before_fork()
    try:
        assert not stores.db.peewee._connections
        assert not stores.db.peewee._in_use
    finally:
        stores.db.after_fork_in_parent()
    accept(stores)


def test_a_fork_waits_for_who_is_inside_and_lets_nobody_in():
    guard = ForkGuard()
    leave, forked, entered = threading.Event(), [], []

    def inside():
        with guard:
            assert leave.wait(30)

    def fork():
        forked.append(guard.before_fork())

    def enter():
        with guard:
            entered.append(list(forked))

    first = threading.Thread(target=inside)
    first.start()
    until(lambda: guard._inside)
    forking = threading.Thread(target=fork)
    forking.start()
    until(lambda: guard._forking)
    late = threading.Thread(target=enter)
    late.start()
    leave.set()
    forking.join(30)
    assert forked == [True]
    assert entered == []
    guard.after_fork_in_parent()
    late.join(30)
    first.join(30)
    assert entered == [[True]]


def test_a_fork_goes_on_without_those_who_do_not_leave(monkeypatch):
    monkeypatch.setattr("gateway.store.fork._PATIENCE", 0.01)
    guard = ForkGuard()
    with guard:
        assert guard.before_fork() is False
        guard.after_fork_in_parent()
    assert guard.before_fork() is True
    guard.after_fork_in_parent()
