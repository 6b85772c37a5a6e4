"""The frame of the rig: what a scenario may do, and what is kept of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.chaos.perform import perform
from tests.chaos.report import put_between_marks, table
from tests.chaos.results import Result, Results
from tests.chaos.scenario import Run, Scenario, Skipped, Tier


def made(play: Callable[[Run], None]) -> Scenario:
    return Scenario("99", "A title", "all is well", {Tier.SHORT: 5}, play)


def performed(play: Callable[[Run], None], directory: Path) -> Result:
    return perform(made(play), Tier.SHORT, directory / "run", say=lambda text: None)


def test_a_scenario_without_a_failed_check_passes_and_its_figures_are_kept(tmp_path: Path) -> None:
    def play(run: Run) -> None:
        run.figure("lost", 0)
        run.check(condition=True, sentence="nothing is lost")

    result = performed(play, tmp_path)
    assert (result.outcome, result.figures, result.sentences) == ("passed", {"lost": 0}, [])
    assert not (tmp_path / "run").exists()


def test_a_failed_check_fails_it_and_its_directory_stays(tmp_path: Path) -> None:
    def play(run: Run) -> None:
        run.check(condition=False, sentence="nothing is lost")
        run.figure("lost", 3)

    result = performed(play, tmp_path)
    assert (result.outcome, result.figures, result.sentences) == ("failed", {"lost": 3}, ["nothing is lost"])
    assert (tmp_path / "run").is_dir()


def test_an_error_fails_it_after_everything_it_started_has_ended(tmp_path: Path) -> None:
    ended = []

    def play(run: Run) -> None:
        run.stack.callback(ended.append, "ended")
        raise RuntimeError("a program did not start")

    result = performed(play, tmp_path)
    assert result.outcome == "failed"
    assert "a program did not start" in result.sentences[0]
    assert ended == ["ended"]


@pytest.mark.parametrize("reason", [Skipped("strace is not installed"), pytest.skip.Exception("no redis-server")])
def test_what_a_machine_lacks_skips_it(reason: BaseException, tmp_path: Path) -> None:
    def play(run: Run) -> None:
        raise reason

    result = performed(play, tmp_path)
    assert result.outcome == "skipped"
    assert result.sentences == [str(reason)]


def test_ctrl_c_ends_the_rig_and_what_the_scenario_started(tmp_path: Path) -> None:
    ended = []

    def play(run: Run) -> None:
        run.stack.callback(ended.append, "ended")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        performed(play, tmp_path)
    assert ended == ["ended"]


def test_results_are_found_again_by_another_reader(tmp_path: Path) -> None:
    file = tmp_path / "chaos" / "results.json"
    result = Result("99", Tier.SHORT, "passed", "abc", "2026-11-22T10:00:00+00:00", 1.0, {"lost": 0})
    Results(file).add(result)
    assert Results(file).find("99", Tier.SHORT) == result
    assert Results(file).find("99", Tier.LONG) is None
    assert Results(file).find("99", Tier.SHORT, mutant="wal-normal") is None


def test_two_runs_at_once_keep_each_others_results(tmp_path: Path) -> None:
    file, at = tmp_path / "results.json", "2026-11-22T10:00:00+00:00"
    one, other = Results(file), Results(file)
    one.add(Result("1", Tier.SHORT, "passed", "abc", at, 1.0))
    other.add(Result("2", Tier.SHORT, "passed", "abc", at, 1.0))
    assert Results(file).find("1", Tier.SHORT) is not None
    assert Results(file).find("2", Tier.SHORT) is not None


def test_the_table_tells_figures_command_and_reason_of_the_longest_tier(tmp_path: Path) -> None:
    results = Results(tmp_path / "results.json")
    results.add(Result("99", Tier.SHORT, "passed", "abc", "2026-11-22T10:00:00+00:00", 1.0, {"sent": 1}))
    assert "**passed**; sent 1 " in table([made(print)], results)
    results.add(
        Result("99", Tier.LONG, "failed", "abc", "2026-11-22T10:00:00+00:00", 1.0, {"sent": 9000}, ["1 is lost"])
    )
    assert "**failed**; 1 is lost; sent 9,000 | `python -m tests.chaos run 99 --tier long`" in table(
        [made(print)], results
    )


def test_the_table_takes_its_place_in_a_page() -> None:
    page = "Text.\n<!-- figures: begin -->\nold\n<!-- figures: end -->\nMore.\n"
    assert put_between_marks(page, "new") == page.replace("old", "new")
    with pytest.raises(ValueError, match="no <!-- figures: begin -->"):
        put_between_marks("Text.", "new")
