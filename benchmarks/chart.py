"""A bar chart as SVG: what was found, its span, and the two limits of each bar."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

_WIDTH, _LEFT, _ROW, _TOP = 860, 400, 34, 44
_FONT = 'font-family="sans-serif" font-size="13"'
_INK, _FILL, _SHORT, _MUST, _GOAL = "#444", "#2f7d5b", "#c0782a", "#b02a2a", "#8a8a8a"


@dataclass(frozen=True, slots=True)
class Bars:
    """One path: the median of its ratios, their least and greatest, and what must and should be reached."""

    title: str
    found: float
    span: tuple[float, float]
    must: float | None
    goal: float | None


def draw(rows: Sequence[Bars]) -> str:
    """The chart; ratios from 0 to the greatest that occurs."""
    most = max([1.0, *(max(row.span[1], row.goal or 0.0, row.must or 0.0) for row in rows)])
    scale = (_WIDTH - _LEFT - 90) / most
    height = _TOP + _ROW * len(rows) + 10
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" {_FONT} fill="{_INK}">',
        f'<rect width="{_WIDTH}" height="{height}" fill="#fff"/>',
        f'<text x="{_LEFT}" y="18">times the peer in the same round: median, and the span of the rounds;</text>',
        f'<text x="{_LEFT}" y="34"><tspan fill="{_MUST}">red: must</tspan>, grey: goal</text>',
    ]
    for number, row in enumerate(rows):
        parts += _row(row, _TOP + number * _ROW, scale)
    return "\n".join([*parts, "</svg>", ""])


def _row(row: Bars, top: int, scale: float) -> Iterator[str]:
    low, high = (_LEFT + value * scale for value in row.span)
    middle = top + 12
    color = _FILL if row.must is None or row.found >= row.must else _SHORT
    yield f'<text x="{_LEFT - 10}" y="{top + 16}" text-anchor="end" font-size="12">{escape(row.title)}</text>'
    yield f'<rect x="{_LEFT}" y="{top}" width="{row.found * scale:.1f}" height="24" fill="{color}"/>'
    yield f'<path d="M{low:.1f} {middle}H{high:.1f}" stroke="#111" stroke-width="1.5"/>'
    for limit, stroke in ((row.must, _MUST), (row.goal, _GOAL)):
        if limit is not None:
            yield f'<path d="M{_LEFT + limit * scale:.1f} {top - 3}v30" stroke="{stroke}" stroke-width="2"/>'
    yield f'<text x="{max(high, _LEFT + (row.goal or 0) * scale) + 8:.1f}" y="{top + 17}">x {row.found:.2f}</text>'
