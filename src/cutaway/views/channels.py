"""All channels of a layer as tiles of one sprite, sorted, the dead ones marked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cutaway.numerals import number
from cutaway.pictures.colours import Scale
from cutaway.views.sprite import Sprite, Tile, map_sprite
from cutaway.words import Words

SORTS = ("response", "number", "dead")


@dataclass(frozen=True, eq=False)
class ChannelsView:
    """The channels of a layer by one lens.

    Attributes:
        lens: "maps", "kernels" or "gradients".
        sprite: their picture.
        tiles: in the order of the page.
        dead: how many are zero everywhere.
        largest: the largest magnitude of any.
        beyond: how many have values beyond the scale.
    """

    lens: str
    sprite: Sprite
    tiles: tuple[Tile, ...]
    dead: int
    largest: float
    beyond: int


def view_channels(
    values: NDArray[Any],
    lens: str,
    scale: Scale,
    words: Words,
    address: Callable[[int], str],
    *,
    sort: str = "response",
    sources: Sequence[int] | None = None,
    numbers: Sequence[int] | None = None,
) -> ChannelsView:
    """Tiles of values float (channels, h, w).

    Args:
        values: a tile a channel.
        lens: what they are.
        scale: their colours.
        words: the catalogue.
        address: what a channel opens.
        sort: "response" (largest magnitude first; of maps the largest value), "number", or "dead" ones first.
        sources: for kernels, the input channel that each tile shows.
        numbers: the channels' own numbers, where `values` are only some of a layer's; `address` gets the place.
    """
    sprite = map_sprite(values, scale, shared=scale.shared)
    peaks = responses(values, lens)
    names = range(len(values)) if numbers is None else numbers
    tiles = [
        _tile(index, names[index], sprite, float(peaks[index]), lens, words, sources).leading_to(address(index))
        for index in order_of(values, lens, sort).tolist()
    ]
    reach = np.abs(values).reshape(len(values), -1).max(1)
    limit = max(abs(scale.low), abs(scale.high))
    return ChannelsView(
        lens,
        sprite,
        tuple(tiles),
        sum(sprite.dead),
        float(reach.max(initial=0)),
        int((reach > limit * 1.005).sum()) if scale.shared else 0,
    )


def responses(values: NDArray[Any], lens: str) -> NDArray[Any]:
    """What stands below a tile: of maps the largest value, of kernels and gradients the Euclidean norm; (channels,)."""
    flat = values.reshape(len(values), -1)
    return np.asarray(flat.max(1) if lens == "maps" else np.linalg.norm(flat, axis=1))


def order_of(values: NDArray[Any], lens: str, sort: str) -> NDArray[np.int64]:
    """The channels in the order of a page."""
    if sort == "number":
        return np.arange(len(values))
    strength = responses(values, lens)
    dead = ~values.reshape(len(values), -1).any(axis=1)
    keys = (-strength, ~dead) if sort == "dead" else (-strength,)
    return np.asarray(np.lexsort(keys))


def _tile(
    index: int, channel: int, sprite: Sprite, peak: float, lens: str, words: Words, sources: Sequence[int] | None
) -> Tile:
    left, top = sprite.corners[index]
    dead = sprite.dead[index]
    text = number(peak)
    key = "channel.dead" if dead else f"channel.{lens}"
    values = {"channel": channel, "value": text, "source": sources[index] if sources is not None else ""}
    return Tile(left, top, str(channel), peak, text, words(key, **values), dead=dead)
