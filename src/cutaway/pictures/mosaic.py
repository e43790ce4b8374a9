"""Many maps as one image of palette entries: whole-number zoom, gaps between tiles, dead tiles hatched."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cutaway.pictures.colours import GAP, HATCH, Bytes, Kind, Scale, palette, to_indices
from cutaway.pictures.stills import png


@dataclass(frozen=True)
class Layout:
    """Where the tiles of a grid lie, in pixels.

    Attributes:
        count: number of tiles, filled row by row.
        columns: tiles in a row.
        height: height of a tile; width: its width.
        gap: pixels between two tiles.
        label: pixels below each tile, for its number.
    """

    count: int
    columns: int
    height: int
    width: int
    gap: int = 2
    label: int = 0

    @property
    def rows(self) -> int:
        """Number of rows."""
        return math.ceil(self.count / self.columns)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the whole grid."""
        pitch = self.height + self.gap + self.label
        return self.rows * pitch - self.gap, self.columns * (self.width + self.gap) - self.gap

    def corner(self, tile: int) -> tuple[int, int]:
        """Row and column of the upper left pixel of a tile."""
        row, column = divmod(tile, self.columns)
        return row * (self.height + self.gap + self.label), column * (self.width + self.gap)


@dataclass(frozen=True, eq=False)
class Mosaic:
    """A grid of tiles as palette entries, uint8 (H, W)."""

    entries: Bytes
    kind: Kind

    @property
    def pixels(self) -> Bytes:
        """Its colours on paper, uint8 (H, W, 3)."""
        return palette(self.kind)[self.entries]

    def png(self) -> bytes:
        """As a PNG of one byte a pixel whose gaps are transparent, for pages in light and dark."""
        image = Image.fromarray(self.entries)
        image.putpalette(palette(self.kind).tobytes())
        return png(image, level=7, transparency=GAP)


def mosaic(maps: NDArray[Any], scale: Scale, layout: Layout, zoom: int) -> Mosaic:
    """Maps (C, h, w) as tiles of `layout`; with a scale that is not shared, each map on its own.

    A map that is zero everywhere is hatched.
    """
    return Mosaic(place(tile_entries(maps, scale, zoom), layout), scale.kind)


def tile_entries(maps: NDArray[Any], scale: Scale, zoom: int) -> Bytes:
    """Palette entries of maps (C, h, w), each value `zoom` x `zoom` pixels, dead maps hatched."""
    if scale.shared:
        entries = to_indices(maps, scale)
    else:
        entries = np.stack([to_indices(one, Scale.of(one, scale.kind)) for one in maps])
    entries = np.repeat(np.repeat(entries, zoom, axis=1), zoom, axis=2)
    dead = dead_maps(maps)
    if dead.any():
        entries[np.ix_(dead, *map(np.arange, entries.shape[1:]))] = np.where(
            _hatch(entries.shape[1], entries.shape[2]), np.uint8(HATCH), entries[dead]
        )
    return entries


def dead_maps(maps: NDArray[Any]) -> NDArray[np.bool_]:
    """Which of the maps (C, h, w) are zero everywhere: bool (C,)."""
    return np.asarray(~maps.reshape(len(maps), -1).any(axis=1))


def _hatch(height: int, width: int) -> NDArray[np.bool_]:
    """Thin diagonal lines and an outline."""
    down, across = np.ogrid[:height, :width]
    edge = (down == 0) | (across == 0) | (down == height - 1) | (across == width - 1)
    return np.asarray(edge | ((down + across) % 6 == 0))


def place(tiles: NDArray[np.uint8], layout: Layout, between: int = GAP) -> NDArray[np.uint8]:
    """Tiles (N, height, width, ...) at their places; what lies between them is the entry `GAP`, or `between`."""
    pitch_down, pitch_across = layout.height + layout.gap + layout.label, layout.width + layout.gap
    rest = tiles.shape[3:]
    canvas = np.full((layout.rows, pitch_down, layout.columns, pitch_across, *rest), between, dtype=np.uint8)
    full = np.full((layout.rows * layout.columns, *tiles.shape[1:]), between, dtype=np.uint8)
    full[: len(tiles)] = tiles
    block = full.reshape(layout.rows, layout.columns, *tiles.shape[1:])
    canvas[:, : layout.height, :, : layout.width] = np.swapaxes(block, 1, 2)
    height, width = layout.size
    return canvas.reshape(layout.rows * pitch_down, layout.columns * pitch_across, *rest)[:height, :width]


def whole_zoom(side: int, wanted: int) -> int:
    """The whole number that brings `side` pixels nearest to `wanted` without going beyond; at least 1.

    >>> whole_zoom(28, 64), whole_zoom(224, 64)
    (2, 1)
    """
    return max(1, wanted // max(1, side))
