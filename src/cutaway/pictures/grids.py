"""Grids: a layer's channels, its kernels, a set of images, and a whole network in one picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cutaway.errors import InputError
from cutaway.numerals import number
from cutaway.pictures.colours import GAP, INK, PAPER, Bytes, Scale, palette
from cutaway.pictures.mosaic import Layout, mosaic, place, tile_entries, whole_zoom
from cutaway.pictures.picture import LABEL_SIZE, Label, Picture, framed
from cutaway.pictures.text import shortened, text_width

TILE = 64  # pixels that a tile is brought near to
NUMBER = LABEL_SIZE + 4  # pixels below a tile for its number


def choose(count: int, wanted: int | None, seed: int = 0) -> NDArray[np.int64]:
    """`wanted` of `count` numbers, ascending, the same for the same seed; all of them if `wanted` is None.

    >>> choose(4, None)
    array([0, 1, 2, 3])
    """
    if wanted is None or wanted >= count:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, wanted, replace=False))


def channel_grid(
    maps: NDArray[Any],
    *,
    layer: str = "",
    channels: Sequence[int] | None = None,
    count: int | None = None,
    seed: int = 0,
    scale: Scale | None = None,
    shared: bool = True,
    columns: int | None = None,
    zoom: int | None = None,
) -> Picture:
    """The channels of one layer for one image, each with its number; a channel of zeros is hatched.

    Args:
        maps: float (C, H, W).
        layer: its name, for the title.
        channels: the number of each map, if `maps` is a choice of the layer's channels; else 0 .. C - 1.
        count: show so many of them, chosen by `seed`; None for all.
        seed: which choice.
        scale: the colour scale; None for the one that just holds `maps`.
        shared: one scale for all channels, or each its own.
        columns: tiles in a row; None for a picture about as high as wide.
        zoom: whole number of pixels a value; None to bring a tile near to 64 pixels.
    """
    maps = _need(maps, 3, "maps", "(C, H, W)")
    shown = choose(len(maps), count, seed)
    numbers = list(range(len(maps))) if channels is None else list(channels)
    maps = maps[shown]
    scale = scale or Scale.of(maps, shared=shared)
    zoom = zoom or whole_zoom(max(maps.shape[1:]), TILE)
    layout = _layout(maps, zoom, columns, NUMBER)
    words = [_below(layout, tile, str(numbers[index])) for tile, index in enumerate(shown)]
    title = f"{layer}  ·  {_some(len(shown), len(numbers), 'channel')} of {maps.shape[1]}×{maps.shape[2]}".strip(" ·")
    return framed(mosaic(maps, scale, layout, zoom).pixels, title=title, labels=words, scale=scale)


def kernel_grid(
    kernels: NDArray[Any],
    *,
    layer: str = "",
    what: str = "kernels",
    scale: Scale | None = None,
    shared: bool = True,
    rgb: bool = False,
    max_outputs: int = 64,
    max_inputs: int = 16,
    seed: int = 0,
    zoom: int | None = None,
) -> Picture:
    """The kernels of a layer (or anything of their shape, as their gradients): a group of tiles an output channel.

    Args:
        kernels: float (out, in, kh, kw), signed.
        layer: its name, for the title.
        what: what they are, for the title.
        scale: the colour scale; None for the one that just holds them.
        shared: one scale for all, or each tile its own.
        rgb: show three input channels as the red, green and blue of one tile (mid grey is zero).
        max_outputs: show at most so many output channels, chosen by `seed`.
        max_inputs: show at most so many input channels, chosen by `seed`.
        seed: which choice.
        zoom: whole number of pixels a value.
    """
    kernels = _need(kernels, 4, "kernels", "(out, in, kh, kw)")
    outputs, inputs = choose(len(kernels), max_outputs, seed), choose(kernels.shape[1], max_inputs, seed)
    title = (
        f"{layer}  ·  {what} {kernels.shape[2]}×{kernels.shape[3]}  ·  {_some(len(outputs), len(kernels), 'output')}"
    )
    title = (title + f", {_some(len(inputs), kernels.shape[1], 'input')}").strip(" ·")
    kernels = kernels[np.ix_(outputs, inputs)]
    scale = scale or Scale.of(kernels, "signed", shared=shared)
    zoom = zoom or whole_zoom(max(kernels.shape[2:]), 36)
    if rgb and kernels.shape[1] == 3:
        return _rgb_kernels(kernels, outputs, scale, zoom, title)
    groups = kernel_groups(kernels, scale, zoom)
    layout = _layout(groups, 1, None, NUMBER, gap=12)
    words = [_below(layout, tile, str(index)) for tile, index in enumerate(outputs)]
    return framed(palette(scale.kind)[place(groups, layout)], title=title, labels=words, scale=scale)


def kernel_groups(kernels: NDArray[Any], scale: Scale, zoom: int) -> Bytes:
    """One tile an output channel: its input channels side by side, a pixel between them."""
    outputs, inputs, height, width = kernels.shape
    tiles = tile_entries(kernels.reshape(outputs * inputs, height, width), scale, zoom)
    inner = Layout(inputs, min(inputs, 8), height * zoom, width * zoom, gap=2)
    return np.stack([place(group, inner) for group in tiles.reshape(outputs, inputs, *tiles.shape[1:])])


def _rgb_kernels(kernels: NDArray[Any], outputs: NDArray[Any], scale: Scale, zoom: int, title: str) -> Picture:
    limit = scale.high or 1.0
    colours = np.clip((kernels / limit + 1) * 127.5, 0, 255).astype(np.uint8).transpose(0, 2, 3, 1)
    tiles = np.repeat(np.repeat(colours, zoom, axis=1), zoom, axis=2)
    layout = _layout(tiles[..., 0], 1, None, NUMBER)
    words = [_below(layout, tile, str(index)) for tile, index in enumerate(outputs)]
    note = f"red, green and blue are the three input channels; grey is 0, full is ±{number(limit)}"
    words.append(Label(layout.size[0] + 6, 0, note))
    grid = np.concatenate([_on_paper(tiles, layout), np.full((24, layout.size[1], 3), PAPER, dtype=np.uint8)])
    return Picture(framed(grid, title=title, labels=words).pixels, f"{title}; {note}", scale)


def image_grid(
    images: NDArray[np.uint8],
    labels: Sequence[str] | None = None,
    *,
    columns: int | None = None,
    zoom: int | None = None,
) -> Picture:
    """Images uint8 (N, C, H, W), one or three channels, with a word below each."""
    images = _need(images, 4, "images", "(N, C, H, W)")
    tiles = np.repeat(images, 3, axis=1) if images.shape[1] == 1 else images[:, :3]
    zoom = zoom or whole_zoom(max(tiles.shape[2:]), TILE)
    tiles = np.repeat(np.repeat(tiles.transpose(0, 2, 3, 1), zoom, axis=1), zoom, axis=2)
    layout = _layout(tiles[..., 0], 1, columns, NUMBER if labels else 0, gap=4)
    words = [
        _below(layout, tile, shortened(str(label), LABEL_SIZE, layout.width)) for tile, label in enumerate(labels or ())
    ]
    return framed(_on_paper(tiles, layout), labels=words, caption=f"{len(images)} images")


def _on_paper(tiles: Bytes, layout: Layout) -> Bytes:
    """RGB tiles (N, h, w, 3) at their places on paper."""
    blank = place(np.zeros(tiles.shape[:3], dtype=np.uint8), layout) == GAP
    return np.where(blank[..., None], np.array(PAPER, dtype=np.uint8), place(tiles, layout))


def network_figure(
    layers: Sequence[tuple[str, NDArray[Any]]], *, count: int = 10, seed: int = 0, title: str = ""
) -> Picture:
    """A column a layer, `count` of its channels in it: one image on its way through the network.

    Each column has one colour scale for its channels, with the largest value below.

    Args:
        layers: name and maps, float (C, H, W), in the order of the forward pass.
        count: channels a layer, chosen by `seed`.
        seed: which choice.
        title: a line above.
    """
    if not layers:
        raise InputError("a figure of a network needs the maps of at least one layer; none were given")
    cell = max(TILE, *(max(maps.shape[1:]) for _, maps in layers))
    head, foot, gap = LABEL_SIZE + 8, LABEL_SIZE + 6, 8
    height = head + count * (cell + NUMBER) + foot
    grid = np.full((height, len(layers) * (cell + gap) - gap, 3), PAPER, dtype=np.uint8)
    words: list[Label] = []
    for index, (name, maps) in enumerate(layers):
        left = index * (cell + gap)
        words += _column(grid[head:, left : left + cell], maps, count, seed, head, left)
        words.append(Label(0, left, shortened(name, LABEL_SIZE, cell), LABEL_SIZE, INK))
    caption = title or f"{len(layers)} layers, {count} channels each; one scale a layer, its largest value below"
    return framed(grid, title=title, labels=words, caption=caption)


def _column(area: Bytes, maps: NDArray[Any], count: int, seed: int, head: int, left: int) -> list[Label]:
    """Draw one layer into its column; the words that belong to it."""
    shown, cell = choose(len(maps), count, seed), area.shape[1]
    maps = _need(maps, 3, "maps", "(C, H, W)")[shown]
    scale, zoom = Scale.of(maps), whole_zoom(max(maps.shape[1:]), cell)
    layout = Layout(len(maps), 1, maps.shape[1] * zoom, maps.shape[2] * zoom, 0, cell - maps.shape[1] * zoom + NUMBER)
    column = mosaic(maps, scale, layout, zoom).pixels
    area[: len(column), : column.shape[1]] = column
    words = [
        Label(head + tile * (cell + NUMBER) + cell + 1, left, str(number)) for tile, number in enumerate(shown.tolist())
    ]
    ends = f"±{number(scale.high)}" if scale.kind == "signed" else f"0 … {number(scale.high)}"
    return [*words, Label(head + count * (cell + NUMBER) + 2, left, shortened(ends, LABEL_SIZE, cell), LABEL_SIZE, INK)]


def _layout(tiles: NDArray[Any], zoom: int, columns: int | None, label: int, gap: int = 4) -> Layout:
    height, width = tiles.shape[1] * zoom, tiles.shape[2] * zoom
    ratio = (height + gap + label) / (width + gap)
    columns = columns or max(1, math.ceil(math.sqrt(len(tiles) * ratio * 1.4)))
    return Layout(len(tiles), min(columns, len(tiles)), height, width, gap, label)


def _below(layout: Layout, tile: int, text: str) -> Label:
    row, column = layout.corner(tile)
    return Label(row + layout.height + 1, column + max(0, (layout.width - text_width(text, LABEL_SIZE)) // 2), text)


def _some(shown: int, total: int, noun: str) -> str:
    return f"{total} {noun}{'s' if total != 1 else ''}" if shown == total else f"{shown} of {total} {noun}s"


def _need(values: NDArray[Any], dimensions: int, what: str, shape: str) -> NDArray[Any]:
    values = np.asarray(values)
    if values.ndim != dimensions or not values.size:
        raise InputError(f"{what} must be {shape} and not empty; found {values.shape}")
    return values
