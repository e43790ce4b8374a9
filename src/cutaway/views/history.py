"""One unit through the epochs: its map of one image on one scale, and what became of its numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cutaway.pictures.colours import Scale
from cutaway.pictures.stills import Still
from cutaway.views.unit import map_view

Numbers = tuple[float | None, ...]


@dataclass(frozen=True, eq=False)
class HistoryView:
    """A unit through training.

    Attributes:
        epochs: the saved epochs that are shown.
        values: float32 (E, h, w), its map after each.
        maps: the same as pictures on one scale.
        scale: of all of them.
        norms, gradients, active, means: of its weights, their gradient, its activity and its mean; a None where it is
            not known, and empty where none is.
        image: what it looks at.
        label: what the image is called.
    """

    epochs: tuple[int, ...]
    values: NDArray[np.float32]
    maps: tuple[Still | None, ...]
    scale: Scale
    image: Still
    label: str
    norms: Numbers = ()
    gradients: Numbers = ()
    active: Numbers = ()
    means: Numbers = ()


def view_history(
    epochs: Sequence[int], values: NDArray[np.float32], norms: Numbers, image: Still, label: str
) -> HistoryView:
    """Maps float32 (E, h, w) of one unit and one image after each epoch, and the norms of its weights."""
    scale = Scale.of(values)
    maps = tuple(map_view(one, scale).still for one in values)
    means = tuple(float(one.mean()) for one in values)
    return HistoryView(tuple(epochs), values, maps, scale, image, label, norms, means=means)
