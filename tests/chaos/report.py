"""The stored results as the Markdown table of docs/reliability.md."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tests.chaos.results import Result, Results
from tests.chaos.scenario import Scenario, Tier

_HEAD = "| row | what is shown | passes when | figures | command | tier, commit, date |\n|---|---|---|---|---|---|"
_BEGIN, _END = "<!-- figures: begin -->", "<!-- figures: end -->"


def table(scenarios: Iterable[Scenario], results: Results) -> str:
    """One line for each scenario: its result of the longest tier that was run."""
    return "\n".join([_HEAD, *(_line(one, _best(one, results)) for one in scenarios)])


def put_between_marks(page: str, written: str) -> str:
    """The page with the table in its place; ValueError when the page has no marks."""
    before, begin, rest = page.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not (begin and end):
        raise ValueError(f"the page has no {_BEGIN} and {_END}")
    return f"{before}{_BEGIN}\n{written}\n{_END}{after}"


def _best(one: Scenario, results: Results) -> Result | None:
    found = (results.find(one.name, tier) for tier in reversed(Tier))
    return next((result for result in found if result), None)


def _line(one: Scenario, result: Result | None) -> str:
    if result is None:
        return f"| {one.name} | {one.title} | {one.passes} | not run | `{_command(one, None)}` | |"
    figures = "; ".join(_told(result))
    when = f"{result.tier}, {result.commit}, {result.at[:10]}"
    return f"| {one.name} | {one.title} | {one.passes} | {figures} | `{_command(one, result)}` | {when} |"


def _told(result: Result) -> Iterator[str]:
    yield f"**{result.outcome}**"
    if result.outcome != "passed":
        yield from (sentence.replace("\n", " ").replace("|", "/")[:200] for sentence in result.sentences)
    for name, value in result.figures.items():
        yield f"{name} {value:,}" if isinstance(value, int) else f"{name} {value}"


def _command(one: Scenario, result: Result | None) -> str:
    tier = result.tier if result else next(reversed(list(one.tiers)))
    return f"python -m tests.chaos run {one.name} --tier {tier}"
