"""Explanations: a map beside its image, over its image, and many methods side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cutaway.errors import InputError
from cutaway.numerals import number
from cutaway.pictures.colours import FAINT, INK, PAPER, Bytes, Kind, Scale, palette, to_indices, to_rgb
from cutaway.pictures.exemplars import colours
from cutaway.pictures.mosaic import Layout, place, whole_zoom
from cutaway.pictures.picture import LABEL_SIZE, Label, Picture, framed
from cutaway.pictures.text import shortened

LARGE, SMALL = 224, 168  # pixels that a tile is brought near to, in a figure and in a sheet
INSIDE = 99.5  # per cent of the pixels that a scale holds; the few beyond it have its last colour
LINE = LABEL_SIZE + 3
_PALE = 0.55  # how far the image behind a map is drawn towards white


@dataclass(frozen=True, eq=False)
class Tile:
    """One map of a sheet.

    Attributes:
        name: the method.
        heat: float (H, W); None where there is no map, and `lines` say why.
        lines: what stands below it: its numbers.
    """

    name: str
    heat: NDArray[Any] | None
    lines: tuple[str, ...] = ()


def heat_scale(heat: NDArray[Any], *, signed: bool | None = None, shared: bool = True) -> Scale:
    """The scale of maps (..., H, W): up to the magnitude that 99.5 % of the pixels do not exceed.

    A single glowing pixel would otherwise leave all others pale. Signed, with zero in the middle, if any value is
    negative; `signed` decides otherwise.
    """
    values = np.asarray(heat, dtype=np.float64)
    finite = np.abs(values[np.isfinite(values)])
    limit = float(np.percentile(finite, INSIDE)) if finite.size else 0.0
    if limit == 0 and finite.size:
        limit = float(finite.max())  # nearly all is zero: then what is not decides
    signed = bool((values < 0).any()) if signed is None else signed
    return Scale(-limit, limit, "signed", shared) if signed else Scale(0.0, limit, "magnitude", shared)


def explanation_figure(
    images: NDArray[np.uint8],
    heat: NDArray[Any],
    *,
    title: str = "",
    names: Sequence[str] | None = None,
    signed: bool | None = None,
    shared: bool = False,
) -> Picture:
    """A row an image: the image, its map alone on a numbered scale, and the map over the image.

    Args:
        images: uint8 (N, C, H, W), one or three channels.
        heat: float (N, H, W), one map an image.
        title: a line above.
        names: a line below each image.
        signed: whether the scale has a negative half; None if the values do.
        shared: one scale for all images, or each its own, whose end stands below its map.
    """
    images, heat = _checked(images, heat)
    together = heat_scale(heat, signed=signed)
    scales = [together if shared else heat_scale(one, signed=together.kind == "signed") for one in heat]
    whole = replace(max(scales, key=lambda scale: scale.high), shared=shared or len(heat) == 1)
    zoom = whole_zoom(max(heat.shape[1:]), LARGE)
    layout = Layout(3 * len(heat), 3, heat.shape[1] * zoom, heat.shape[2] * zoom, 6, LINE)
    tiles, words = [], []
    for index, (image, one, scale) in enumerate(zip(images, heat, scales, strict=True)):
        tiles += [_colours(image), to_rgb(one, scale), overlay(image, one, scale)]
        below = (names[index] if names else "", range_line(one, scale), "map over image")
        words += [_line(layout, 3 * index + column, text, 0) for column, text in enumerate(below)]
    picture = framed(_placed(tiles, layout, zoom), title=title, labels=words, scale=whole)
    return Picture(picture.pixels, _caption(title, whole, len(heat)), whole)


def explanation_sheet(
    image: NDArray[np.uint8], tiles: Sequence[Tile], *, title: str = "", name: str = "", columns: int | None = None
) -> Picture:
    """Many methods on one image, each map over the image on a scale of its own, with its numbers below.

    Args:
        image: uint8 (C, H, W).
        tiles: the maps in the order in which they are shown.
        title: a line above.
        name: a line below the image, which stands first.
        columns: tiles in a row; None for a sheet a little wider than high.
    """
    maps = [tile.heat for tile in tiles if tile.heat is not None]
    if not maps:
        raise InputError("a sheet of explanations needs at least one map; none were given")
    image, _ = (both[0] for both in _checked(image[None], np.stack(maps[:1])))
    zoom = whole_zoom(max(image.shape[1:]), SMALL)
    height, width = (side * zoom for side in image.shape[1:])
    lines = 1 + max(len(tile.lines) for tile in tiles)
    count = len(tiles) + 1
    columns = columns or min(count, max(3, round((1.6 * count * (height + lines * LINE) / width) ** 0.5)))
    layout = Layout(count, columns, height, width, 8, lines * LINE + 4)
    drawn = [_colours(image), *(_tile(image, tile) for tile in tiles)]
    words = [_line(layout, 0, name, 0)]
    for index, tile in enumerate(tiles):
        words.append(_line(layout, index + 1, tile.name, 0, strong=True))
        words += [_line(layout, index + 1, text, row + 1) for row, text in enumerate(tile.lines)]
    note = "each map on its own scale, over the image in grey: red speaks for the target, blue against it"
    grid = _placed(drawn, layout, zoom, below=LINE + 6)
    words.append(Label(grid.shape[0] - LINE, 0, note))
    return framed(grid, title=title, labels=words, caption=f"{title}; {note}")


def overlay(image: NDArray[np.uint8], heat: NDArray[Any], scale: Scale) -> Bytes:
    """A map (H, W) over its image (C, H, W) in pale grey, uint8 (H, W, 3): the larger a value, the more it covers."""
    grey = _colours(image).astype(np.float32) @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
    pale = (grey + _PALE * (255 - grey))[..., None]
    limit = max(abs(scale.low), abs(scale.high))
    cover = np.clip(np.abs(np.nan_to_num(heat)) / limit, 0, 1)[..., None] if limit > 0 else np.zeros_like(pale)
    colours = _bright(scale.kind)[to_indices(heat, scale)].astype(np.float32)
    return np.asarray(np.rint(pale + 0.8 * cover**0.8 * (colours - pale)), dtype=np.uint8)


def range_line(heat: NDArray[Any], scale: Scale) -> str:
    """What must be said below a map: the end of its scale, and its largest magnitude where that lies beyond."""
    largest, sign = float(np.abs(heat).max()), "±" if scale.kind == "signed" else "0 … "
    beyond = f", largest {number(largest)}" if largest > scale.high * (1 + 1e-6) else ""
    return f"{sign}{number(scale.high)}{beyond}"


def _bright(kind: Kind) -> Bytes:
    """Colours over an image: those of a signed scale; for magnitudes its red arm, which is not taken for grey."""
    table = palette(kind).copy()
    if kind == "magnitude":
        table[:251] = palette("signed")[125 + np.arange(251) // 2]
    return table


def _tile(image: Bytes, tile: Tile) -> Bytes:
    if tile.heat is None:
        return np.full((*image.shape[1:], 3), PAPER, dtype=np.uint8)
    return overlay(image, tile.heat, heat_scale(tile.heat))


def _colours(image: NDArray[np.uint8]) -> Bytes:
    """Uint8 (C, H, W) as (H, W, 3)."""
    return colours(image).transpose(1, 2, 0)


def _placed(tiles: Sequence[Bytes], layout: Layout, zoom: int, below: int = LINE) -> Bytes:
    """The tiles at their places on paper, with room for the lines of the last row and `below` more."""
    stack = np.repeat(np.repeat(np.stack(tiles), zoom, axis=1), zoom, axis=2)
    height, width = layout.size
    grid = np.full((height + below, width, 3), PAPER, dtype=np.uint8)
    filled = place(np.full(stack.shape[:3], 1, dtype=np.uint8), layout) == 1
    grid[:height][filled] = place(stack, layout)[filled]
    return grid


def _line(layout: Layout, tile: int, text: str, line: int, *, strong: bool = False) -> Label:
    row, column = layout.corner(tile)
    colour = INK if strong else FAINT
    return Label(
        row + layout.height + 1 + line * LINE, column, shortened(text, LABEL_SIZE, layout.width), LABEL_SIZE, colour
    )


def _caption(title: str, scale: Scale, count: int) -> str:
    note = "" if count == 1 else "; one scale for all" if scale.shared else "; each image on its own scale"
    return f"{title}; the scale holds {INSIDE:g} % of the pixels{note}"


def _checked(images: NDArray[Any], heat: NDArray[Any]) -> tuple[NDArray[np.uint8], NDArray[Any]]:
    images, heat = np.asarray(images), np.asarray(heat)
    if images.ndim != 4 or heat.ndim != 3 or (len(images), *images.shape[2:]) != heat.shape:
        raise InputError(
            f"images must be (N, C, H, W) and maps (N, H, W) of the same size; found {images.shape} and {heat.shape}"
        )
    return images, heat
