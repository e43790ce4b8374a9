"""All units of a layer as one grid of links: the sprite of an atlas with what stands below and behind each tile."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cutaway.numerals import number
from cutaway.pictures.mosaic import whole_zoom
from cutaway.views.layer import LayerView, Sheet
from cutaway.views.sprite import Sprite, Tile
from cutaway.words import Words

_TILE = 84  # pixels that a tile is brought near to


@dataclass(frozen=True, eq=False)
class Grid:
    """A grid on a page: its kind ("exemplars" or "imagined"), its picture, its tiles."""

    kind: str
    sprite: Sprite
    tiles: tuple[Tile, ...]


def sheet(found: Sheet, layer: LayerView, address: Callable[[str, int], str], say: Words) -> Grid:
    """The grid of `found`, whose tiles lead to `address(layer, channel)` and can be sorted by the highest answer."""
    corners = {channel: found.layout.corner(place)[::-1] for place, channel in enumerate(found.channels)}
    dead = {row.channel for row in layer.rows if row.dead}
    highs = {row.channel: row.high for row in layer.rows}
    tiles = tuple(
        Tile(
            left=left,
            top=top,
            name=str(channel),
            value=highs.get(channel) or 0.0,
            text="" if highs.get(channel) is None else number(highs[channel] or 0.0),
            spoken=_spoken(channel, highs.get(channel), channel in dead, say),
            address=address(layer.layer, channel),
            dead=channel in dead,
        )
        for channel, (left, top) in corners.items()
    )
    size, tile = found.layout.size, (found.layout.height, found.layout.width)
    zoom = whole_zoom(max(tile), _TILE)
    flags = tuple(tile.dead for tile in tiles)
    return Grid(found.kind, Sprite(found.still.data, size, tile, zoom, None, tuple(corners.values()), flags), tiles)


def _spoken(channel: int, high: float | None, dead: bool, say: Words) -> str:
    if dead:
        return say("layer.tile_dead", channel=channel)
    return say("layer.tile", channel=channel, value="–" if high is None else number(high))
