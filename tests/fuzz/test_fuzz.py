"""The short form of `make fuzz`: everything that is kept, some inputs made of it, and some sessions."""

from __future__ import annotations

import pytest

from gateway.smtp import data
from tests.fuzz import corpus_files
from tests.fuzz.corpus_files import COMMITTED
from tests.fuzz.mutator import FoundError, Mutator, fuzz, run_once
from tests.fuzz.sessions import play
from tests.fuzz.targets import TARGETS, Target

CHILDREN = 400


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.setattr(corpus_files, "COMMITTED", tmp_path / "committed")
    monkeypatch.setattr(corpus_files, "FOUND", tmp_path / "found")
    return tmp_path


@pytest.mark.parametrize("name", TARGETS)
def test_what_is_kept_and_what_is_made_of_it_is_taken_as_it_should_be(name, elsewhere):
    target = TARGETS[name]
    kept = [file.read_bytes() for file in sorted((COMMITTED / name).iterdir())]
    mutator = Mutator(target.words, seed=1)
    for one in (*kept, *(mutator.child(kept) for _ in range(CHILDREN))):
        run_once(name, target, one)


def test_corpus_has_no_target_that_is_gone():
    assert {directory.name for directory in COMMITTED.iterdir()} == set(TARGETS)


def test_engine_finds_a_fault_and_keeps_the_input_that_shows_it(elsewhere):
    def check(given: bytes) -> None:
        assert b"ab" not in given

    with pytest.raises(FoundError, match="planted fails with AssertionError"):
        fuzz("planted", Target(check, (b"a", b"b")), seconds=60, seed=1)
    (kept,) = (elsewhere / "committed" / "planted").iterdir()
    assert b"ab" in kept.read_bytes()


def test_sessions_go_as_the_model_says():
    assert play(examples=25, seed=1) >= 25


def test_sessions_notice_content_that_is_not_what_was_sent(monkeypatch):
    monkeypatch.setattr(data, "_unstuffed", lambda content: content)
    with pytest.raises(AssertionError):
        play(examples=200, seed=1, shrink=False)
