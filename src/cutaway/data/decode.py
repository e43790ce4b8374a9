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
from PIL import Image, ImageFile, UnidentifiedImageError

from cutaway.data.cost import MOST_SCANNED, ROOM, needed, scans
from cutaway.errors import InputError
from cutaway.files import Unreadable, read_bytes

VERSION = 1
"""Raised whenever the same file would decode to other pixels, so that caches are made again."""

MAX_PIXELS = 178_956_970
"""The most pixels a file may declare; more is taken for a decompression bomb."""

# No EPS, WMF or PDF: they hold programs and drawings, and opening them would start another program.
_FORMATS = (
    *("AVIF", "BMP", "DIB", "GIF", "ICO", "JPEG", "JPEG2000", "MPO"),
    *("PCX", "PNG", "PPM", "QOI", "SGI", "TIFF", "WEBP"),
)
MAX_BYTES = 256_000_000
"""The most bytes of a file that are read."""

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
# From here on an image that is wanted smaller is shrunk before it is converted, in bands of so many pixels.
_LARGE, _BAND = 24_000_000, 4_000_000
_WHITE = (255, 255, 255, 255)

_OTHER_FILES: tuple[tuple[bytes, str], ...] = (
    (b"version https://git-lfs", "a Git LFS pointer, not the image itself; run `git lfs pull`"),
    (b"%PDF", "a PDF document, not an image"),
    (b"%!PS", "a PostScript drawing, not an image of pixels"),
    (b"PK\x03\x04", "a ZIP archive, not an image"),
    (b"\x1f\x8b", "a gzip archive, not an image"),
    (b"\x93NUMPY", "a NumPy array, not an image"),
    (b"8BPS", "a Photoshop file, which is not supported; save it as PNG"),
    (b"\x1aE\xdf\xa3", "a video, not an image"),
    (b"\xff\xd8\xff", "a damaged JPEG"),
    (b"\x89PNG", "a damaged PNG"),
    (b"GIF8", "a damaged GIF"),
    (b"II*\0", "a damaged TIFF"),
    (b"MM\0*", "a damaged TIFF"),
)
_HEIF_BRANDS = {b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1"}
_MARKUP = (
    (b"<svg", "an SVG drawing, not an image of pixels"),
    (b"<html", "an HTML page"),
    (b"<!doctype html", "an HTML page"),
)


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


class Undecodable(ValueError):  # noqa: N818 - it reads as what it says of the file
    """A file that cannot become pixels; the message is the reason, in a few words."""


def decode(
    file: Path | str | bytes | BinaryIO, *, size: int | tuple[int, int] | None = None, channels: int = 3
) -> np.ndarray:
    """The pixels of an image file, uint8 (C, H, W).

    Args:
        file: a path, the file's content, or an open binary file.
        size: (H, W), or one number for a square: the shorter side is scaled, then the centre is cut. None keeps it.
        channels: 1 for grey (ITU-R 601 luma) or 3 for red, green, blue.

    Raises:
        Undecodable: with the reason in words.
    """
    if channels not in (1, 3):
        raise InputError(f"channels is 1 (grey) or 3 (colour); found {channels}")
    content = read(file)
    wanted = (size, size) if isinstance(size, int) else size
    mode = "L" if channels == 1 else "RGB"
    try:
        with _SWITCH.strict():
            image, orientation = _load(content, wanted)
        image = turn(shrunk(image, wanted, mode, orientation), orientation)
        image = to_mode(image, mode)
        return to_array(fit(image, wanted) if wanted else image)
    except Undecodable:
        raise
    except Exception as error:  # a damaged file can raise anything out of a decoder
        raise Undecodable(_reason(content, error)) from error


def read(file: Path | str | bytes | BinaryIO) -> bytes:
    """The content of `file`; a file that cannot be read is `Undecodable`."""
    if isinstance(file, bytes):
        return file
    if not isinstance(file, str | os.PathLike):
        content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise Undecodable(f"more than the {MAX_BYTES / 1e6:,.0f} MB that are read")
        return content
    path = Path(file)
    try:
        return read_bytes(path, MAX_BYTES)
    except Unreadable as error:
        raise Undecodable(str(error) if os.path.exists(path) else _missing(path)) from error


def _missing(path: Path) -> str:
    if path.is_symlink():
        return "a broken symbolic link"
    # A name that is not UTF-8 is listed with its odd bytes spelled out, so that it can be printed and kept as JSON.
    return "its name is not valid UTF-8; rename it" if "\\udc" in str(path) else "the file does not exist"


def probe(content: bytes) -> Header:
    """The header of an image file, without decoding it."""
    try:
        image = _open(content)
        width, height = image.size
        orientation = _orientation(image)
        # Of a TIFF, Pillow tells the size that it has when it is turned.
        if orientation >= 5 and image.format != "TIFF":
            width, height = height, width
        grey = image.mode in ("1", "L", "LA", "La", "F") or image.mode.startswith("I")
        return Header(height, width, grey, str(image.format), image.mode, orientation != 1)
    except Undecodable:
        raise
    except Exception as error:  # a damaged file can raise anything out of a decoder
        raise Undecodable(_reason(content, error)) from error


def glimpse(content: bytes, size: int) -> np.ndarray | None:
    """What can be seen of a damaged file, uint8 (3, size, size): for a person to recognise it, never to train on."""
    try:
        with _SWITCH.lenient():
            image, orientation = _load(content, (size, size))
        image = turn(shrunk(image, (size, size), "RGB", orientation), orientation)
        return to_array(fit(to_mode(image, "RGB"), (size, size)))
    except Exception:  # nothing of it can be seen
        return None


class _Switch:
    """Pillow's switch for truncated files, which is one for all threads: nobody decodes while it is on."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._decoding, self._on = 0, False

    @contextmanager
    def strict(self) -> Iterator[None]:
        """The block in which an image is decoded that is whole, or none."""
        with self._changed:
            self._changed.wait_for(lambda: not self._on)
            self._decoding += 1
        try:
            yield
        finally:
            with self._changed:
                self._decoding -= 1
                self._changed.notify_all()

    @contextmanager
    def lenient(self) -> Iterator[None]:
        """The block in which what is there of an image is decoded."""
        with self._changed:
            self._changed.wait_for(lambda: not self._on and not self._decoding)
            self._on = ImageFile.LOAD_TRUNCATED_IMAGES = True
        try:
            yield
        finally:
            with self._changed:
                self._on = ImageFile.LOAD_TRUNCATED_IMAGES = False
                self._changed.notify_all()


_SWITCH = _Switch()


def _fresh_switch() -> None:
    """In a forked worker: threads that held the switch are not there any more."""
    global _SWITCH
    _SWITCH, ImageFile.LOAD_TRUNCATED_IMAGES = _Switch(), False


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_fresh_switch)


def fit(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Scale with antialiasing so that the image covers `size` (H, W), then cut the centre."""
    height, width = size
    if image.size == (width, height):
        return image
    scale = max(width / image.width, height / image.height)
    # The part of the source that becomes the result, in source pixels: one resampling, no rounding in between.
    left, top = (image.width - width / scale) / 2, (image.height - height / scale) / 2
    box = (max(left, 0.0), max(top, 0.0), min(image.width - left, image.width), min(image.height - top, image.height))
    return image.resize((width, height), Image.Resampling.BICUBIC, box=box)


def to_mode(image: Image.Image, mode: str, white: float | None = None) -> Image.Image:
    """Any Pillow image as "L" or "RGB": deep greys scaled to 8 bits, transparency laid on white.

    `white` is the value of a deep grey that becomes white; None takes it from the image.
    """
    if image.mode.startswith("I") or image.mode == "F":
        image = _deep_grey(image, white)
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        if image.mode == "La":
            image = image.convert("LA")
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, _WHITE), image)
    if image.mode in ("P", "PA", "CMYK", "YCbCr", "LAB", "HSV", "RGBX"):
        image = image.convert("RGB")
    return image if image.mode == mode else image.convert(mode)


