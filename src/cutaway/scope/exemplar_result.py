"""Exemplars as a result: patches by layer and unit, their pictures and their names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cutaway.data import Split
from cutaway.data.pixels import fitted
from cutaway.errors import unknown
from cutaway.lenses.certificate import Certificate
from cutaway.lenses.exemplars import Box, Surveyed, Table, Tables
from cutaway.pictures import Picture
from cutaway.pictures.exemplars import Shot, layer_sheet, unit_sheet
from cutaway.pictures.grids import choose
from cutaway.scope.result import Result
from cutaway.showing import Shown

LEVELS = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1)
KINDS = ("best", "spots", "quantiles", "least")
UNITS = 16  # rows of a layer's sheet


class Patch(NamedTuple):
    """One entry of a unit: score, image (its position in the split), place (row, column) in the map, and its box.

    `box` is top, left, bottom, right in the network's input, the last two exclusive; it may reach beyond the image.
    """

    score: float
    image: int
    place: tuple[int, int]
    box: Box


@dataclass(frozen=True, eq=False)
class Patches(Shown):
    """What stands out for each channel of a layer, the highest score first.

    Attributes:
        scores: float32 (channels, n).
        images: int64 (channels, n), positions in the split.
        places: int64 (channels, n, 2), row and column in the layer's map.
    """

    scores: Tensor
    images: Tensor
    places: Tensor


@dataclass(frozen=True, eq=False)
class LayerExemplars(Shown):
    """One layer.

    Attributes:
        found: channels, size of the map and receptive fields.
        best: the k images with the highest maximum, one place each.
        spots: the k highest places, several of which may be in one image.
        quantiles: images whose maximum is at `LEVELS` of all images' maxima, as a sample of the images gives them.
        least: the k images with the lowest maximum, lowest first, at the place of that maximum.
    """

    found: Surveyed
    best: Patches
    spots: Patches
    quantiles: Patches
    least: Patches

    def patches(self, channel: int, kind: str = "best") -> list[Patch]:
        """The patches of a unit, of `kind` "best", "spots", "quantiles" or "least"."""
        self.found.check(channel)
        if kind not in KINDS:
            raise unknown("kind", kind, KINDS, "of exemplars")
        some: Patches = getattr(self, kind)
        rows = zip(
            some.scores[channel].tolist(), some.images[channel].tolist(), some.places[channel].tolist(), strict=True
        )
        return [Patch(score, image, (row, col), self.found.box(row, col)) for score, image, (row, col) in rows]

    def is_constant(self, channel: int) -> bool:
        """Whether the unit's maximum is the same for every image, as a dead unit's is."""
        return bool(self.best.scores[channel, 0] == self.least.scores[channel, 0])


@dataclass(frozen=True, eq=False, repr=False)
class Exemplars(Result):
    """The patches of a split that excite each unit of some layers most.

    Attributes:
        layers: layer -> its exemplars, in the order of the forward pass.
        split: the images, for pictures.
        classes: names of the labels; may be empty.
        source: of the data, for titles.
        shape: (C, H, W) of the network's input, in whose pixels boxes count.
        certificate: how they were found, and the replay.
        units: (layer, channel) of the units that `pictures` draws first, each by itself.
    """

    layers: dict[str, LayerExemplars]
    split: Split
    classes: tuple[str, ...]
    source: str
    shape: tuple[int, int, int]
    certificate: Certificate
    units: tuple[tuple[str, int], ...] = ()

    def __getitem__(self, layer: str) -> LayerExemplars:
        if layer not in self.layers:
            raise unknown("layer", layer, self.layers, "in these exemplars")
        return self.layers[layer]

    def unit(self, layer: str, channel: int, kind: str = "best") -> list[Patch]:
        """The patches of a unit: `kind` is "best", "spots", "quantiles" or "least"."""
        return self[layer].patches(channel, kind)

    def name(self, image: int) -> str:
        """What an image of the split is called: its file, or `train:412`, and its class."""
        name = self.split.files[image] if self.split.files is not None else f"{self.split.name}:{image}"
        return f"{name} {self.label(image)}".strip()

    def label(self, image: int) -> str:
        """The class of an image of the split; "" where it has no name."""
        label = int(self.split.labels[image])
        return self.classes[label] if 0 <= label < len(self.classes) else ""

    def crop(self, patch: Patch) -> NDArray[np.uint8]:
        """Pixels uint8 (C, h, w) of what a patch's place sees, as far as it lies in the image."""
        top, left, bottom, right = patch.box
        image = self._pixels([patch.image])[0]
        return np.asarray(image[:, max(0, top) : max(0, bottom), max(0, left) : max(0, right)])

    def picture(self, layer: str | None = None, channel: int | None = None) -> Picture:
        """A unit's sheet, a layer's, or the main picture of all."""
        if layer is None:
            return next(iter(self.pictures().values()))
        return self._layer_sheet(layer) if channel is None else self._unit_sheet(layer, channel)

    def pictures(self) -> dict[str, Picture]:
        """The sheets of the units asked for, then one a layer: the best patches of some of its units."""
        single = {f"unit {layer} {channel}": self._unit_sheet(layer, channel) for layer, channel in self.units}
        return {**single, **{f"exemplars {layer}": self._layer_sheet(layer) for layer in self.layers}}

    def arrays(self) -> dict[str, Tensor]:
        """`LAYER/best.scores`, `.images`, `.places`, and the same of spots, quantiles and least, for each layer."""
        return {
            f"{layer}/{kind}.{part}": getattr(getattr(found, kind), part)
            for layer, found in self.layers.items()
            for kind in KINDS
            for part in ("scores", "images", "places")
        }

    def rows(self, layer: str, channel: int) -> dict[str, Any]:
        """A unit as plain data, JSON-able: its patches of every kind, with the images' names."""
        kinds = {
            kind: [{**patch._asdict(), "name": self.name(patch.image)} for patch in self.unit(layer, channel, kind)]
            for kind in KINDS
        }
        return {"layer": layer, "channel": channel, "constant": self[layer].is_constant(channel), **kinds}

    def _pixels(self, images: Sequence[int]) -> NDArray[np.uint8]:
        """Uint8 (n, C, H, W) in the size of the network's input."""
        if not len(images):
            return np.zeros((0, *self.shape), np.uint8)
        return fitted(self.split.images[np.asarray(images)], self.shape)

    def _shots(self, patches: Sequence[Patch]) -> list[Shot]:
        pixels = self._pixels([patch.image for patch in patches])
        return [
            Shot(image, patch.box, patch.score, f"{patch.image} {self.label(patch.image)}".strip())
            for image, patch in zip(pixels, patches, strict=True)
        ]

    def _unit_sheet(self, layer: str, channel: int) -> Picture:
        words = {
            "best": "best images",
            "spots": "best places (several may be in one image)",
            "quantiles": f"deciles of all images, {LEVELS[0]:.0%} to {LEVELS[-1]:.0%}",
            "least": "least excited images",
        }
        found = self[layer]
        groups = [(words[kind], self._shots(found.patches(channel, kind))) for kind in KINDS]
        constant = "  ·  the same for every image" if found.is_constant(channel) else ""
        return unit_sheet(groups, title=f"{layer}:{channel}  ·  {self._about(found)}{constant}")

    def _layer_sheet(self, layer: str) -> Picture:
        found = self[layer]
        channels = choose(found.found.channels, UNITS).tolist()
        rows = [(str(channel), self._shots(found.patches(channel))) for channel in channels]
        some = "" if len(channels) == found.found.channels else f"{len(channels)} of "
        count = f"{some}{found.found.channels} units"
        return layer_sheet(rows, title=f"{layer}  ·  best images of {count}  ·  {self._about(found)}")

    def _about(self, layer: LayerExemplars) -> str:
        top, left, bottom, right = layer.found.box(0, 0)
        exact = "" if layer.found.exact else "at most "
        size, image = (bottom - top, right - left), self.shape[1:]
        whole = all(field >= side for field, side in zip(size, image, strict=True))
        field = "each sees the whole image" if whole else f"each sees {exact}{size[0]}×{size[1]} pixels"
        return f"{self.source} {self.split.name}, {len(self.split):,} images  ·  {field}".strip()


