"""Loss and accuracy side by side as a figure for a paper."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

from cutaway.errors import InputError
from cutaway.files import write_bytes
from cutaway.pictures.chart import Panel, chart_marks
from cutaway.pictures.curves import Curves, Records, Series, read_curves
from cutaway.pictures.drawing import SIZE, Mark, Word, to_pdf, to_png, to_svg
from cutaway.pictures.text import NO_FONT, plain, shortened, text_width, wide_font, writable
from cutaway.words import Words, words

_FORMATS = (".svg", ".png", ".pdf")
_WIDTH, _HEIGHT = 680, 270  # pixels of 1/96 inch: the width of a page's text, with letters of 8 points
_LEFT, _TOP, _BOTTOM, _TITLE = 44, 62, 44, 14


def curves_figure(metrics: Records, path: str | Path, title: str = "", *, say: Words | None = None) -> Path:
    """Write loss and accuracy side by side as an SVG, PNG or PDF (by the ending of `path`), atomically.

    `say` has the texts (English). A PNG has pixels instead of letters: its texts are English where no font on this
    system has the signs of another language, and where no font has those of the title, `?` stands for them, and a
    warning says which font to install.

    Raises:
        InputError: another ending, or a PDF without the package that writes it.
    """
    path, say = Path(path), say or words()
    ending = path.suffix.lower()
    if ending not in _FORMATS:
        raise InputError(f"{path}: a figure can be {', '.join(_FORMATS)}, not '{path.suffix}'; change the ending")
    if ending == ".png":
        written = writable(plain(title))
        if written != plain(title):
            warnings.warn(f"the title '{title}' is written '{written}': {NO_FONT}", stacklevel=2)
        say = say if wide_font() else words()
    marks = _marks(read_curves(metrics), title, say)
    if ending == ".png":
        content = to_png(marks, _WIDTH, _HEIGHT)
    else:
        content = (to_svg if ending == ".svg" else to_pdf)(marks, _WIDTH, _HEIGHT, title)
    write_bytes(path, content)
    return path


def _marks(curves: Curves, title: str, say: Words) -> list[Mark]:
    """Both charts below the title, whose beginning is left out where it is too long: its end tells the most."""
    fitting = shortened(title, _TITLE, int((_WIDTH - 2 * _LEFT) * 0.85))
    marks: list[Mark] = [Word("title", 8, 24, fitting, size=_TITLE)]
    for place, (what, unit) in enumerate((("loss", say("chart.nats")), ("accuracy", ""))):
        left = place * _WIDTH / 2
        heading = say(f"chart.{what}") + (f" ({unit})" if unit else "")
        marks.append(Word("title", left + 8, _TOP - 14, heading, size=SIZE + 1))
        marks += _chart(curves.loss if what == "loss" else curves.accuracy, curves.unit, what, left, say)
    return marks


def _chart(chart: Sequence[Series], unit: str, what: str, left: float, say: Words) -> list[Mark]:
    if not chart:
        return [Word("training", left + 8, _TOP + SIZE, say("chart.nothing", what=say(f"chart.{what}")))]
    names = {series.name: say(f"chart.{series.name}") for series in chart}
    # Other fonts than the one that measures are up to a fifth wider.
    room = 1.2 * max(text_width(name, SIZE) for name in names.values())
    panel = Panel(left + _LEFT, _TOP, left + _WIDTH / 2 - room - 12, _HEIGHT - _BOTTOM)
    foot = Word("training", (panel.left + panel.right) / 2, panel.bottom + 36, say(f"chart.{unit}"), "middle")
    return [*chart_marks(chart, panel, names, share=what == "accuracy", ticks=5), foot]
