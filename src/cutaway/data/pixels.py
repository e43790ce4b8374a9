"""From a Pillow image to the pixels that are wanted: modes, sizes, arrays. A large image is worked on in bands."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from PIL import Image

from cutaway.data.cost import Undecodable

ORDINARY = 24_000_000
"""Up to so many pixels an image is converted as a whole; a larger one is shrunk while it is, in bands."""

_BAND = 2_000_000
_WHITE = (255, 255, 255, 255)


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


def fitted(images: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Images as a network takes them, as files of the same pixels would be decoded for it.

    Args:
        images: uint8 (N, C, H, W), grey or colour.
        shape: (C, H, W) that is wanted.

    Returns:
        Uint8 (N, *shape), the images themselves where they have it.
    """
    if images.shape[1:] == shape:
        return images
    planes = (image[0] if len(image) == 1 else image.transpose(1, 2, 0) for image in images)
    fits = [as_shape(Image.fromarray(plane), shape) for plane in planes]
    return np.stack(fits) if fits else np.zeros((0, *shape), np.uint8)


def as_shape(image: Image.Image, shape: tuple[int, int, int]) -> np.ndarray:
    """A decoded image of any mode as uint8 `shape` (C, H, W): covered, and the centre cut."""
    mode, size = "L" if shape[0] == 1 else "RGB", shape[1:]
    if image.width * image.height > ORDINARY:
        image = shrunk(image, mode, shrinking(image.size, size, None))
    return to_array(fit(to_mode(image, mode), size))


def shrinking(size: tuple[int, int], wanted: tuple[int, int] | None, most: int | None) -> int:
    """By what whole number an image (W, H) may be shrunk and still be twice what is wanted, however it is turned."""
    if wanted:
        return max(1, min(size) // (2 * max(wanted)))
    return math.ceil(math.sqrt(size[0] * size[1] / most)) if most else 1


def to_mode(image: Image.Image, mode: str) -> Image.Image:
    """Any Pillow image as "L" or "RGB": deep greys scaled to 8 bits, transparency laid on white."""
    return _converted(image, mode, _top(image) if _is_deep(image) else 0.0)


def shrunk(image: Image.Image, mode: str, factor: int) -> Image.Image:
    """`to_mode` of an image, every square of `factor` pixels a side averaged to one: in bands, without a full copy."""
    if factor == 1 and image.mode == mode and "transparency" not in image.info:
        return image
    top = _top(image) if _is_deep(image) else 0.0
    result = Image.new(mode, (math.ceil(image.width / factor), math.ceil(image.height / factor)))
    for upper, band in _bands(image, factor):
        small = _converted(band, mode, top)
        result.paste(small.reduce(factor) if factor > 1 else small, (0, upper // factor))
    return result


def to_array(image: Image.Image) -> np.ndarray:
    """uint8 (C, H, W) of an "L" or "RGB" image."""
    if image.width * image.height <= ORDINARY:
        pixels = np.asarray(image, dtype=np.uint8)
        return pixels[None].copy() if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1))
    result = np.empty((len(image.getbands()), image.height, image.width), np.uint8)
    for upper, band in _bands(image, 1):
        rows = np.asarray(band, dtype=np.uint8)
        result[:, upper : upper + band.height] = rows[None] if rows.ndim == 2 else rows.transpose(2, 0, 1)
    return result


def _bands(image: Image.Image, factor: int) -> Iterator[tuple[int, Image.Image]]:
    """The image from top to bottom in bands of some rows, a multiple of `factor`, each with its first row."""
    step = max(1, _BAND // (image.width * factor)) * factor
    for upper in range(0, image.height, step):
        yield upper, image.crop((0, upper, image.width, min(image.height, upper + step)))


def _converted(image: Image.Image, mode: str, top: float) -> Image.Image:
    if _is_deep(image):
        image = _deep_grey(image, top)
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        if image.mode == "La":
            image = image.convert("LA")
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, _WHITE), image)
    if image.mode in ("P", "PA", "CMYK", "YCbCr", "LAB", "HSV", "RGBX"):
        image = image.convert("RGB")
    return image if image.mode == mode else image.convert(mode)


def _is_deep(image: Image.Image) -> bool:
    return image.mode.startswith("I") or image.mode == "F"


def _top(image: Image.Image) -> float:
    """What is white among greys of more than 8 bits: 65535; of floats 1, 255 or 65535, the least that holds them."""
    top, most = 65535.0, -np.inf
    if image.mode != "F":
        return top
    for _, band in _bands(image, 1):
        values = np.asarray(band)
        if not np.isfinite(values).all():
            raise Undecodable("holds values that are not finite numbers")
        most = max(most, float(values.max()))
    return next((limit for limit in (1.0, 255.0) if most <= limit), top)


def _deep_grey(image: Image.Image, top: float) -> Image.Image:
    """Greys of more than 8 bits, `top` made 255, in bands because float64 takes eight bytes a pixel."""
    result = np.empty((image.height, image.width), np.uint8)
    for upper, band in _bands(image, 1):
        values = np.asarray(band).astype(np.float64)
        result[upper : upper + band.height] = np.floor(np.clip(values, 0, top) * (255.0 / top) + 0.5)
    return Image.fromarray(result)
