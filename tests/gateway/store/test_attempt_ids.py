"""Ids of attempts."""

from __future__ import annotations

import re

import pytest

from gateway.store.attempt_ids import new_attempt_id, new_attempt_ids


def test_an_id_is_32_hex_digits_and_never_the_same():
    ids = {new_attempt_id() for _ in range(1000)}
    assert len(ids) == 1000
    assert all(re.fullmatch(r"[0-9a-f]{32}", one) for one in ids)


@pytest.mark.parametrize("number", [0, 1, 64])
def test_those_of_a_group_are_as_different_as_any(number):
    ids = new_attempt_ids(number)
    assert len({one[12:] for one in ids}) == number
    assert all(re.fullmatch(r"[0-9a-f]{32}", one) for one in ids)


def test_what_is_made_later_stands_later_in_the_index(monkeypatch):
    moments = iter([1_764_000_000_000_000_000, 1_764_000_000_001_000_000, 9_999_000_000_000_000_000])
    monkeypatch.setattr("time.time_ns", lambda: next(moments))
    ids = [new_attempt_id() for _ in range(3)]
    assert ids == sorted(ids)


def test_the_random_part_of_an_id_cannot_be_guessed_from_another_of_the_same_moment(monkeypatch):
    monkeypatch.setattr("time.time_ns", lambda: 1_764_000_000_000_000_000)
    one, other = new_attempt_ids(2)
    assert one[:12] == other[:12]
    assert sum(a != b for a, b in zip(one[12:], other[12:], strict=True)) > 10
