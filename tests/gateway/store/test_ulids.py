from __future__ import annotations

import subprocess
import sys

from gateway.store import ulids
from gateway.store.ulids import new_ulid


def test_ids_are_in_the_order_in_which_they_were_made_and_none_is_twice():
    many = [new_ulid() for _ in range(5000)]
    assert many == sorted(many)
    assert len(set(many)) == 5000
    assert {len(ulid) for ulid in many} == {26}


def test_each_has_randomness_of_its_own():
    randomness = ulids._Randomness()
    assert len({randomness(0) for _ in range(2000)}) == 2000


_PROGRAM = """
import os
from gateway.store import ulids
randomness = ulids._Randomness()
randomness(0)
child = os.fork()
os.write(1, randomness(0).hex().encode() + b"\\n")  # in one piece
if child:
    os.waitpid(child, 0)
"""


def test_a_child_uses_none_that_its_parent_uses():
    done = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True, timeout=60, check=True)
    assert len(set(done.stdout.split())) == 2
