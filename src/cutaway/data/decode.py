"""The one decoder: any image file to uint8 (C, H, W), or `Undecodable` with the reason in words."""

from __future__ import annotations

import functools
import io
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from PIL import Image

from cutaway.data import cost
from cutaway.data.cost import MOST_BYTES, size_of
from cutaway.data.cost import Undecodable as Undecodable  # other rooms take it from here
from cutaway.data.pixels import ORDINARY, fit, shrinking, shrunk, to_array, to_mode
from cutaway.data.reasons import missing, reason
from cutaway.errors import InputError
from cutaway.files import Unreadable, read_bytes

VERSION = 1
"""Raised whenever the same file would decode to other pixels, so that caches are made again."""

# No EPS, WMF or PDF: they hold programs and drawings, and opening them would start another program.
_FORMATS = (
    *("AVIF", "BMP", "DIB", "GIF", "ICO", "JPEG", "JPEG2000", "MPO"),
    *("PCX", "PNG", "PPM", "QOI", "SGI", "TIFF", "WEBP"),
)
_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ALONE = 100_000_000  # bytes: what takes more is decoded by one thread at a time


class Header(NamedTuple):
    """What a file says of its image before it is decoded.

    Attributes:
        height, width: in pixels, after EXIF orientation.
        grey: whether it has no colours.
        format: such as "JPEG".
        mode: Pillow's name for how a pixel is stored, such as "RGBA".
        turned: whether EXIF turns or mirrors it.
    """

    height: int
    width: int
    grey: bool
    format: str
    mode: str
    turned: bool


def decode(
    file: Path | str | bytes | BinaryIO,
    *,
    size: int | tuple[int, int] | None = None,
    channels: int = 3,
    most: int | None = None,
) -> np.ndarray:
    """The pixels of an image file, uint8 (C, H, W).

    Args:
        file: a path, the file's content, or an open binary file.
        size: (H, W), or one number for a square: the shorter side is scaled, then the centre is cut. None keeps it.
        channels: 1 for grey (ITU-R 601 luma) or 3 for red, green, blue.
        most: pixels; without a size, a larger image is shrunk by a whole number until it has no more.

    Raises:
        Undecodable: with the reason in words.
    """
    if channels not in (1, 3):
        raise InputError(f"channels is 1 (grey) or 3 (colour); found {channels}")
    content = read(file)
    wanted = (size, size) if isinstance(size, int) else size
    with _explained(content):
        return _decoded(content, _opened(content), wanted, "L" if channels == 1 else "RGB", most)


def read(file: Path | str | bytes | BinaryIO) -> bytes:
    """The content of `file`, at most 256 MB; a file that cannot be read is `Undecodable`."""
    if isinstance(file, bytes):
        return file
    if not isinstance(file, str | os.PathLike):
        content = file.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise Undecodable(f"more than the {MOST_BYTES / 1e6:,.0f} MB that are read")
        return content
    try:
        return read_bytes(Path(file), MOST_BYTES)
    except Unreadable as error:
        there = os.path.exists(file)
        raise Undecodable(str(error) if there else missing(Path(file))) from error
    except OSError as error:
        raise Undecodable(f"cannot be read: {error.strerror or error}") from error


def probe(content: bytes) -> Header:
    """The header of an image file, without decoding it."""
    with _explained(content):
        image = _opened(content)
        if image.format == "PNG" and cost.has_late_chunks(content):
            with _turn(cost.check(image, content)):
                image.load()  # only then is it known whether it is to be turned
        orientation = _orientation(image)
        width, height = image.size
        if 5 <= orientation <= 8 and image.format != "TIFF":  # the size of a TIFF is turned already
            width, height = height, width
        grey = image.mode in ("1", "L", "LA", "La", "F") or image.mode.startswith("I")
        return Header(height, width, grey, str(image.format), image.mode, orientation != 1)


def glimpse(content: bytes, size: int) -> np.ndarray | None:
    """What can be seen of a damaged file, uint8 (3, size, size): for a person to recognise it, never to train on."""
    try:
        return _decoded(content, _opened(content), (size, size), "RGB", None, whole=False)
    except Exception:  # nothing of it can be seen
        return None


@contextmanager
def _explained(content: bytes) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # a damaged file can raise anything out of a decoder
        raise Undecodable(reason(content, error)) from error


def _opened(content: bytes) -> Image.Image:
    if not content:
        raise Undecodable("the file is empty")
    cost.check_icon(content)
    image = Image.open(io.BytesIO(content), formats=_formats())
    if image.width * image.height > cost.MAX_PIXELS:
        raise Image.DecompressionBombError
    if not image.width or not image.height:
        raise Undecodable("the image has no pixels")
    return image


def _decoded(
    content: bytes, image: Image.Image, wanted: tuple[int, int] | None, mode: str, most: int | None, whole: bool = True
) -> np.ndarray:
    """The first frame, decoded to its last byte, turned as EXIF says and fitted; a large one shrunk on the way."""
    full = image.size
    _draft(image, wanted, most)
    large = image.width * image.height > (ORDINARY if wanted or not most else min(most, ORDINARY))
    factor = shrinking(image.size, wanted, most) if large else 1
    # Beyond its decoding: the image in its mode, the same turned, and the array.
    copies = (image.mode != mode or factor > 1) + (_orientation(image) != 1) if large else 0
    finished = image.width * image.height / factor**2 * (copies * size_of(mode) + len(mode)) if large else 0.0
    with _turn(cost.check(image, content, finished, full)):
        _load(image, whole)
        turn = _TURNS.get(_orientation(image))
        if large:
            image = shrunk(image, mode, factor)
        image = to_mode(image.transpose(turn) if turn is not None else image, mode)
        return to_array(fit(image, wanted) if wanted else image)


def _draft(image: Image.Image, wanted: tuple[int, int] | None, most: int | None) -> None:
    """Let a JPEG be decoded at a half, a quarter or an eighth: still twice what is wanted, and much faster."""
    if image.format not in ("JPEG", "MPO"):
        return
    if wanted:
        image.draft(None, (2 * max(wanted), 2 * max(wanted)))
    elif (factor := shrinking(image.size, None, most)) > 1:
        image.draft(None, (image.width // factor, image.height // factor))


def _load(image: Image.Image, whole: bool) -> None:
    try:
        image.load()
    except Exception:
        if whole:
            raise
        image.tile = []  # type: ignore[attr-defined]  # nothing is left to decode: what was, is the image
        image.load()


_one_at_a_time = threading.Lock()


def _renew() -> None:
    global _one_at_a_time
    _one_at_a_time = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)  # a thread that held it is not there in the child


@contextmanager
def _turn(memory: float) -> Iterator[None]:
    """Threads that decode large images wait for one another, so that a process takes the memory of one."""
    if memory < _ALONE:
        yield
        return
    with _one_at_a_time:
        yield


@functools.cache
def _formats() -> list[str]:
    Image.init()
    return [name for name in _FORMATS if name in Image.OPEN]


def _orientation(image: Image.Image) -> int:
    try:
        # Of the base class, because a PNG's own would decode it, to see what follows its pixels.
        return int(Image.Image.getexif(image).get(_ORIENTATION, 1))
    except Exception:  # damaged EXIF says nothing about the pixels: take the image as it lies
        return 1
