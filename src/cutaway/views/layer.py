"""What the page of a layer shows: all its channels with their sort keys, and one picture for a whole grid of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from cutaway.errors import unknown
from cutaway.pictures.colours import Bytes
from cutaway.pictures.mosaic import Layout, place
from cutaway.pictures.stills import Still
from cutaway.runs.atlas import Atlas, LayerRecord
from cutaway.views.patches import best_crops


@dataclass(frozen=True)
class ChannelRow:
    """One unit in the list of its layer; None: not made yet.

    Attributes:
        channel: its number.
        dead: whether its activation was zero everywhere.
        response: its mean over the data.
        high: the highest answer to the images of the split.
        active: share of places where its activation is not zero.
        label, vote: the class it votes for most, and by how much.
    """

    channel: int
    dead: bool | None = None
    response: float | None = None
    high: float | None = None
    active: float | None = None
    label: str = ""
    vote: float | None = None


@dataclass(frozen=True, eq=False)
class LayerView:
    """All that the page of a layer shows besides its grids.

    Attributes:
        layer, kind, channels, map_size, field, field_exact: as of a unit.
        rows: one for each channel, by number.
        previous, following: the layers before and after it in the atlas; None at the ends.
    """

    layer: str
    kind: str
    channels: int
    map_size: tuple[int, int]
    field: tuple[int, int]
    field_exact: bool
    rows: tuple[ChannelRow, ...]
    previous: str | None
    following: str | None

    def sorted(self, key: str = "name") -> list[int]:
        """The channels by "name" (number), "response", "high" or "active" (highest first), or "dead" (dead first)."""
        if key not in _KEYS:
            raise unknown("sort key", key, _KEYS, f"one of {', '.join(_KEYS)}")
        return [row.channel for row in sorted(self.rows, key=_KEYS[key])]


def _falling(name: str) -> Callable[[ChannelRow], tuple[bool, float]]:
    def key(row: ChannelRow) -> tuple[bool, float]:
        value = getattr(row, name)
        return value is None, -(value or 0.0)

    return key


_KEYS: dict[str, Callable[[ChannelRow], Any]] = {
    "name": lambda row: row.channel,
    "response": _falling("response"),
    "high": _falling("high"),
    "active": _falling("active"),
    "dead": lambda row: (not row.dead, row.channel),
}


@dataclass(frozen=True, eq=False)
class Sheet:
    """One picture of photographs, one of each channel.

    Attributes:
        kind: "exemplars" or "imagined".
        still: the picture.
        layout: where its cells lie.
        channels: which channel each cell shows.
    """

    kind: str
    still: Still
    layout: Layout
    channels: tuple[int, ...]


def view_layer(atlas: Atlas, layer: str) -> LayerView:
    """Everything that an atlas has of a layer, besides the pictures."""
    found, names = atlas.layer(layer), list(atlas.layers)
    position = names.index(layer)
    return LayerView(
        layer=layer,
        kind=found.kind,
        channels=found.channels,
        map_size=found.size,
        field=found.field,
        field_exact=found.exact,
        rows=tuple(_rows(atlas, found)),
        previous=names[position - 1] if position else None,
        following=names[position + 1] if position + 1 < len(names) else None,
    )


def _rows(atlas: Atlas, layer: LayerRecord) -> list[ChannelRow]:
    responses = atlas.arrays("responses", layer.name, ["active", "mean", "votes"])
    about = atlas.about("responses", layer.name)
    best = atlas.arrays("exemplars", layer.name, ["best.scores"])
    highs = best["best.scores"][:, 0].tolist() if best else [None] * layer.channels
    if responses is None or about is None:
        return [ChannelRow(channel, high=high) for channel, high in enumerate(highs)]
    votes = responses["votes"]
    first = votes.argmax(1).tolist() if votes.shape[1] else []
    labels = [atlas.class_name(about["classes"][index]) for index in first] or [""] * layer.channels
    strongest = votes.max(1).tolist() if votes.shape[1] else [None] * layer.channels
    return [
        ChannelRow(channel, active == 0, mean, high, active, label, vote)
        for channel, (mean, high, active, label, vote) in enumerate(
            zip(responses["mean"].tolist(), highs, responses["active"].tolist(), labels, strongest, strict=True)
        )
    ]


def exemplar_sprite(atlas: Atlas, layer: str) -> Sheet | None:
    """The best patch of every channel of a layer; None where the exemplars are not made yet."""
    found = atlas.layer(layer)
    crops = best_crops(atlas, found)
    return _photographs("exemplars", crops) if crops else None


def imagined_sprite(atlas: Atlas, layer: str) -> Sheet | None:
    """The imagined image of every channel of a layer that has one; None where none has."""
    images = atlas.imagined_all(layer)
    if not images:
        return None
    return _photographs("imagined", {channel: Still.read(data).pixels for channel, data in images.items()})


def _photographs(kind: str, pixels: Mapping[int, Bytes]) -> Sheet:
    """Photographs (h, w, 3) by channel, each in the middle of its cell; what is around them is transparent."""
    height, width = (max(image.shape[side] for image in pixels.values()) for side in (0, 1))
    tiles = np.zeros((len(pixels), height, width, 4), np.uint8)
    for cell, image in zip(tiles, pixels.values(), strict=True):
        top, left = (height - image.shape[0]) // 2, (width - image.shape[1]) // 2
        part = cell[top : top + image.shape[0], left : left + image.shape[1]]
        part[..., :3], part[..., 3] = image, 255
    layout = _layout(len(tiles), height, width)
    return Sheet(kind, Still.png(place(tiles, layout, between=0)), layout, tuple(pixels))


def _layout(count: int, height: int, width: int, gap: int = 2) -> Layout:
    """A grid about as high as wide."""
    wanted = max(1, round(math.sqrt(count * (height + gap) / (width + gap))))
    return Layout(count, min(count, wanted), height, width, gap)
