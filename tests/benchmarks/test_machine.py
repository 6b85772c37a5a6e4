"""What is said of the machine."""

from __future__ import annotations

from benchmarks.machine import described, wait_for_calm


def test_it_does_not_wait_longer_than_it_was_told_for_others_to_be_done() -> None:
    assert 0 <= wait_for_calm(0, enough=0, look=0.05) <= 1


def test_a_machine_that_is_calm_enough_is_not_waited_for() -> None:
    assert 0 <= wait_for_calm(3600, enough=1.1, look=0.05) <= 1


def test_it_is_described_in_one_line_with_what_else_is_to_be_known() -> None:
    assert "SQLite" in described("Postfix 3.7")
    assert "; Postfix 3.7; " in described("Postfix 3.7")
