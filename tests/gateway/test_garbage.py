from __future__ import annotations

import signal
import subprocess
import sys
from textwrap import dedent

from gateway.store.schema import migrate
from tests.support.environment import own_environment
from tests.support.garbage import Frozen
from tests.support.ports import free_port
from tests.support.stores import sqlite_settings
from tests.support.waiting import until

PROGRAM = dedent("""
    import gc, os, weakref
    from gateway.garbage import spare_what_is_loaded

    class Knot:
        def __init__(self):
            self.itself = self

    seen = []
    gc.disable()
    before = weakref.ref(Knot())
    spare_what_is_loaded()
    assert before() is None
    assert gc.get_freeze_count() > 1000
    assert len(gc.get_objects()) < 1000

    later = weakref.ref(knot := Knot())
    kept = gc.get_freeze_count()
    spare_what_is_loaded()
    assert gc.get_freeze_count() == kept
    del knot
    gc.collect()
    assert later() is None

    if os.fork() == 0:
        spare_what_is_loaded()
        os._exit(0 if gc.get_freeze_count() > kept else 1)
    assert os.wait()[1] == 0
""")


def test_what_is_garbage_goes_and_each_process_spares_what_it_has_once():
    subprocess.run([sys.executable, "-c", PROGRAM], check=True, timeout=60)


def test_the_front_leaves_out_what_it_has_loaded(tmp_path):
    migrate(sqlite_settings(tmp_path).database, "sandbox")
    frozen = Frozen(tmp_path)
    environ = {
        **own_environment(),
        **frozen.environ,
        "SESGATE_DATA_DIR": str(tmp_path),
        "SESGATE_LISTENERS": f"127.0.0.1:{free_port()}",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
    }
    argv = [sys.executable, "-m", "gateway.cli", "smtp"]
    with subprocess.Popen(argv, env=environ, stderr=subprocess.DEVNULL) as front:
        try:
            until(lambda: front.pid in frozen.pids() or front.poll() is not None, what="it is up")
            front.send_signal(signal.SIGTERM)
            assert front.wait(30) == 0
        finally:
            front.kill()
