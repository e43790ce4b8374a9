"""Loss and accuracy over a run: as series of numbers, as an interactive chart, and as a figure for a paper."""

from __future__ import annotations

import html
import io
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cutaway.errors import InputError
from cutaway.files import write_bytes
from cutaway.pictures.colours import ACCENT, FAINT, INK, PAPER, RULE
from cutaway.pictures.text import NO_FONT, figure_fonts, writable_in_figures
from cutaway.words import Words, words

Records = Iterable[Mapping[str, Any]]
_FORMATS = (".png", ".svg", ".pdf")
_COLOURS = {"batches": RULE, "training": FAINT, "validation": ACCENT}


@dataclass(frozen=True)
class Series:
    """One line of a chart: what it is, and its points. `batches` are single steps and noisy."""

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]


@dataclass(frozen=True)
class Curves:
    """The lines of both charts; x counts in `unit` ("epoch", or "step" before the first epoch ended)."""

    unit: str
    loss: tuple[Series, ...]
    accuracy: tuple[Series, ...]


def read_curves(metrics: Records) -> Curves:
    """The series in the records of `metrics.jsonl`; values that are missing or not finite are left out.

    >>> lines = [{"kind": "epoch", "epoch": 1, "step": 10, "train_loss": 2.0, "val_loss": 1.5}]
    >>> read_curves(lines).loss
    (Series(name='training', x=(1.0,), y=(2.0,)), Series(name='validation', x=(1.0,), y=(1.5,)))
    """
    lines = list(metrics)
    ended = [line for line in lines if line["kind"] == "epoch"]
    steps = [line for line in lines if line["kind"] == "step"]
    pace = ended[-1]["step"] / ended[-1]["epoch"] if ended and ended[-1].get("step") else 1.0

    def chart(what: str) -> tuple[Series, ...]:
        found = (
            _series("batches", [(line["step"] / pace, line.get(what)) for line in steps] if what == "loss" else []),
            _series("training", [(line["epoch"], line.get(f"train_{what}")) for line in ended]),
            _series("validation", [(line["epoch"], line.get(f"val_{what}")) for line in ended]),
        )
        return tuple(series for series in found if series.x)

    return Curves("epoch" if ended else "step", chart("loss"), chart("accuracy"))


def _series(name: str, points: Sequence[tuple[float, float | None]]) -> Series:
    there = [(float(x), float(y)) for x, y in points if y is not None and abs(y) != float("inf") and y == y]
    return Series(name, tuple(x for x, _ in there), tuple(y for _, y in there))


def curves_html(metrics: Records, title: str = "", *, whole_page: bool = True, say: Words | None = None) -> str:
    """An interactive chart of loss and accuracy, for a browser without a network.

    Args:
        metrics: the records of `metrics.jsonl`.
        title: stands above; any text.
        whole_page: a page with plotly's script inside, or only a `<div>` for a page that has it already.
        say: has the texts (English).
    """
    from plotly import graph_objects
    from plotly.subplots import make_subplots

    curves, say = read_curves(metrics), say or words()
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, vertical_spacing=0.06)
    for row, chart in enumerate((curves.loss, curves.accuracy), start=1):
        for series in chart:
            line = {"color": _css(_COLOURS[series.name]), "width": 1 if series.name == "batches" else 2}
            mode = "lines" if series.name == "batches" else "lines+markers"
            name = say(f"chart.{series.name}")
            points = graph_objects.Scatter(x=series.x, y=series.y, name=name, line=line, mode=mode, showlegend=row == 1)
            figure.add_trace(points, row=row, col=1)
    figure.update_yaxes(title_text=say("chart.loss"), row=1, col=1)
    figure.update_yaxes(title_text=say("chart.accuracy"), tickformat=".0%", row=2, col=1)
    figure.update_xaxes(title_text=say(f"chart.{curves.unit}"), row=2, col=1)
    figure.update_layout(
        # Plotly reads a subset of HTML in titles, so a name must not be able to be markup.
        title=html.escape(title),
        template="plotly_white",
        paper_bgcolor=_css(PAPER),
        plot_bgcolor=_css(PAPER),
        font_color=_css(INK),
        hovermode="x unified",
    )
    return str(figure.to_html(full_html=whole_page, include_plotlyjs=whole_page, config={"displaylogo": False}))


def curves_figure(metrics: Records, path: str | Path, title: str = "", *, say: Words | None = None) -> Path:
    """Write loss and accuracy side by side as a PNG, SVG or PDF (by the ending of `path`), atomically.

    `say` has the texts; they are English where no font on this system has the signs of another language. Where no
    font has those of the title, `?` stands for them, and a warning says which font to install.

    Raises:
        InputError: another ending.
    """
    path = Path(path)
    if path.suffix.lower() not in _FORMATS:
        raise InputError(f"{path}: a figure can be {', '.join(_FORMATS)}, not '{path.suffix}'; change the ending")
    written = writable_in_figures(title)
    if written != title:
        warnings.warn(f"the title '{title}' is written '{written}': {NO_FONT}", stacklevel=2)
    say = say if say and figure_fonts()[1:] else words()
    write_bytes(path, _drawn(read_curves(metrics), path.suffix.lower()[1:], written, say))
    return path


def _drawn(curves: Curves, ending: str, title: str, say: Words) -> bytes:
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    buffer = io.BytesIO()
    with rc_context({"font.family": figure_fonts()}):
        figure = Figure(figsize=(9, 3.4), layout="constrained")
        for axes, what in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
            _draw(axes, what, curves, say)
        # A dollar sign would start a formula.
        figure.suptitle(title.replace("$", r"\$"))
        figure.savefig(buffer, format=ending, dpi=160)
    return buffer.getvalue()


def _draw(axes: Any, what: str, curves: Curves, say: Words) -> None:
    chart = curves.loss if what == "loss" else curves.accuracy
    for series in chart:
        thin = series.name == "batches"
        style = {"color": _css(_COLOURS[series.name]), "linewidth": 0.8 if thin else 1.6}
        axes.plot(
            series.x, series.y, label=say(f"chart.{series.name}"), marker="" if thin else "o", markersize=3, **style
        )
    axes.set(xlabel=say(f"chart.{curves.unit}"), ylabel=say(f"chart.{what}"))
    axes.spines[["top", "right"]].set_visible(False)
    if chart:
        axes.legend(frameon=False)


def _css(colour: tuple[int, int, int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)
