"""The results as they stand in docs/performance.md: a table, a chart, and on what it was measured."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from benchmarks.chart import Bars, draw
from benchmarks.frame import Kind, Plan, Series
from benchmarks.programs import ROOT
from benchmarks.results import Result

PAGE = ROOT / "docs" / "performance.md"
CHART = ROOT / "docs" / "performance.svg"
_BEGIN, _END = "<!-- figures: begin -->", "<!-- figures: end -->"
_HEAD = "| path | sesgate | peer | ratio, median [min to max] | must | goal | |\n|---|---:|---:|---:|---:|---:|---|"


def written(results: Iterable[Result]) -> str:
    """The Markdown between the marks."""
    found = list(results)
    lines = [line for result in found for line in _lines(result)]
    notes = [f"- `{result.name}`: {_origin(result)}" for result in found]
    picture = "![How many times the peer's figure each path reaches, and what must be reached](performance.svg)"
    return "\n".join(["", picture, "", _HEAD, *lines, "", *notes, *_machines(found), ""])


def publish(results: Sequence[Result], page: Path = PAGE, picture: Path = CHART) -> None:
    """Put the table between the marks of the page, and draw the chart beside it; ValueError without the marks."""
    text = page.read_text(encoding="utf-8")
    before, begin, rest = text.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not (begin and end):
        raise ValueError(f"{page} has no {_BEGIN} and {_END}")
    page.write_text(f"{before}{_BEGIN}\n{written(results)}\n{_END}{after}", encoding="utf-8")
    picture.write_text(chart(results), encoding="utf-8")


def chart(results: Iterable[Result]) -> str:
    series = [
        (one, _apart(result))
        for result in results
        for one in result.series
        if one.figure.bar.kind is Kind.TIMES_AT_LEAST
    ]
    return draw(
        [
            Bars(one.figure.title + apart, one.found, _span(one), one.figure.bar.must, one.figure.bar.goal)
            for one, apart in series
        ]
    )


def _span(series: Series) -> tuple[float, float]:
    return min(series.ratios), max(series.ratios)


def _lines(result: Result) -> Iterator[str]:
    if result.skipped:
        yield f"| {result.name} | not measured: {result.skipped} | | | | | |"
    for series in result.series:
        yield _line(series, _apart(result))


def _apart(result: Result) -> str:
    """What tells it from another result of the same path."""
    plan, usual = result.plan, Plan()
    database = "" if plan.database == usual.database else ", PostgreSQL"
    rate = "" if plan.rate == usual.rate else f", account of {plan.rate:,.0f}/s"
    return database + rate + ("" if plan.fronts == usual.fronts else f", {plan.fronts} fronts")


def _line(series: Series, apart: str) -> str:
    figure = series.figure
    bar = figure.bar
    ours = f"{_number(statistics.median(series.ours))} {figure.unit}"
    peer = f"{_number(statistics.median(series.peers))}" if series.peers else "–"
    title = figure.title + apart + (f"; peer: {figure.peer}" if figure.peer else "")
    return (
        f"| {title} | {ours} | {peer} | {_ratio(series)} | {_limit(bar.kind, bar.must)} |"
        f" {_limit(bar.kind, bar.goal)} | {_verdict(series)} |"
    )


def _ratio(series: Series) -> str:
    if not series.peers:
        values = series.ours
        return "–" if len(values) == 1 else f"[{_number(min(values))} to {_number(max(values))}]"
    low, high = _span(series)
    return f"x {statistics.median(series.ratios):.2f} [{low:.2f} to {high:.2f}]"


def _limit(kind: Kind, limit: float | None) -> str:
    if limit is None:
        return "–"
    return f"x {limit:g}" if kind is Kind.TIMES_AT_LEAST else f"≤ {limit:g}"


def _verdict(series: Series) -> str:
    bar, found = series.figure.bar, series.found
    if bar.must is None and bar.goal is None:
        return ""
    if bar.reached(bar.goal, found):
        return "goal reached"
    if bar.reached(bar.must, found):
        return "must reached"
    return "**not reached**" if bar.must is not None else "goal not reached"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:,.2f}"  # noqa: PLR2004  digits that mean something


def _origin(result: Result) -> str:
    facts = [f"{name} {_number(value)}" for series in result.series for name, value in series.facts.items()]
    others = max((series.disturbed for series in result.series), default=0.0)
    when = f"{result.at[:10]}, commit {result.commit}, other programs took at most {others:.0%} before a round"
    return f"`{result.command}`; {when}" + (f"; {', '.join(facts)}" if facts else "")


def _machines(results: Iterable[Result]) -> list[str]:
    return [f"- Measured on {machine}" for machine in dict.fromkeys(result.machine for result in results)]
