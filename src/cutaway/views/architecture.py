"""A network as a map of stages, each a run of layers whose maps have one size."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cutaway.lenses.architecture import Row

Size = tuple[int, int] | None  # of a layer's maps


@dataclass(frozen=True)
class LayerLine:
    """One layer: shape, size, what a place of it sees, and its health after the epoch (None: not measured)."""

    name: str
    kind: str
    output: str
    channels: int | None
    parameters: int
    mult_adds: int
    field: int | None
    opens: bool
    zero_fraction: float | None
    dead: int | None


@dataclass(frozen=True)
class Stage:
    """Neighbouring layers whose maps have the same height and width; () for those without maps."""

    size: Size
    first: str
    last: str
    layers: tuple[LayerLine, ...]

    @property
    def parameters(self) -> int:
        """Of all its layers."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def mult_adds(self) -> int:
        """Of all its layers, an image."""
        return sum(layer.mult_adds for layer in self.layers)

    @property
    def channels(self) -> int | None:
        """The most that a layer has."""
        return max((layer.channels for layer in self.layers if layer.channels), default=None)


def view_stages(rows: Sequence[Row], vitals: Iterable[Mapping[str, Any]] = ()) -> tuple[Stage, ...]:
    """The stages of `rows` (as `summarize` gives them), with the vitals of one epoch by layer."""
    health = {line["layer"]: line for line in vitals}
    called = [row for row in rows if row.called]
    stages = []
    for size, group in groupby(zip(_sizes(called), called, strict=True), lambda pair: pair[0]):
        layers = tuple(_line(row, health.get(row.name, {})) for _, row in group)
        stages.append(Stage(size, layers[0].name, layers[-1].name, layers))
    return tuple(stages)


def _sizes(rows: Sequence[Row]) -> list[Size]:
    """The stage of each row. A layer without weights, as a padding, begins none of its own: it belongs to the stage
    before, unless the next layer with weights has its size, as behind a pooling.
    """
    following: list[Size] = []
    for row in reversed(rows):
        following.append(_size(row) if row.parameters or not following else following[-1])
    found: list[Size] = []
    for row, following_size in zip(rows, reversed(following), strict=True):
        size = _size(row)
        alone = bool(found) and not row.parameters and size not in (found[-1], following_size)
        found.append(found[-1] if alone else size)
    return found


def _size(row: Row) -> Size:
    shape = row.output_shape
    return (shape[2], shape[3]) if shape and len(shape) == 4 else None


def _line(row: Row, vitals: Mapping[str, Any]) -> LayerLine:
    shape, dead = row.output_shape, vitals.get("dead_channels")
    return LayerLine(
        name=row.name,
        kind=row.kind,
        output="×".join(map(str, shape[1:])) if shape else "",
        channels=shape[1] if shape and len(shape) > 1 else None,
        parameters=row.parameters,
        mult_adds=row.mult_adds,
        field=row.receptive_field[0],
        opens=_size(row) is not None,
        zero_fraction=vitals.get("zero_fraction"),
        dead=None if dead is None else len(dead),
    )
