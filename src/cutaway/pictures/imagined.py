"""Imagined images: each with its target and the number it reached; and rows of them, before and after."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cutaway.errors import InputError
from cutaway.numerals import number
from cutaway.pictures.colours import INK, PAPER
from cutaway.pictures.mosaic import whole_zoom
from cutaway.pictures.picture import LABEL_SIZE, Label, Picture, framed
from cutaway.pictures.text import shortened

_TILE = 160  # pixels that an image is brought near to
_GAP = 8
_LINE = LABEL_SIZE + 4


def imagined_grid(
    images: NDArray[np.uint8],
    names: Sequence[str],
    numbers: Sequence[float],
    *,
    title: str = "",
    columns: int | None = None,
) -> Picture:
    """Images uint8 (N, C, H, W), one or three channels, with name and number below each."""
    tiles = _tiles(_need(images, 4, "(N, C, H, W)"))
    count, height, width = tiles.shape[:3]
    columns = min(count, columns or math.ceil(math.sqrt(count * 1.4)))
    pitch = (height + 2 * _LINE + _GAP, width + _GAP)
    grid = _paper(math.ceil(count / columns) * pitch[0] - _GAP, columns * pitch[1] - _GAP)
    words = []
    for index, tile in enumerate(tiles):
        top, left = index // columns * pitch[0], index % columns * pitch[1]
        grid[top : top + height, left : left + width] = tile
        words.append(Label(top + height + 1, left, shortened(names[index], LABEL_SIZE, width), colour=INK))
        words.append(Label(top + height + 1 + _LINE, left, number(numbers[index])))
    listed = ", ".join(f"{name} {number(value)}" for name, value in zip(names, numbers, strict=True))
    return framed(grid, labels=words, caption=title or listed)


def rows_grid(rows: NDArray[np.uint8], labels: Sequence[str], *, title: str = "") -> Picture:
    """Rows of the same images, uint8 (rows, N, C, H, W): before and after, or step by step; a word below each row."""
    rows = _need(rows, 5, "(rows, N, C, H, W)")
    tiles = [_tiles(row) for row in rows]
    height, width = tiles[0].shape[1:3]
    pitch = height + _LINE + _GAP
    grid = _paper(len(rows) * pitch - _GAP, rows.shape[1] * (width + _GAP) - _GAP)
    words = []
    for index, row in enumerate(tiles):
        for place, tile in enumerate(row):
            left = place * (width + _GAP)
            grid[index * pitch : index * pitch + height, left : left + width] = tile
        words.append(Label(index * pitch + height + 1, 0, labels[index]))
    return framed(grid, title=title, labels=words, caption=title or f"{', '.join(labels)} of {rows.shape[1]} images")


def _tiles(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """RGB tiles (N, h, w, 3), enlarged by a whole number."""
    colours = np.repeat(images, 3, axis=1) if images.shape[1] == 1 else images[:, :3]
    zoom = whole_zoom(max(images.shape[2:]), _TILE)
    return np.repeat(np.repeat(colours.transpose(0, 2, 3, 1), zoom, axis=1), zoom, axis=2)


def _paper(height: int, width: int) -> NDArray[np.uint8]:
    return np.broadcast_to(np.array(PAPER, dtype=np.uint8), (height, width, 3)).copy()


def _need(images: NDArray[Any], dimensions: int, shape: str) -> NDArray[np.uint8]:
    if images.ndim != dimensions or not images.size or images.shape[-3] not in (1, 3):
        raise InputError(f"images must be uint8 {shape} of 1 or 3 channels and not empty; found {images.shape}")
    return images