def to_array(image: Image.Image) -> np.ndarray:
    """uint8 (C, H, W) of an "L" or "RGB" image."""
    pixels = np.asarray(image, dtype=np.uint8)
    return pixels[None].copy() if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _white(image: Image.Image) -> float | None:
    """What counts as white in a deep grey: integers reach 65535; floats 1, else 255, else 65535."""
    if image.mode != "F":
        return 65535.0 if image.mode.startswith("I") else None
    highest = image.getextrema()[1]
    return next((limit for limit in (1.0, 255.0) if isinstance(highest, float) and highest <= limit), 65535.0)


def _deep_grey(image: Image.Image, white: float | None) -> Image.Image:
    """Greys of more than 8 bits, scaled."""
    values = np.asarray(image).astype(np.float64)
    if not np.isfinite(values).all():
        raise Undecodable("holds values that are not finite numbers")
    top = white or _white(image) or 65535.0
    scaled = np.floor(np.clip(values, 0, top) * (255.0 / top) + 0.5)
    return Image.fromarray(scaled.astype(np.uint8))


def _load(content: bytes, wanted: tuple[int, int] | None) -> tuple[Image.Image, int]:
    """The first frame, decoded to its last byte, and how EXIF says that it is to be turned."""
    image = _open(content)
    if wanted and image.format in ("JPEG", "MPO"):
        # A JPEG can be decoded at a half, a quarter or an eighth: still twice what is wanted, and much faster.
        image.draft(None, (2 * max(wanted), 2 * max(wanted)))
    _check_cost(image, content, whole=wanted is None)
    image.load()
    return image, _orientation(image)


