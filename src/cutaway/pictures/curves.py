"""Loss and accuracy over a run as series of numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Records = Iterable[Mapping[str, Any]]


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
