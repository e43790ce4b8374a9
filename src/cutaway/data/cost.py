"""What decoding an image takes, reckoned from its header before anything is decoded.

The bytes a pixel were measured by `benchmarks/decoding.py memory`, which compares them with what a process takes.
"""

from __future__ import annotations

from PIL import Image

ROOM = 1_000_000_000
"""The most bytes that decoding one image may take, besides its file."""

MOST_SCANNED = 4_000_000_000
"""The most pixels that all scans of a progressive JPEG may go over together: about half a minute's work."""

# How Pillow keeps a pixel of a mode: one byte, two, or four.
_BYTES = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16L": 2, "I;16B": 2, "I;16N": 2, "BGR;15": 2, "BGR;16": 2}
# What a decoder takes besides the image that it fills: its own copy of all pixels, or of all coefficients.
_BESIDE = {"WEBP": 12, "AVIF": 10, "JPEG2000": 24, "TIFF": 4, "ICO": 4, "QOI": 4, "GIF": 4, "MPO": 0}
_REST = 16_000_000  # of tables and buffers, whatever the size
_PROGRESSIVE = 6  # 16-bit coefficients of up to three colours


def needed(image: Image.Image, content: bytes, *, whole: bool) -> int:
    """The most bytes that decoding an opened image takes.

    Args:
        image: opened, not loaded.
        content: its file.
        whole: whether its pixels are wanted as they are, as an array besides.
    """
    kept = _BYTES.get(image.mode, 4)
    beside = _BESIDE.get(str(image.format), 0) + (_PROGRESSIVE if scans(image, content) > 1 else 0)
    # As an array: converted where it is no RGB, and twice as the array is turned to channels first.
    turned = (4 if image.mode not in ("RGB", "L") else 0) + 6 if whole else 0
    return image.width * image.height * (kept + max(beside, turned)) + _REST


def scans(image: Image.Image, content: bytes) -> int:
    """How many times a JPEG's pixels are gone over; 1 for other formats."""
    if image.format not in ("JPEG", "MPO") or not image.info.get("progressive"):
        return 1
    return max(1, content.count(b"\xff\xda"))
