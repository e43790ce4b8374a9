"""Small pictures of images for pages that hold everything inside."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

from cutaway.pictures.mosaic import whole_zoom

SIDE = 72
_TINY = 48


@dataclass(frozen=True)
class Thumb:
    """A picture's address (a data URL), the size it has on the page, and what is said of it."""

    address: str
    width: int
    height: int
    alt: str


def thumb(pixels: np.ndarray, alt: str, side: int = SIDE) -> Thumb:
    """An image uint8 (C, H, W) in about `side` pixels: a small one enlarged by a whole number and exact, a large one
    shrunk and compressed."""
    image = Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0))
    if max(image.size) <= _TINY:
        zoom = whole_zoom(max(image.size), side)
        return Thumb(_url(image, "PNG", compress_level=9), image.width * zoom, image.height * zoom, alt)
    image.thumbnail((side, side), Image.Resampling.BICUBIC, reducing_gap=3)
    return Thumb(_url(image, "JPEG", quality=82), image.width, image.height, alt)


def _url(image: Image.Image, kind: str, **options: int) -> str:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"
