"""The lines of a small chart as marks of a drawing: thin rules, round numbers, names beside the lines."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cutaway.numerals import number
from cutaway.pictures.curves import Series
from cutaway.pictures.drawing import Dot, Mark, Stroke, Word


@dataclass(frozen=True)
class Panel:
    """Where on its sheet a chart's lines are, in pixels from the upper left; numbers and names stand around it."""

    left: float
    top: float
    right: float
    bottom: float


def chart_marks(
    chart: Sequence[Series], panel: Panel, names: Mapping[str, str], *, share: bool = False, ticks: int = 6
) -> list[Mark]:
    """What is drawn of `chart`.

    Args:
        chart: at least one line with at least one point.
        panel: where.
        names: what stands beside a line, by the line's name; the others get nothing.
        share: whether the values are shares, shown as percentages.
        ticks: about how many numbers stand on the level axis.
    """
    across, upright = level_axis(chart, panel), _upright_axis(chart, panel, share)
    marks: list[Mark] = [*_rules(upright, panel, share), *_feet(across, panel, ticks)]
    for series in chart:
        points = tuple((across(x), upright(y)) for x, y in zip(series.x, series.y, strict=True))
        marks.append(Stroke(series.name, points))
    return [*marks, *_names([series for series in chart if series.name in names], across, upright, panel, names)]


class Axis:
    """Values from `low` to `high` onto pixels from `start` to `end`."""

    def __init__(self, low: float, high: float, start: float, end: float) -> None:
        self.low, self.high = low, high if high > low else low + 1
        self.start, self.end = start, end

    def __call__(self, value: float) -> float:
        """The pixel of `value`; of the nearer end if it is outside."""
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self, count: int) -> list[float]:
        """About `count` round values inside."""
        step = self.step(count)
        first = math.ceil(self.low / step - 1e-9)
        return [step * index for index in range(first, math.floor(self.high / step + 1e-9) + 1)]

    def step(self, count: int) -> float:
        """The distance of about `count` round values."""
        raw = (self.high - self.low) / count
        power = 10.0 ** math.floor(math.log10(raw))
        return power * next(factor for factor in (1, 2, 5, 10) if factor * power >= raw * 0.999)


def level_axis(chart: Sequence[Series], panel: Panel) -> Axis:
    """From zero to the last point."""
    return Axis(0, max(max(series.x) for series in chart), panel.left, panel.right)


def _upright_axis(chart: Sequence[Series], panel: Panel, share: bool) -> Axis:
    values = [value for series in chart for value in _typical(series)]
    low, high = min(values), max(values)
    # A single value, as of a run of one epoch, stands in the middle.
    room = (high - low) * 0.05 or (0.05 if share else abs(high) * 0.1 or 1.0)
    return Axis(low - room, high + room, panel.bottom, panel.top)


def _typical(series: Series) -> list[float]:
    """The values of a series without the few wild ones of single batches at the very start."""
    if series.name != "batches" or len(series.y) < 20:
        return list(series.y)
    ordered = sorted(series.y)
    return ordered[: math.ceil(len(ordered) * 0.98)]


def _rules(upright: Axis, panel: Panel, share: bool) -> list[Mark]:
    marks: list[Mark] = []
    step = upright.step(4)
    for value in upright.ticks(4):
        if share and value > 1 + 1e-9:
            continue
        height = upright(value)
        marks.append(Stroke("rule", ((panel.left, height), (panel.right, height))))
        marks.append(Word("tick", panel.left - 8, height + 4, _tick(value, step, share), "end"))
    return marks


def _tick(value: float, step: float, share: bool) -> str:
    """With as many decimals as tell it from its neighbours, `step` away."""
    digits = -math.floor(math.log10(step) + 1e-9)
    if share:
        return f"{value:.{max(0, digits - 2)}%}"
    return number(value) if digits > 6 or digits < -5 else f"{value:.{max(0, digits)}f}".replace("-", "−")


def _feet(across: Axis, panel: Panel, count: int) -> list[Mark]:
    ticks = [value for value in across.ticks(count) if value == round(value)]
    return [Word("tick", across(value), panel.bottom + 18, f"{value:.0f}", "middle") for value in ticks]


def _names(chart: Sequence[Series], across: Axis, upright: Axis, panel: Panel, names: Mapping[str, str]) -> list[Mark]:
    """Each line's last point and its name beside it, moved apart where they would touch."""
    ends = sorted(((upright(series.y[-1]), series) for series in chart), key=lambda end: end[0])
    marks: list[Mark] = []
    free = -math.inf
    for index, (height, series) in enumerate(ends):
        # Names stand 14 pixels apart, and the lowest of them above the axis.
        place = max(free, min(height, panel.bottom - 8 - 14 * (len(ends) - 1 - index)))
        free, column = place + 14, across(series.x[-1])
        if series.name != "batches":
            marks.append(Dot(series.name, column, height))
        marks.append(Word(series.name, column + 8, place + 4, names[series.name]))
    return marks
