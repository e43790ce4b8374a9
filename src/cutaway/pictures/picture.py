"""A finished picture: pixels with a title, a numbered scale bar and a caption, ready to save or to show."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from cutaway.files import write_bytes
from cutaway.numerals import number
from cutaway.pictures.colours import FAINT, INK, PAPER, STEPS, Bytes, Scale, palette
from cutaway.pictures.stills import png
from cutaway.pictures.text import NO_FONT, font_for, plain, text_width, writable
from cutaway.showing import Card, Shown, Still

MARGIN, TITLE_SIZE, LABEL_SIZE = 12, 13, 10
BAR_WIDTH, BAR_HEIGHT = 176, 8


@dataclass(frozen=True, eq=False)
class Picture(Shown):
    """An image with what must be said about it.

    Attributes:
        pixels: uint8 (H, W, 3).
        caption: one line that says what is shown.
        scale: the colour scale; None for photographs.
    """

    pixels: Bytes
    caption: str = ""
    scale: Scale | None = None

    def png(self) -> bytes:
        """The picture as a PNG file."""
        return png(self.pixels, level=4)

    def save(self, path: str | Path) -> Path:
        """Write it to `path` as a PNG, atomically."""
        write_bytes(Path(path), self.png())
        return Path(path)

    def still(self) -> Still:
        """The picture with its caption for those who do not see it."""
        return Still(self.png(), self.caption)

    def card(self) -> Card:
        """The picture with its caption below."""
        return Card("", (self.still(), self.caption))


@dataclass(frozen=True)
class Label:
    """A word at a place: `row` and `column` of its upper left corner inside the grid."""

    row: int
    column: int
    text: str
    size: int = LABEL_SIZE
    colour: tuple[int, int, int] = FAINT


def framed(
    grid: Bytes,
    *,
    title: str = "",
    labels: Iterable[Label] = (),
    scale: Scale | None = None,
    caption: str = "",
    written: Sequence[str] = (),
) -> Picture:
    """`grid`, uint8 (H, W, 3), on paper with its title above and its scale bar below; `written` stands on it already.

    Where a name has signs that no font here has, a line below says which to install.
    """
    top = MARGIN + (TITLE_SIZE + 10 if title else 0)
    labels = list(labels)
    texts = (title, *(label.text for label in labels), *written)
    hint = NO_FONT if any(font_for(plain(text)) is None for text in texts) else ""
    bottom = MARGIN + (BAR_HEIGHT + LABEL_SIZE + 18 if scale else 0) + (LABEL_SIZE + 10 if hint else 0)
    words_end = max((label.column + text_width(plain(label.text), label.size) for label in labels), default=0)
    titles_end = max(text_width(title, TITLE_SIZE), text_width(hint, LABEL_SIZE))
    width = max(grid.shape[1], titles_end, words_end, BAR_WIDTH + 170 if scale else 0) + 2 * MARGIN
    canvas = np.empty((top + grid.shape[0] + bottom, width, 3), dtype=np.uint8)
    canvas[:] = PAPER
    canvas[top : top + grid.shape[0], MARGIN : MARGIN + grid.shape[1]] = grid
    words = [Label(MARGIN - 3, MARGIN, title, TITLE_SIZE, INK)] if title else []
    words += [Label(top + label.row, MARGIN + label.column, label.text, label.size, label.colour) for label in labels]
    if scale:
        words += _draw_bar(canvas, top + grid.shape[0] + 14, MARGIN, BAR_WIDTH, scale)
        words.append(Label(top + grid.shape[0] + 12, MARGIN + BAR_WIDTH + 12, scale_note(scale)))
    if hint:
        words.append(Label(len(canvas) - MARGIN - LABEL_SIZE, MARGIN, hint))
    return Picture(write_words(canvas, words), caption or title, scale)


def _draw_bar(canvas: Bytes, top: int, left: int, width: int, scale: Scale) -> list[Label]:
    """Draw the colours of `scale`; the numbers that belong below them."""
    entries = np.rint(np.linspace(0, STEPS - 1, width)).astype(np.uint8)
    canvas[top : top + BAR_HEIGHT, left : left + width] = palette(scale.kind)[entries]
    low, high = number(scale.low), number(scale.high)
    row = top + BAR_HEIGHT + 3
    words = [Label(row, left, low), Label(row, left + width - text_width(high, LABEL_SIZE), high)]
    if scale.kind == "signed":
        words.append(Label(row, left + (width - text_width("0", LABEL_SIZE)) // 2, "0"))
    return words


def scale_note(scale: Scale) -> str:
    """In words, what the scale bar holds for."""
    return "one scale for all" if scale.shared else "each on its own scale; here the widest"


def write_words(canvas: Bytes, words: Sequence[Label]) -> Bytes:
    """`canvas` with the words on it; `?` for each sign that no font here has."""
    image = Image.fromarray(canvas)
    draw = ImageDraw.Draw(image)
    for word in words:
        text = writable(plain(word.text))
        draw.text((word.column, word.row), text, fill=word.colour, font=font_for(text, word.size))
    return np.asarray(image)
