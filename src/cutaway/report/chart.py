"""A small line chart as SVG: thin rules, direct labels, colours left to the page's style."""

from __future__ import annotations

import math
from collections.abc import Sequence

from cutaway.pictures.curves import Series
from cutaway.words import Words

WIDTH, HEIGHT = 520, 208
LEFT, RIGHT, TOP, BOTTOM = 44, 92, 12, 24


def chart_svg(chart: Sequence[Series], what: str, unit: str, say: Words) -> str:
    """The lines of `chart` over `unit` ("epoch" or "step"), words if there is none; `what` is "loss" or "accuracy"."""
    named = say(f"chart.{what}")
    if not chart:
        return f'<p class="faint">{say("chart.none", what=named)}</p>'
    across = _Axis(0, max(max(series.x) for series in chart), LEFT, WIDTH - RIGHT)
    values = [value for series in chart for value in _typical(series)]
    room = (max(values) - min(values)) * 0.05
    upright = _Axis(min(values) - room, max(values) + room, HEIGHT - BOTTOM, TOP)
    parts = [*_rules(upright, what), *_feet(across, say(f"chart.{unit}"))]
    for series in chart:
        points = " ".join(f"{across(x):.1f},{upright(y):.1f}" for x, y in zip(series.x, series.y, strict=True))
        parts.append(f'<polyline class="{series.name}" points="{points}"/>')
    parts += _names([series for series in chart if series.name != "batches"], across, upright, say)
    cursor = f'<line class="cursor" x1="0" x2="0" y1="{TOP}" y2="{HEIGHT - BOTTOM}" data-left="{LEFT}" '
    parts.append(cursor + f'data-unit="{(WIDTH - RIGHT - LEFT) / across.high:.4f}" hidden="hidden"/>')
    over = say("chart.over", what=named, unit=say(f"chart.{unit}s"))
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{over}">{"".join(parts)}</svg>'


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


def _rules(upright: _Axis, what: str) -> list[str]:
    parts = []
    for value in upright.ticks(4):
        height = f"{upright(value):.1f}"
        text = f"{value:.0%}" if what == "accuracy" and upright.high - upright.low > 0.05 else f"{value:.3g}"
        parts.append(f'<line class="rule" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{height}" y2="{height}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{height}" dy="4" text-anchor="end">{text}</text>')
    return parts


def _feet(across: _Axis, unit: str) -> list[str]:
    ticks = [value for value in across.ticks(6) if value == round(value)]
    parts = [
        f'<text x="{across(value):.1f}" y="{HEIGHT - 6}" text-anchor="middle">{value:.0f}</text>' for value in ticks
    ]
    return [*parts, f'<text x="{WIDTH - RIGHT + 16}" y="{HEIGHT - 6}">{unit}</text>']


def _names(chart: Sequence[Series], across: _Axis, upright: _Axis, say: Words) -> list[str]:
    """Each line's last point and its name beside it, moved apart where they would touch."""
    ends = sorted(((upright(series.y[-1]), series) for series in chart), key=lambda end: end[0])
    parts, free = [], -math.inf
    for index, (height, series) in enumerate(ends):
        # Names stand 14 pixels apart, and the lowest of them above the axis.
        place = max(free, min(height, HEIGHT - BOTTOM - 8 - 14 * (len(ends) - 1 - index)))
        free = place + 14
        column = across(series.x[-1])
        parts.append(f'<circle class="{series.name}" cx="{column:.1f}" cy="{height:.1f}" r="2.5"/>')
        name = say(f"chart.{series.name}")
        parts.append(f'<text class="{series.name}" x="{column + 8:.1f}" y="{place:.1f}" dy="4">{name}</text>')
    return parts
