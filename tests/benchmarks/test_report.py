"""Results as they are kept, and as the page shows them."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from benchmarks.__main__ import known
from benchmarks.frame import Bar, Figure, Kind, Plan, Series
from benchmarks.report import CHART, PAGE, chart, publish, written
from benchmarks.results import Result, keep, read_all

SERIES = (
    Series(
        Figure("a", "reached <all>", "mails/s", Bar(Kind.TIMES_AT_LEAST, 1.5, 2), "it"), [30, 20], [10, 10], {"f": 1}
    ),
    Series(Figure("b", "half reached", "mails/s", Bar(Kind.TIMES_AT_LEAST, 1.5, 2), "it"), [17, 17], [10, 10]),
    Series(Figure("c", "not reached", "mails/s", Bar(Kind.TIMES_AT_LEAST, 1.5, 2), "it"), [9, 9], [10, 10]),
    Series(Figure("d", "a size", "B", Bar(Kind.VALUE_AT_MOST, None, 64)), [65, 65]),
    Series(Figure("e", "a fact", "µs", Bar(Kind.VALUE_AT_MOST, None, None)), [7]),
)


def result(name: str = "one", **plan: object) -> Result:
    return Result(name, "2026-11-22T10:00:00+00:00", "abc", "a machine", 1.0, 0.5, 0.6, Plan(**plan), SERIES)  # type: ignore[arg-type]


def test_a_result_is_read_as_it_was_kept(tmp_path: Path) -> None:
    keep(result(), tmp_path)
    (found,) = read_all(tmp_path)
    assert [one.found for one in found.series] == [one.found for one in SERIES]
    assert found.plan == Plan()
    assert found.series[0].figure == SERIES[0].figure


def test_quick_runs_never_stand_in_the_place_of_measured_ones(tmp_path: Path) -> None:
    keep(result(quick=True), tmp_path)
    assert read_all(tmp_path) == []


def test_each_database_has_its_own_result(tmp_path: Path) -> None:
    keep(result(), tmp_path)
    keep(result(database="postgresql"), tmp_path)
    assert {found.plan.database for found in read_all(tmp_path)} == {"sqlite", "postgresql"}


def test_the_table_says_what_was_reached() -> None:
    lines = [line for line in written([result()]).splitlines() if line.startswith("| ")][1:]
    assert [line.split("|")[-2].strip() for line in lines] == [
        "goal reached",
        "must reached",
        "**not reached**",
        "goal not reached",
        "",
    ]
    assert "x 2.50 [2.00 to 3.00]" in lines[0]


def test_the_page_keeps_what_stands_around_the_marks(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- figures: begin -->\nold\n<!-- figures: end -->\nafter\n")
    publish([result()], page, tmp_path / "chart.svg")
    text = page.read_text()
    assert text.startswith("before\n<!-- figures: begin -->\n")
    assert text.endswith("<!-- figures: end -->\nafter\n")
    assert "old" not in text
    assert (tmp_path / "chart.svg").exists()


def test_a_page_without_marks_is_left_alone(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("nothing\n")
    with pytest.raises(ValueError, match="figures: begin"):
        publish([result()], page, tmp_path / "chart.svg")
    assert page.read_text() == "nothing\n"


def test_the_chart_is_well_formed_and_shows_every_path_with_a_peer() -> None:
    root = ET.fromstring(chart([result()]))
    texts = [element.text for element in root.iter() if element.text]
    assert [text for text in ("reached <all>", "half reached", "not reached") if text in texts] == texts[3:9:2]
    assert "a size" not in texts


def test_the_page_of_this_project_has_its_marks_and_its_chart() -> None:
    assert "<!-- figures: begin -->" in PAGE.read_text()
    assert "<!-- figures: end -->" in PAGE.read_text()
    ET.fromstring(CHART.read_text())


def test_every_bar_of_the_project_is_measured() -> None:
    bars = {figure.name: (figure.bar.must, figure.bar.goal) for one in known().values() for figure in one.figures}
    assert (
        bars
        | {
            "accept-kept": (1.8, 2.4),
            "accept-single": (1.3, 1.6),
            "accept-large": (0.9, 1.2),
            "accept-slow-disk": (2, 3),
            "accept-draining": (0.6, 0.8),
            "drain-0": (0.70, 0.85),
            "drain-50": (0.70, 0.85),
            "webhook": (0.35, 0.45),
            "end-to-end": (None, 500),
            "memory-receiving": (2.2, 2.2),
            "memory-redis": (64, 64),
        }
        == bars
    )
