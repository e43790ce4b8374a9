"""What there is to scan: one image's pass tells each layer's channels, its map's size and what its places see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from cutaway.computing.torch_inside import Operations
from cutaway.errors import InputError
from cutaway.lenses.capture import images_for, module_name, observe
from cutaway.lenses.exemplars.scan import maps_of
from cutaway.lenses.field import Axis, is_still, layout_spread
from cutaway.lenses.layouts import Shapes, channels_last_shapes
from cutaway.lenses.receptive import FieldTracker
from cutaway.lenses.weights import conv_names

Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Stretch:
    """The receptive fields along one side of the image: place i sees pixels `start + i * jump` and `size - 1` more."""

    start: int
    jump: int
    size: int

    def at(self, place: int) -> tuple[int, int]:
        """First pixel, and the one behind the last; either may lie outside the image."""
        first = self.start + place * self.jump
        return first, first + self.size


@dataclass(frozen=True)
class Surveyed:
    """A layer as one image found it.

    Attributes:
        name: as in `capture`.
        channels: how many units.
        size: height and width of the map.
        fields: the receptive fields down and across.
        exact: whether the fields lie evenly, as those of convolutions and poolings do (of branches of different sizes
            it is the hull); else one box, or the whole image, holds what any place of the layer can see.
    """

    name: str
    channels: int
    size: tuple[int, int]
    fields: tuple[Stretch, Stretch]
    exact: bool

    def check(self, channel: int) -> None:
        """Raise an `InputError` if there is no such channel."""
        if not 0 <= channel < self.channels:
            raise InputError(
                f"layer '{self.name}' has no channel {channel}; they are numbered 0 to {self.channels - 1}"
            )

    def place(self, index: int) -> tuple[int, int]:
        """Row and column of place number `index`."""
        return divmod(index, self.size[1])

    def box(self, row: int, column: int) -> Box:
        """Top, left, bottom, right (the last two exclusive) of what a place sees, padding around the image included."""
        (top, bottom), (left, right) = self.fields[0].at(row), self.fields[1].at(column)
        return top, left, bottom, right


def survey(network: nn.Module, image: Tensor, layers: Sequence[str] | None = None) -> dict[str, Surveyed]:
    """What each layer gives for one image, in the order of the forward pass.

    Args:
        network: any module that takes one image batch; left as it was.
        image: float (1, C, H, W), as the network expects it.
        layers: dotted names, as in `capture`; None for every call of every convolution.

    Raises:
        InputError: a layer that does not exist, is not reached or has no channels; a network without convolutions.
    """
    image = images_for(network, image)
    wanted = set(conv_names(network)) if layers is None else None
    found: dict[str, Surveyed] = {}
    tracker, last = FieldTracker(image), channels_last_shapes(network, image)

    def visit(name: str, value: Tensor) -> None:
        if wanted is None or module_name(name) in wanted:
            found[name] = _surveyed(name, value, tracker, (image.shape[2], image.shape[3]), last)

    with torch.no_grad(), _Follow(tracker):
        observe(network, image, layers, visit)
    if not found:
        raise InputError(
            f"{type(network).__name__} has no convolution that runs; name the layers whose units are wanted"
        )
    return found


class _Follow(Operations):
    """Tells the tracker of every operation."""

    def __init__(self, tracker: FieldTracker) -> None:
        super().__init__()
        self.tracker = tracker

    def operation(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run it and tell."""
        result = func(*args, **kwargs)
        self.tracker.observe(func, args, kwargs, result)
        return result


def _surveyed(name: str, value: Tensor, tracker: FieldTracker, image: tuple[int, int], last: Shapes) -> Surveyed:
    maps = maps_of(name, value, last)
    axes = tracker.field(value) or (None, None)
    places = (1, 2) if tuple(value.shape[1:]) in last else (2, 3)
    moving = places if value.ndim == 4 else (None, None)
    sides = [_stretch(axis, dim, length) for axis, dim, length in zip(axes, moving, image, strict=True)]
    size = (maps.shape[2], maps.shape[3])
    return Surveyed(name, maps.shape[1], size, (sides[0][0], sides[1][0]), sides[0][1] and sides[1][1])


def _stretch(axis: Axis | None, dim: int | None, length: int) -> tuple[Stretch, bool]:
    """The fields along one side, and whether they are exact: the hull where units of one place see different pixels."""
    if axis is None:
        return Stretch(0, 0, length), False
    layout = axis.dims[dim] if dim is not None else ()
    jump = 0 if is_still(layout) else layout[0].jump if len(layout) == 1 else None
    if jump is None:
        return Stretch(axis.low, 0, axis.size + axis.spread), False
    rest = axis.spread - layout_spread(layout)
    return Stretch(axis.low, jump, axis.size + rest), rest == 0 and axis.exact
