"""A histogram as SVG: how often a unit gives which answer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from cutaway.numerals import number

WIDTH, HEIGHT, FOOT = 360, 96, 16


def histogram_svg(counts: Sequence[int], edges: Sequence[float], label: str) -> str:
    """Bars for `counts` between `edges` (one more), on a logarithmic height; `label` says it in words and numbers."""
    most = math.log1p(max(counts, default=0)) or 1.0
    width = WIDTH / max(1, len(counts))
    bars = []
    for place, count in enumerate(counts):
        height = (HEIGHT - FOOT) * math.log1p(count) / most
        box = f'x="{place * width:.1f}" y="{HEIGHT - FOOT - height:.1f}" width="{width:.1f}" height="{height:.1f}"'
        bars.append(
            f'<rect class="bin" {box}><title>{number(edges[place])} … {number(edges[place + 1])}: {count:,}'
            "</title></rect>"
        )
    ends = [
        f'<text x="0" y="{HEIGHT - 3}">{number(edges[0])}</text>',
        f'<text x="{WIDTH}" y="{HEIGHT - 3}" text-anchor="end">{number(edges[-1])}</text>',
    ]
    if edges[0] < 0 < edges[-1]:
        zero = -edges[0] / (edges[-1] - edges[0]) * WIDTH
        ends.append(f'<line class="cursor" x1="{zero:.1f}" x2="{zero:.1f}" y1="0" y2="{HEIGHT - FOOT}"/>')
        ends.append(f'<text x="{zero:.1f}" y="{HEIGHT - 3}" text-anchor="middle">0</text>')
    inside = "".join([*bars, *ends])
    name = escape(label)
    return f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{name}">{inside}</svg>'
