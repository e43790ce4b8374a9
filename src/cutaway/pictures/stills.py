"""Small photographs as the bytes of a picture file: what an atlas keeps of images, and what pages show."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cutaway.pictures.colours import Bytes

EXACT = 64  # images of at most so many pixels a side are kept to the last bit
SIDE = 96  # the longer side of what is kept of larger ones
_QUALITY = 88


@dataclass(frozen=True, eq=False)
class Still:
    """A picture in a format that browsers show.

    Attributes:
        data: the bytes of a PNG or JPEG file.
        media: "image/png" or "image/jpeg".
        height: in pixels; width: too.
    """

    data: bytes
    media: str
    height: int
    width: int

    @property
    def uri(self) -> str:
        """The picture as a `data:` address."""
        return f"data:{self.media};base64,{base64.b64encode(self.data).decode()}"

    @property
    def pixels(self) -> Bytes:
        """Uint8 (H, W, 3)."""
        return np.asarray(Image.open(io.BytesIO(self.data)).convert("RGB"))

    @classmethod
    def png(cls, pixels: NDArray[np.uint8]) -> Still:
        """Of pixels uint8 (H, W) or (H, W, 3), to the last bit."""
        return _encoded(Image.fromarray(np.ascontiguousarray(pixels)), "image/png")

    @classmethod
    def read(cls, data: bytes) -> Still:
        """Of the bytes of a PNG or JPEG file."""
        with Image.open(io.BytesIO(data)) as image:
            return cls(data, "image/png" if image.format == "PNG" else "image/jpeg", image.height, image.width)


def small_still(image: NDArray[np.uint8], side: int = SIDE) -> Still:
    """An image (C, H, W) as a still: to the last bit up to `EXACT` pixels a side, else a JPEG of at most `side`."""
    found = Image.fromarray(np.ascontiguousarray(image[0] if len(image) < 3 else image[:3].transpose(1, 2, 0)))
    if max(found.size) <= EXACT:
        return _encoded(found, "image/png")
    found.thumbnail((side, side), Image.Resampling.LANCZOS)
    return _encoded(found, "image/jpeg")


def _encoded(image: Image.Image, media: str) -> Still:
    buffer = io.BytesIO()
    if media == "image/png":
        image.save(buffer, "PNG", compress_level=6)
    else:
        image.save(buffer, "JPEG", quality=_QUALITY)
    return Still(buffer.getvalue(), media, image.height, image.width)


def packed(parts: Sequence[bytes]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Byte strings one behind the other, uint8 (B,), and where each begins and the last ends, int64 (n + 1,).

    >>> packed([b"ab", b"c"])[1]
    array([0, 2, 3])
    """
    ends = np.cumsum([0, *map(len, parts)], dtype=np.int64)
    return np.frombuffer(b"".join(parts), np.uint8), ends
