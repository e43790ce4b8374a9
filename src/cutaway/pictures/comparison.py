"""Two networks side by side: the matrix of their layers' similarity, and the images on which they differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from cutaway.errors import InputError
from cutaway.pictures.colours import ACCENT, FAINT, INK, PAPER, Bytes, Scale, palette, to_rgb
from cutaway.pictures.grids import NUMBER, kernel_groups
from cutaway.pictures.mosaic import Layout, place, whole_zoom
from cutaway.pictures.picture import LABEL_SIZE, Label, Picture, framed
from cutaway.pictures.text import font_for, plain, shortened, text_width, writable

CELL_HEIGHT, CELL_WIDTH = 18, 26  # pixels of a cell with a number in it
_NAME, _TILE, _LINE = 150, 112, LABEL_SIZE + 3
_MOST_NUMBERS = 64  # layers a side up to which cells carry their number
_UNIT = Scale(0.0, 1.0, "magnitude")


def similarity_matrix(
    values: NDArray[Any],
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    title: str = "",
    sides: tuple[str, str] = ("", ""),
) -> Picture:
    """CKA between layers as a matrix on the fixed scale 0 .. 1, each cell with its number.

    The first layers are at the top left. A layer that cannot be compared (NaN) is magenta and has no number.

    Args:
        values: float (N, M), at most 1; what is below 0 is drawn as 0 and keeps its number.
        rows: the N names at the left.
        columns: the M names, along the top, written upwards.
        title: a line above.
        sides: what the rows and the columns are, for the caption.
    """
    values = np.asarray(values, dtype=np.float64)
    if values.shape != (len(rows), len(columns)) or not values.size:
        raise InputError(f"similarities must be (rows, columns) as the names; found {values.shape}")
    numbered = max(values.shape) <= _MOST_NUMBERS
    height, width = (CELL_HEIGHT, CELL_WIDTH) if numbered else (LABEL_SIZE + 2, LABEL_SIZE + 2)
    left = min(_NAME, max(text_width(name, LABEL_SIZE) for name in rows)) + 6
    heads = _upright([shortened(name, LABEL_SIZE, _NAME) for name in columns], width)
    cells = np.repeat(np.repeat(to_rgb(values, _UNIT), height, axis=0), width, axis=1)
    top = len(heads) + 4
    grid = np.full((top + len(cells), left + cells.shape[1], 3), PAPER, dtype=np.uint8)
    grid[: len(heads), left:] = heads
    grid[top:, left:] = cells
    words = [
        Label(top + row * height + (height - _LINE) // 2, 0, shortened(name, LABEL_SIZE, _NAME), LABEL_SIZE, INK)
        for row, name in enumerate(rows)
    ]
    if numbered:
        words += _numbers(values, cells, top, left)
    caption = f"rows: {sides[0]}, columns: {sides[1]}" if all(sides) else title
    return framed(grid, title=title, labels=words, scale=_UNIT, caption=caption, written=columns)


def _upright(names: Sequence[str], width: int) -> Bytes:
    """The names written upwards, one in each column of `width` pixels: uint8 (length, columns, 3)."""
    length = max(text_width(name, LABEL_SIZE) for name in names) + 2
    strip = Image.new("RGB", (length, len(names) * width), PAPER)
    draw = ImageDraw.Draw(strip)
    for index, name in enumerate(names):
        text = writable(plain(name))
        draw.text((2, index * width + (width - _LINE) // 2), text, fill=INK, font=font_for(text, LABEL_SIZE))
    # A quarter turn to the left puts the first line at the left and its beginning at the bottom.
    return np.rot90(np.asarray(strip))


def _numbers(values: NDArray[Any], cells: Bytes, top: int, left: int) -> list[Label]:
    words = []
    for (row, column), value in np.ndenumerate(values):
        if not np.isfinite(value):
            continue
        text = f"{value:.2f}".removeprefix("0")
        light = cells[row * CELL_HEIGHT, column * CELL_WIDTH].mean() < 110
        place_in = left + column * CELL_WIDTH + (CELL_WIDTH - text_width(text, LABEL_SIZE)) // 2
        colour = PAPER if light else INK
        words.append(Label(top + row * CELL_HEIGHT + 2, place_in, text, LABEL_SIZE, colour))
    return words


@dataclass(frozen=True)
class Said:
    """One line below an image: who says what, and whether it is wrong (None where nobody knows)."""

    text: str
    wrong: bool | None = None


def disagreement_sheet(
    images: NDArray[np.uint8], lines: Sequence[Sequence[Said]], *, title: str = "", columns: int = 8
) -> Picture:
    """Images with what was said of each below it; what is wrong is red.

    Args:
        images: uint8 (N, 1 or 3, H, W).
        lines: for each image the lines below it, as many for every image.
        title: a line above.
        columns: images in a row.
    """
    images = np.asarray(images)
    if len(images) != len(lines) or images.ndim != 4 or not images.size:
        raise InputError(f"a sheet needs images (N, C, H, W) and lines for each; found {images.shape}, {len(lines)}")
    tiles = [_thumbnail(image) for image in images]
    height = max(len(tile) for tile in tiles)
    columns = min(columns, len(tiles))
    pitch_down, pitch_across = height + len(lines[0]) * _LINE + 14, _TILE + 14
    size = (-(-len(tiles) // columns) * pitch_down - 10, columns * pitch_across - 14)
    grid = np.full((*size, 3), PAPER, dtype=np.uint8)
    words: list[Label] = []
    for index, (tile, said) in enumerate(zip(tiles, lines, strict=True)):
        top, left = index // columns * pitch_down, index % columns * pitch_across
        grid[top : top + len(tile), left : left + tile.shape[1]] = tile
        words += [
            Label(
                top + height + 2 + number * _LINE,
                left,
                shortened(line.text, LABEL_SIZE, _TILE),
                LABEL_SIZE,
                ACCENT if line.wrong else FAINT if line.wrong is None else INK,
            )
            for number, line in enumerate(said)
        ]
    return framed(grid, title=title, labels=words, caption=title)


def _thumbnail(image: NDArray[np.uint8]) -> Bytes:
    """RGB of an image (C, H, W) of any size: enlarged by a whole number, or made smaller, to at most `_TILE`."""
    colours = np.ascontiguousarray(np.moveaxis(np.repeat(image, 3, axis=0) if len(image) == 1 else image[:3], 0, -1))
    zoom = whole_zoom(max(colours.shape[:2]), _TILE)
    if max(colours.shape[:2]) > _TILE:
        shrunk = Image.fromarray(colours)
        shrunk.thumbnail((_TILE, _TILE))
        return np.asarray(shrunk)
    return np.repeat(np.repeat(colours, zoom, axis=0), zoom, axis=1)


def unit_kernels(
    kernels: NDArray[Any], units: Sequence[int], scale: Scale, *, title: str = "", inputs: int = 8
) -> Picture:
    """The kernels of some output channels, each below its own number, in the order given.

    Args:
        kernels: float (N, in, kh, kw), or gradients of kernels.
        units: the number of each of the N output channels.
        scale: the colour scale, which several pictures can share.
        title: a line above.
        inputs: at most so many input channels of each, from the first on; the title says so if there are more.
    """
    kernels = np.asarray(kernels)
    if kernels.ndim != 4 or len(kernels) != len(units) or not kernels.size:
        raise InputError(f"kernels must be (out, in, kh, kw) with a number each; found {kernels.shape}, {len(units)}")
    if kernels.shape[1] > inputs:
        title = f"{title}  ·  inputs 0 to {inputs - 1} of {kernels.shape[1]}"
    groups = kernel_groups(kernels[:, :inputs], scale, whole_zoom(max(kernels.shape[2:]), 36))
    # As many columns as make the sheet about as wide as a row of eight wide groups or twelve narrow ones.
    columns = min(len(groups), max(1, min(12, 600 // (groups.shape[2] + 12))))
    layout = Layout(len(groups), columns, groups.shape[1], groups.shape[2], 12, NUMBER)
    words = [
        Label(layout.corner(tile)[0] + layout.height + 1, layout.corner(tile)[1], str(unit))
        for tile, unit in enumerate(units)
    ]
    return framed(palette(scale.kind)[place(groups, layout)], title=title, labels=words, scale=scale)


def beside(pictures: Sequence[Picture], caption: str = "") -> Picture:
    """Pictures from left to right on one sheet of paper; the scale is that of the first, which they should share."""
    height = max(picture.pixels.shape[0] for picture in pictures)
    columns = []
    for picture in pictures:
        column = np.full((height, picture.pixels.shape[1], 3), PAPER, dtype=np.uint8)
        column[: picture.pixels.shape[0]] = picture.pixels
        columns.append(column)
    return Picture(np.concatenate(columns, axis=1), caption or pictures[0].caption, pictures[0].scale)
