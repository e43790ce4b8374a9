"""Contact sheets of patches: what a unit's place sees, the whole image around it, and the unit's score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cutaway.errors import InputError
from cutaway.numerals import number
from cutaway.pictures.colours import ACCENT, INK, PAPER, RULE, Bytes
from cutaway.pictures.mosaic import whole_zoom
from cutaway.pictures.picture import LABEL_SIZE, Label, Picture, framed
from cutaway.pictures.text import shortened, text_width

Box = tuple[int, int, int, int]
CELL = 72  # pixels that a patch or an image is brought near to
_NOTE = "flat areas lie beyond the image's border"
_ARM = 4
_LINE = LABEL_SIZE + 3
_GAP = 8
_HEAD = LABEL_SIZE + 12


@dataclass(frozen=True, eq=False)
class Shot:
    """One patch.

    Attributes:
        image: uint8 (C, H, W), the whole image.
        box: top, left, bottom, right of the patch, the last two exclusive; may reach beyond the image.
        score: of the unit.
        name: of the image.
    """

    image: NDArray[np.uint8]
    box: Box
    score: float
    name: str


def unit_sheet(groups: Sequence[tuple[str, Sequence[Shot]]], *, title: str = "") -> Picture:
    """One unit: a heading and a row for each group; the patch, its score, the whole image with the patch marked.

    Args:
        groups: what a row shows, and its patches.
        title: a line above.
    """
    shots = [shot for _, row in groups for shot in row]
    if not shots:
        raise InputError("a sheet of exemplars needs at least one patch; none were given")
    cells = [(tile(patch(shot)), tile(shot.image, shot.box)) for shot in shots]
    high = [max(pair[part].shape[0] for pair in cells) for part in (0, 1)]
    width = max(max(part.shape[1] for part in pair) for pair in cells)
    columns, pitch = max(len(row) for _, row in groups), _HEAD + sum(high) + 2 * _LINE + _GAP
    grid = _paper(len(groups) * pitch, columns * (width + _GAP) - _GAP)
    words, waiting = [], iter(cells)
    for row, (heading, group) in enumerate(groups):
        top = row * pitch
        words.append(Label(top, 0, shortened(heading, LABEL_SIZE, grid.shape[1]), LABEL_SIZE, INK))
        for column, shot in enumerate(group):
            left, (crop, whole) = column * (width + _GAP), next(waiting)
            _put(grid, crop, top + _HEAD, left, width)
            words.append(_word(number(shot.score), top + _HEAD + high[0], left, width, INK))
            _put(grid, whole, top + _HEAD + high[0] + _LINE, left, width)
            words.append(_word(shot.name, top + _HEAD + sum(high) + _LINE, left, width))
    return framed(grid, title=title, labels=words, caption=f"{title}  ·  {_NOTE}")


def layer_sheet(rows: Sequence[tuple[str, Sequence[Shot]]], *, title: str = "") -> Picture:
    """Many units of a layer: a row of patches for each, with their scores.

    Args:
        rows: the unit's name, and its patches.
        title: a line above.
    """
    cells = [[tile(patch(shot)) for shot in row] for _, row in rows]
    if not any(cells):
        raise InputError("a sheet of exemplars needs at least one patch; none were given")
    high = max(cell.shape[0] for row in cells for cell in row)
    width = max(max(cell.shape[1] for row in cells for cell in row), text_width("−0.0001", LABEL_SIZE))
    margin = max(text_width(name, LABEL_SIZE + 1) for name, _ in rows) + _GAP
    pitch, columns = high + _LINE + _GAP // 2, max(len(row) for row in cells)
    grid = _paper(len(rows) * pitch, margin + columns * (width + _GAP) - _GAP)
    words = []
    for index, ((name, shots), row) in enumerate(zip(rows, cells, strict=True)):
        words.append(Label(index * pitch + high // 2 - LABEL_SIZE // 2, 0, name, LABEL_SIZE + 1, INK))
        for column, (shot, cell) in enumerate(zip(shots, row, strict=True)):
            left = margin + column * (width + _GAP)
            _put(grid, cell, index * pitch, left, width)
            words.append(_word(number(shot.score), index * pitch + high, left, width))
    return framed(grid, title=title, labels=words, caption=f"{title}  ·  {_NOTE}")


def patch(shot: Shot) -> NDArray[np.uint8]:
    """The pixels of a shot's box, uint8 (C, h, w), or RGB (3, h, w) where it reaches beyond the image.

    Outside the image there is nothing to show but the network's padding: drawn in the colour of rules. A box that is
    larger than the image is shown as the whole side of the image.
    """
    sides = shot.image.shape[1:]
    spans = [
        (0, side) if end - start >= side else (start, end)
        for side, start, end in zip(sides, shot.box[:2], shot.box[2:], strict=True)
    ]
    inside = [(max(0, start), min(side, end)) for side, (start, end) in zip(sides, spans, strict=True)]
    if inside == spans:
        return shot.image[:, spans[0][0] : spans[0][1], spans[1][0] : spans[1][1]]
    blank = np.broadcast_to(np.array(RULE, np.uint8)[:, None, None], (3, *(end - start for start, end in spans))).copy()
    target, source = (
        tuple(
            slice(start - origin, max(start, end) - origin)
            for (start, end), origin in zip(inside, origins, strict=True)
        )
        for origins in ((spans[0][0], spans[1][0]), (0, 0))
    )
    blank[:, *target] = colours(shot.image)[:, *source]
    return blank


def colours(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """An image (C, H, W) of any channels as RGB (3, H, W): the first three, or the first one as grey."""
    return image[:3] if len(image) >= 3 else np.repeat(image[:1], 3, axis=0)


def tile(image: NDArray[np.uint8], box: Box | None = None) -> Bytes:
    """An image (C, H, W) as a tile uint8 (h, w, 3) near `CELL` pixels, with a box outlined, or its middle crossed.

    A box that holds the whole image has no edge to draw; a cross in its middle says where the unit's place is.

    A small image is enlarged by a whole number, each pixel a square; one more than half again as large as the cell is
    brought down by a whole number, each pixel the mean of a square.
    """
    rgb = colours(image).transpose(1, 2, 0)
    side = max(rgb.shape[:2])
    zoom, shrink = whole_zoom(side, CELL), 1 if side <= 1.5 * CELL else -(-side // int(1.5 * CELL))
    drawn = np.repeat(np.repeat(rgb, zoom, 0), zoom, 1) if shrink == 1 else _means(rgb, shrink)
    if box is not None:
        edges = [round(edge * zoom / shrink) for edge in box]
        holds_all = max(edges[:2]) <= 0 and edges[2] >= drawn.shape[0] and edges[3] >= drawn.shape[1]
        (_cross if holds_all else _outline)(drawn, edges)
    return drawn


def _means(rgb: Bytes, by: int) -> Bytes:
    height, width = (max(1, length // by) * by for length in rgb.shape[:2])
    blocks = rgb[:height, :width].reshape(height // by, by, width // by, by, 3)
    return np.asarray(np.rint(blocks.mean((1, 3))), np.uint8)


def _cross(drawn: Bytes, box: Sequence[int]) -> None:
    """Mark the middle of a box, in place."""
    row, column = ((start + end) // 2 for start, end in zip(box[:2], box[2:], strict=True))
    rows, columns = (slice(max(0, middle - _ARM), max(0, middle + _ARM + 1)) for middle in (row, column))
    if 0 <= row < drawn.shape[0]:
        drawn[row, columns] = ACCENT
    if 0 <= column < drawn.shape[1]:
        drawn[rows, column] = ACCENT


def _outline(drawn: Bytes, box: Sequence[int]) -> None:
    """Draw the edge of a box, in place, as far as it lies in the picture."""
    top, left, bottom, right = box
    height, width = drawn.shape[:2]
    rows, columns = slice(max(0, top), max(0, bottom)), slice(max(0, left), max(0, right))
    for row in (top, bottom - 1):
        if 0 <= row < height:
            drawn[row, columns] = ACCENT
    for column in (left, right - 1):
        if 0 <= column < width:
            drawn[rows, column] = ACCENT


def _paper(height: int, width: int) -> Bytes:
    grid = np.empty((height, width, 3), np.uint8)
    grid[:] = PAPER
    return grid


def _put(grid: Bytes, part: Bytes, top: int, left: int, width: int) -> None:
    """Lay a tile into a column, in its middle."""
    left += (width - part.shape[1]) // 2
    grid[top : top + part.shape[0], left : left + part.shape[1]] = part


def _cut(text: str, width: int) -> str:
    """`text`, its end cut off until it fits: an image's number stands first."""
    if text_width(text, LABEL_SIZE) <= width:
        return text
    return next(
        (f"{text[:end]}…" for end in range(len(text), 0, -1) if text_width(f"{text[:end]}…", LABEL_SIZE) <= width), ""
    )


def _word(text: str, top: int, left: int, width: int, colour: tuple[int, int, int] | None = None) -> Label:
    text = _cut(text, width + _GAP // 2)
    label = Label(top + 1, left + max(0, (width - text_width(text, LABEL_SIZE)) // 2), text)
    return label if colour is None else Label(label.row, label.column, text, LABEL_SIZE, colour)