def _check_cost(image: Image.Image, content: bytes, *, whole: bool) -> None:
    cost = needed(image, content, whole=whole)
    if cost > ROOM:
        raise Undecodable(
            f"would take {cost / 1e9:.1f} GB to decode, more than the {ROOM / 1e9:.1f} GB that are allowed; "
            "make it smaller"
        )
    if scans(image, content) * image.width * image.height > MOST_SCANNED:
        raise Undecodable(f"a JPEG of {scans(image, content)} scans, which would take minutes to decode; save it anew")


def turn(image: Image.Image, orientation: int) -> Image.Image:
    """`image` as it is to be seen, by EXIF's number."""
    return image.transpose(_TURNS[orientation]) if orientation in _TURNS else image


def shrunk(image: Image.Image, wanted: tuple[int, int] | None, mode: str, orientation: int) -> Image.Image:
    """A large image that is wanted small, in `mode` and at least twice what is wanted (H, W); any other as it is.

    Converting all of it first would take several times its own memory.
    """
    if wanted is None or image.width * image.height <= _LARGE:
        return image
    height, width = wanted if orientation < 5 else wanted[::-1]
    factor = int(min(image.width / width, image.height / height) / 2)
    if factor < 2:
        return image
    rows = max(1, _BAND // (image.width * factor)) * factor
    small = Image.new(mode, (-(-image.width // factor), -(-image.height // factor)))
    limit = _white(image)
    for top in range(0, image.height, rows):
        band = image.crop((0, top, image.width, min(image.height, top + rows)))
        band.info = image.info  # a colour that stands for transparency is not cut out with the pixels
        small.paste(to_mode(band, mode, limit).reduce(factor), (0, top // factor))
    return small


def _open(content: bytes) -> Image.Image:
    if not content:
        raise Undecodable("the file is empty")
    image = Image.open(io.BytesIO(content), formats=_formats())
    if image.width * image.height > MAX_PIXELS:
        raise Image.DecompressionBombError
    if not image.width or not image.height:
        raise Undecodable("the image has no pixels")
    return image


@functools.cache
def _formats() -> list[str]:
    Image.init()
    return [name for name in _FORMATS if name in Image.OPEN]


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # damaged EXIF says nothing about the pixels: take the image as it lies
        return 1


def _reason(content: bytes, error: Exception) -> str:
    if isinstance(error, Image.DecompressionBombError):
        return f"more than {MAX_PIXELS:,} pixels: too big, or a decompression bomb"
    if isinstance(error, MemoryError):
        return "not enough memory to decode it"
    text = str(error)
    if isinstance(error, UnidentifiedImageError):
        return _kind(content)
    if "truncated" in text.lower() or "unexpected end" in text.lower() or isinstance(error, EOFError):
        return "the image file is truncated"
    return f"the image data is damaged ({text.strip() or type(error).__name__})".replace("\n", " ")


def _kind(content: bytes) -> str:
    """What a file is that no image format claims."""
    head = content[:1024]
    for start, words in _OTHER_FILES:
        if head.startswith(start):
            return words
    if head[4:8] == b"ftyp":
        return _container(head[8:12])
    if not head.strip(b"\0"):
        return "nothing but zero bytes"
    for tag, words in _MARKUP:
        if tag in head.lower():
            return f"{words}, not an image" if "image" not in words else words
    return "a text file, not an image" if _is_text(head) else "not a known image format"


def _container(brand: bytes) -> str:
    if brand in _HEIF_BRANDS:
        return "HEIC, which is not supported; convert it to JPEG or PNG"
    return "damaged AVIF" if brand in (b"avif", b"avis") else "a video, not an image"


def _is_text(head: bytes) -> bool:
    try:
        head.decode()
    except UnicodeDecodeError as error:
        if error.start < len(head) - 4:  # a character cut at the end of the head is no sign of binary data
            return False
    return b"\0" not in head
