"""Many maps as one picture, a value a pixel: a page cuts its tiles out of it and enlarges them by a whole number."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cutaway.pictures.colours import Scale, to_indices
from cutaway.pictures.mosaic import Layout, Mosaic, dead_maps, place, whole_zoom

TILE = 84  # pixels that a tile is brought near to


@dataclass(frozen=True)
class Tile:
    """One tile: where it lies in the sprite, what stands below it, what is said of it, and where it leads.

    Attributes:
        left, top: its upper left pixel in the sprite.
        name: a channel's number, or whatever it is called.
        value: what tiles are sorted by.
        text: the value as it stands on the page.
        spoken: its name for those who hear the page, with its number.
        address: what it opens; "" for nothing.
        dead: zero everywhere.
    """

    left: int
    top: int
    name: str
    value: float
    text: str
    spoken: str
    address: str = ""
    dead: bool = False

    def leading_to(self, address: str) -> Tile:
        """The same tile, which opens `address`."""
        return replace(self, address=address)


@dataclass(frozen=True, eq=False)
class Sprite:
    """A picture of many tiles.

    Attributes:
        png: the picture.
        size: its height and width in pixels.
        tile: a tile's height and width in it.
        zoom: the whole number that enlarges it on a page.
        scale: the colours; None for photographs.
        corners: left and top of each tile.
        dead: which tiles are zero everywhere.
    """

    png: bytes
    size: tuple[int, int]
    tile: tuple[int, int]
    zoom: int
    scale: Scale | None
    corners: tuple[tuple[int, int], ...]
    dead: tuple[bool, ...]


def map_sprite(maps: NDArray[Any], scale: Scale | None = None, wanted: int = TILE, *, shared: bool = True) -> Sprite:
    """Maps float (N, h, w) on one scale, or each on its own; None for the scale that just holds them."""
    scale = replace(scale or Scale.of(maps), shared=shared)
    if shared:
        entries = to_indices(maps, scale)
    else:
        entries = np.stack([to_indices(one, Scale.of(one, scale.kind)) for one in maps])
    layout = _layout(maps.shape)
    png = Mosaic(place(entries, layout), scale.kind).png()
    return _sprite(png, layout, scale, tuple(dead_maps(maps).tolist()), wanted)


def _layout(shape: tuple[int, ...]) -> Layout:
    """Tiles beside each other without gaps: a page has its own."""
    count, height, width = shape
    columns = max(1, math.ceil(math.sqrt(count * height / width)))
    return Layout(count, min(columns, count), height, width, gap=0)


def _sprite(png: bytes, layout: Layout, scale: Scale | None, dead: tuple[bool, ...], wanted: int) -> Sprite:
    corners = tuple(layout.corner(tile)[::-1] for tile in range(layout.count))
    zoom = whole_zoom(max(layout.height, layout.width), wanted)
    return Sprite(png, layout.size, (layout.height, layout.width), zoom, scale, corners, dead)
