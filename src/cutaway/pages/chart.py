"""A small line chart as SVG: thin rules, direct labels, colours left to the page's style."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from cutaway.pictures.colours import number
from cutaway.pictures.curves import Series
from cutaway.words import Words

WIDTH, HEIGHT = 520, 208
LEFT, RIGHT, TOP, BOTTOM = 44, 92, 12, 24


def chart_svg(chart: Sequence[Series], what: str, unit: str, words: Words, *, share: bool = False) -> str:
    """The lines of `chart` as one SVG, or a sentence where there is none.

    Args:
        chart: the lines; their names are keys of the catalogue, `chart.NAME`, and classes of the style.
        what: what stands on the upright axis, in the language of `words`.
        unit: of the level axis, in that language.
        words: the catalogue.
        share: whether the values are shares, shown as percentages.
    """
    if not chart:
        return f'<p class="faint">{escape(words("chart.nothing", what=what))}</p>'
    across = _Axis(0, max(max(series.x) for series in chart), LEFT, WIDTH - RIGHT)
    values = [value for series in chart for value in _typical(series)]
    room = (max(values) - min(values)) * 0.05
    upright = _Axis(min(values) - room, max(values) + room, HEIGHT - BOTTOM, TOP)
    parts = [*_rules(upright, share), *_feet(across, unit)]
    for series in chart:
        points = " ".join(f"{across(x):.1f},{upright(y):.1f}" for x, y in zip(series.x, series.y, strict=True))
        parts.append(f'<polyline class="{series.name}" points="{points}"/>')
    parts += _names([series for series in chart if series.name != "batches"], across, upright, words)
    cursor = f'<line class="cursor" x1="0" x2="0" y1="{TOP}" y2="{HEIGHT - BOTTOM}" data-left="{LEFT}" '
    parts.append(cursor + f'data-unit="{(WIDTH - RIGHT - LEFT) / across.high:.4f}" hidden="hidden"/>')
    label = escape(f"{what}: {spoken(chart, unit, words, share=share)}")
    return f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">{"".join(parts)}</svg>'


def spark_svg(values: Sequence[float], label: str) -> str:
    """A small curve without axes for one line of a table; `label` says it in words and numbers."""
    if len(values) < 2:
        return ""
    across, upright = _Axis(0, len(values) - 1, 1, 95), _Axis(min(values), max(values), 18, 2)
    points = " ".join(f"{across(x):.1f},{upright(y):.1f}" for x, y in enumerate(values))
    name = escape(label)
    dot = f'<circle class="validation" cx="95" cy="{upright(values[-1]):.1f}" r="2"/>'
    line = f'<polyline class="validation" points="{points}"/>'
    return f'<svg class="spark" viewBox="0 0 98 20" role="img" aria-label="{name}">{line}{dot}</svg>'


def spoken(chart: Sequence[Series], unit: str, words: Words, *, share: bool = False) -> str:
    """The first and last value of each line, for those who hear the page."""
    parts = [
        words(
            "chart.spoken",
            name=words(f"chart.{series.name}"),
            first=_text(series.y[0], share),
            last=_text(series.y[-1], share),
            unit=unit,
            end=number(series.x[-1]),
        )
        for series in chart
        if series.name != "batches"
    ]
    return "; ".join(parts)


def _text(value: float, share: bool) -> str:
    return f"{value:.1%}" if share else number(value)


class _Axis:
    """Values from `low` to `high` onto pixels from `start` to `end`."""

    def __init__(self, low: float, high: float, start: float, end: float) -> None:
        self.low, self.high = low, high if high > low else low + 1
        self.start, self.end = start, end

    def __call__(self, value: float) -> float:
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self, count: int) -> list[float]:
        """About `count` round values inside."""
        raw = (self.high - self.low) / count
        power = 10.0 ** math.floor(math.log10(raw))
        step = power * next(factor for factor in (1, 2, 5, 10) if factor * power >= raw * 0.999)
        first = math.ceil(self.low / step - 1e-9)
        return [step * index for index in range(first, math.floor(self.high / step + 1e-9) + 1)]


def _typical(series: Series) -> list[float]:
    """The values of a series without the few wild ones of single batches at the very start."""
    if series.name != "batches" or len(series.y) < 20:
        return list(series.y)
    ordered = sorted(series.y)
    return ordered[: math.ceil(len(ordered) * 0.98)]


def _rules(upright: _Axis, share: bool) -> list[str]:
    parts = []
    for value in upright.ticks(4):
        height = f"{upright(value):.1f}"
        text = f"{value:.0%}" if share and upright.high - upright.low > 0.05 else f"{value:.3g}"
        parts.append(f'<line class="rule" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{height}" y2="{height}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{height}" dy="4" text-anchor="end">{text}</text>')
    return parts


def _feet(across: _Axis, unit: str) -> list[str]:
    ticks = [value for value in across.ticks(6) if value == round(value)]
    parts = [
        f'<text x="{across(value):.1f}" y="{HEIGHT - 6}" text-anchor="middle">{value:.0f}</text>' for value in ticks
    ]
    return [*parts, f'<text x="{WIDTH - RIGHT + 16}" y="{HEIGHT - 6}">{escape(unit)}</text>']


def _names(chart: Sequence[Series], across: _Axis, upright: _Axis, words: Words) -> list[str]:
    """Each line's last point and its name beside it, moved apart where they would touch."""
    ends = sorted(((upright(series.y[-1]), series) for series in chart), key=lambda end: end[0])
    parts, free = [], -math.inf
    for index, (height, series) in enumerate(ends):
        # Names stand 14 pixels apart, and the lowest of them above the axis.
        place = max(free, min(height, HEIGHT - BOTTOM - 8 - 14 * (len(ends) - 1 - index)))
        free = place + 14
        column, name = across(series.x[-1]), escape(words(f"chart.{series.name}"))
        parts.append(f'<circle class="{series.name}" cx="{column:.1f}" cy="{height:.1f}" r="2.5"/>')
        parts.append(f'<text class="{series.name}" x="{column + 8:.1f}" y="{place:.1f}" dy="4">{name}</text>')
    return parts
