"""What decoding an image would take, reckoned from its header: refused before it is tried if that is too much."""

from __future__ import annotations

import struct

from PIL import Image

MAX_PIXELS = 178_956_970
"""The most pixels a file may declare; more is taken for a decompression bomb."""

MEMORY = 700_000_000
"""The most bytes that decoding one image may take, its file and what becomes of it included."""

MOST_BYTES = 256_000_000
"""The most bytes of an image file that are read."""

# Bytes a pixel beyond the finished image, for each byte a pixel of it: `python benchmarks/decoding.py memory` measures
# them, and says so if one is too little.
_TWICE = {"SGI", "QOI", "PPM", "BMP", "DIB", "GIF", "PCX"}
# Bytes a pixel in all, whatever the mode.
_FLAT = {"WEBP": 16.5, "AVIF": 16.0, "ICO": 16.0}
_JPEG2000_CHANNEL = 6.5
_JPEG_COEFFICIENT = 2
_ICON = b"\0\0\1\0"
# Decoders in Python, some million pixels a second; and passes over all pixels of a JPEG, some hundred million.
_IN_PYTHON = {"qoi", "ppm", "ppm_plain", "bmp_rle", "SGI16"}
_SLOW_PIXELS = 24_000_000
_JPEG_PASSES = 4_000_000_000
_SMALL = 1_000_000  # pixels: no need to look closer
_TILE, _ROWS_A_STRIP, _BITS, _ORIENTATION = (322, 323), 278, 258, 274  # tags of a TIFF


class Undecodable(ValueError):  # noqa: N818 - it reads as what it says of the file
    """A file that cannot become pixels; the message is the reason, in a few words."""


def check(image: Image.Image, content: bytes, beyond: float = 0.0, full: tuple[int, int] | None = None) -> float:
    """The bytes that decoding takes; an image for which it would be too much memory or time is refused.

    Args:
        image: opened and not yet decoded.
        content: its file.
        beyond: bytes that the caller will take once it is decoded.
        full: (W, H) before a JPEG was told to decode itself smaller.

    Raises:
        Undecodable: with what it would take and what is allowed.
    """
    width, height = full or image.size
    if width * height < _SMALL and width * height * len(content) < _JPEG_PASSES and image.format != "TIFF":
        return 0.0
    memory = needed(image, content, full) + beyond
    would_take(memory)
    if (scans := _scans(image, content)) * width * height > _JPEG_PASSES:
        raise Undecodable(f"a JPEG of {scans:,} scans over {width * height / 1e6:.0f} million pixels: a bomb")
    if _in_python(image) and width * height > _SLOW_PIXELS:
        raise Undecodable(f"more than {_SLOW_PIXELS:,} pixels in a slow format; save it as PNG")
    return memory


def would_take(memory: float) -> None:
    """Refuse what would take more than `MEMORY` bytes."""
    if memory > MEMORY:
        raise Undecodable(
            f"would take {memory / 1e9:.2f} GB to decode, more than the {MEMORY / 1e9:.2f} GB that are allowed; "
            "make it smaller"
        )


def check_icon(content: bytes) -> None:
    """Refuse an icon by the image inside it, which may be larger than its entry and is decoded as it is opened."""
    if not content.startswith(_ICON):
        return
    for place in range(6, 6 + 16 * min(struct.unpack_from("<H", content, 4)[0], len(content) // 16), 16):
        width, height = _inside(content, *struct.unpack_from("<I", content, place + 12))
        if width * height > MAX_PIXELS:
            raise Image.DecompressionBombError
        would_take(_FLAT["ICO"] * width * height + len(content))


def _inside(content: bytes, start: int) -> tuple[int, int]:
    png = content.startswith(b"\x89PNG", start)
    form, place = (">II", start + 16) if png else ("<ii", start + 4)
    if place + 8 > len(content):
        return 0, 0
    width, height = struct.unpack_from(form, content, place)
    return abs(width), abs(height)


def needed(image: Image.Image, content: bytes, full: tuple[int, int] | None = None) -> float:
    """The bytes that `image.load()` takes at most, the file included."""
    width, height = image.size
    pixels, depth, kind = width * height, size_of(image.mode), str(image.format)
    if kind in _FLAT:
        return _FLAT[kind] * pixels + 3 * len(content)
    if kind == "JPEG2000":
        tile = min(pixels, _tile(content) or pixels)
        return depth * pixels + _JPEG2000_CHANNEL * len(image.getbands()) * tile + len(content)
    if kind in ("JPEG", "MPO"):
        width, height = full or image.size
        kept = _JPEG_COEFFICIENT * getattr(image, "layers", 3) * width * height if _scans(image, content) else 0
        return depth * pixels + kept + len(content)
    if kind == "TIFF":
        copies = 2 if image.getexif().get(_ORIENTATION, 1) != 1 else 1
        return depth * pixels * copies + _piece(image) + len(content)
    return depth * pixels * (2 if kind in _TWICE else 1) + len(content)


def has_late_chunks(content: bytes) -> bool:
    """Whether something follows the pixels of a PNG; it may say that they are to be turned."""
    place = content.rfind(b"IDAT")
    if place < 4:
        return False
    after = place + 8 + int.from_bytes(content[place - 4 : place], "big")
    return content[after + 4 : after + 8] not in (b"IEND", b"")


def size_of(mode: str) -> int:
    """Bytes a pixel of a Pillow image in memory."""
    return 1 if mode in ("1", "L", "P") else 2 if mode.startswith("I;16") else 4


def _piece(image: Image.Image) -> float:
    """What libtiff holds at once: a tile or a strip, as large as the file says."""
    tags, tiles = getattr(image, "tag_v2", {}), getattr(image, "tile", None)
    if not tiles or tiles[0][0] != "libtiff":
        return 0.0
    bits = tags.get(_BITS, 8)
    deep = len(image.getbands()) * max(map(_number, bits if isinstance(bits, tuple) else (bits,))) / 8
    sides = [_number(tags.get(tag)) for tag in _TILE]
    rows = min(_number(tags.get(_ROWS_A_STRIP)) or image.height, image.height)
    return deep * (sides[0] * sides[1] if all(sides) else rows * image.width)


def _number(value: object) -> int:
    return int(value) if isinstance(value, int | float) and value > 0 else 0


def _tile(content: bytes) -> int:
    """Pixels of a tile of a JPEG 2000 image; 0 where that is not to be found."""
    start = content.find(b"\xff\x4f\xff\x51")
    if start < 0 or start + 34 > len(content):
        return 0
    width, height = struct.unpack_from(">II", content, start + 26)
    return int(width * height)


def _scans(image: Image.Image, content: bytes) -> int:
    """How often a JPEG goes over all its pixels, which it keeps as coefficients meanwhile; 0 if it does so once."""
    if image.format not in ("JPEG", "MPO"):
        return 0
    scans = content.count(b"\xff\xda")  # never inside of pixels; inside of metadata it is one too many
    return scans if "progressive" in image.info or _parted(content) else 0


def _parted(content: bytes) -> bool:
    """Whether the first scan of a JPEG holds not all of its channels, so that there have to be others."""
    place, channels = 2, 0
    while place + 10 <= len(content) and content[place] == 0xFF:
        marker, length = content[place + 1], int.from_bytes(content[place + 2 : place + 4], "big")
        if marker == 0xDA:
            return content[place + 4] < channels
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            channels = content[place + 9]
        place += 1 if marker == 0xFF else 2 + length
    return True


def _in_python(image: Image.Image) -> bool:
    tiles = getattr(image, "tile", None) or [("",)]
    return tiles[0][0] in _IN_PYTHON
