"""Small pictures of images for pages that hold everything inside."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from cutaway.pictures.mosaic import whole_zoom
from cutaway.pictures.stills import data_url, jpeg, picture_of, png

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
    image = picture_of(pixels)
    if max(image.size) <= _TINY:
        zoom = whole_zoom(max(image.size), side)
        return Thumb(data_url(png(image, level=9)), image.width * zoom, image.height * zoom, alt)
    image.thumbnail((side, side), Image.Resampling.BICUBIC, reducing_gap=3)
    return Thumb(data_url(jpeg(image, 82), "image/jpeg"), image.width, image.height, alt)
