"""Small photographs as the bytes of a picture file: what an atlas keeps of images, and what pages show."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

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
        return data_url(self.data, self.media)

    @property
    def pixels(self) -> Bytes:
        """Uint8 (H, W, 3)."""
        return np.asarray(Image.open(io.BytesIO(self.data)).convert("RGB"))

    @classmethod
    def png(cls, pixels: NDArray[np.uint8]) -> Still:
        """Of pixels uint8 (H, W) or (H, W, 3), to the last bit."""
        return cls(png(pixels), "image/png", *pixels.shape[:2])

    @classmethod
    def read(cls, data: bytes) -> Still:
        """Of the bytes of a PNG or JPEG file."""
        with Image.open(io.BytesIO(data)) as image:
            return cls(data, "image/png" if image.format == "PNG" else "image/jpeg", image.height, image.width)


def small_still(image: NDArray[np.uint8], side: int = SIDE) -> Still:
    """An image (C, H, W) as a still: to the last bit up to `EXACT` pixels a side, else a JPEG of at most `side`."""
    found = picture_of(image)
    if max(found.size) <= EXACT:
        return Still(png(found), "image/png", found.height, found.width)
    found.thumbnail((side, side), Image.Resampling.LANCZOS)
    return Still(jpeg(found, _QUALITY), "image/jpeg", found.height, found.width)


def picture_of(image: NDArray[np.uint8]) -> Image.Image:
    """An image (C, H, W), grey if it has fewer than three channels, as Pillow's."""
    return Image.fromarray(np.ascontiguousarray(image[0] if len(image) < 3 else image[:3].transpose(1, 2, 0)))


def png(picture: Image.Image | NDArray[np.uint8], level: int = 6, **options: Any) -> bytes:
    """A PNG file.

    Args:
        picture: Pillow's, or pixels uint8 (H, W) or (H, W, 3).
        level: how hard to compress, 0 to 9.
        options: of Pillow's writer, such as `transparency`.
    """
    if not isinstance(picture, Image.Image):
        picture = Image.fromarray(np.ascontiguousarray(picture))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=level, **options)
    return buffer.getvalue()


def jpeg(picture: Image.Image, quality: int) -> bytes:
    """A JPEG file."""
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def data_url(content: bytes, media: str = "image/png") -> str:
    """A picture's file as an address that holds it."""
    return f"data:{media};base64,{base64.b64encode(content).decode()}"


def packed(parts: Sequence[bytes]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Byte strings one behind the other, uint8 (B,), and where each begins and the last ends, int64 (n + 1,).

    >>> packed([b"ab", b"c"])[1]
    array([0, 2, 3])
    """
    ends = np.cumsum([0, *map(len, parts)], dtype=np.int64)
    return np.frombuffer(b"".join(parts), np.uint8), ends
