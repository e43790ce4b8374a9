"""The charts of pages as SVG: a line chart whose values show under the pointer, and a small curve for tables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from cutaway.numerals import number
from cutaway.pictures.chart import Axis, Panel, chart_marks, level_axis
from cutaway.pictures.curves import Series
from cutaway.pictures.drawing import element
from cutaway.words import Words

WIDTH, HEIGHT = 520, 208
_PANEL = Panel(44, 12, WIDTH - 92, HEIGHT - 24)
_MOST_VALUES = 200  # places of a chart that tell their values: one for two pixels


def chart_svg(chart: Sequence[Series], what: str, unit: str, words: Words, *, share: bool = False) -> str:
    """The lines of `chart` as one SVG, or a sentence where there is none; its colours are left to the page's style.

    Args:
        chart: the lines; their names are keys of the catalogue, `chart.NAME`, and classes of the style.
        what: what stands on the upright axis, in the language of `words`.
        unit: of the level axis, in that language.
        words: the catalogue.
        share: whether the values are shares, shown as percentages.
    """
    if not chart:
        return f'<p class="faint">{escape(words("chart.nothing", what=what))}</p>'
    named = [series for series in chart if series.name != "batches"]
    names = {series.name: words(f"chart.{series.name}") for series in named}
    across = level_axis(chart, _PANEL)
    parts = [element(mark, f'class="{mark.kind}"') for mark in chart_marks(chart, _PANEL, names, share=share)]
    parts.append(f'<text x="{_PANEL.right + 16}" y="{_PANEL.bottom + 18}">{escape(unit)}</text>')
    cursor = f'<line class="cursor" x1="0" x2="0" y1="{_PANEL.top}" y2="{_PANEL.bottom}" data-left="{_PANEL.left}" '
    parts.append(cursor + f'data-unit="{(_PANEL.right - _PANEL.left) / across.high:.4f}" hidden="hidden"/>')
    parts += _values(named, across, unit, words, share)
    label = escape(f"{what}: {spoken(chart, unit, words, share=share)}")
    return f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">{"".join(parts)}</svg>'


def _values(chart: Sequence[Series], across: Axis, unit: str, words: Words, share: bool) -> list[str]:
    """Bands without colour that say the values below the pointer; of very many, evenly spread ones."""
    known = [(words(f"chart.{series.name}"), dict(zip(series.x, series.y, strict=True))) for series in chart]
    at = sorted({x for _, values in known for x in values})
    at = at[:: math.ceil(len(at) / _MOST_VALUES) or 1]
    width = across(at[1]) - across(at[0]) if len(at) > 1 else 8
    parts = []
    for x in at:
        texts = ", ".join(f"{name} {_text(values[x], share)}" for name, values in known if x in values)
        box = f'x="{across(x) - width / 2:.1f}" y="{_PANEL.top}" width="{width:.1f}"'
        title = f"<title>{escape(unit)} {number(x)}: {escape(texts)}</title>"
        parts.append(f'<rect class="at" {box} height="{_PANEL.bottom - _PANEL.top}">{title}</rect>')
    return parts


def spark_svg(values: Sequence[float], label: str) -> str:
    """A small curve without axes for one line of a table; `label` says it in words and numbers."""
    if len(values) < 2:
        return ""
    across, upright = Axis(0, len(values) - 1, 1, 95), Axis(min(values), max(values), 18, 2)
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