def layer_exemplars(surveyed: Surveyed, tables: Tables, images: int) -> LayerExemplars:
    """One layer's tables as people read them: places as rows and columns, nothing unfilled."""
    places = surveyed.size[0] * surveyed.size[1]
    least = replace(tables.least, scores=0.0 - tables.least.scores)
    return LayerExemplars(
        surveyed,
        best=_patches(surveyed, tables.best, images),
        spots=_patches(surveyed, tables.spots, images * places),
        quantiles=_patches(surveyed, tables.sample.quantiles(LEVELS), len(LEVELS)),
        least=_patches(surveyed, least, images),
    )


def _patches(surveyed: Surveyed, table: Table, most: int) -> Patches:
    """A table without the columns that so few images cannot fill."""
    scores, images, places = (value[:, :most] for value in (table.scores, table.images, table.places))
    width = surveyed.size[1]
    return Patches(scores, images, torch.stack([places // width, places % width], dim=2))


def plain_layers(found: Exemplars) -> list[dict[str, Any]]:
    """A row a layer, JSON-able: units, how many are the same for every image, map, receptive field, scores."""
    rows = []
    for name, layer in found.layers.items():
        top, left, bottom, right = layer.found.box(0, 0)
        rows.append(
            {
                "layer": name,
                "units": layer.found.channels,
                "constant": int((layer.best.scores[:, 0] == layer.least.scores[:, 0]).sum()),
                "map": list(layer.found.size),
                "field": [bottom - top, right - left],
                "field_exact": layer.found.exact,
                "highest": float(layer.best.scores.max()),
            }
        )
    return rows
