"""`shapes`: a procedural data set of ten shapes on cluttered backgrounds, which knows where each object is.

Every image is a pure function of (seed, index): nothing is downloaded, and the mask of the object is exact.
"""

from __future__ import annotations

import numpy as np

from cutaway.data.outlines import OUTLINES, box
from cutaway.data.part import Split
from cutaway.data.randomness import hash_array, key, uniform_array
from cutaway.data.stores import ArrayImages

CLASSES = tuple(OUTLINES)
SIZES = {"train": 8_000, "val": 1_000, "test": 2_000}
_CHUNK = 256
_SCRAPS = 3
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)[:, None, None]


def load_shapes(size: int = 32, channels: int = 3, seed: int = 0) -> tuple[tuple[str, ...], dict[str, Split]]:
    """The class names, and the splits train (8,000), val (1,000) and test (2,000) with masks."""
    splits, start = {}, 0
    for name, count in SIZES.items():
        images, labels, masks = draw_shapes(np.arange(start, start + count), size, channels, seed)
        splits[name] = Split(name, ArrayImages(images), labels, None, masks)
        start += count
    return CLASSES, splits


def draw_shapes(
    indices: np.ndarray, size: int = 32, channels: int = 3, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images uint8 (N, C, size, size), labels int64 (N,) and masks bool (N, size, size) of these indices.

    The label is the index modulo 10. The mask holds the pixels whose centre lies inside the object's outline.
    """
    chunks = [indices[start : start + _CHUNK] for start in range(0, len(indices), _CHUNK)]
    drawn = [_draw(chunk, size, channels, seed) for chunk in chunks]
    images, masks = (np.concatenate(parts) for parts in zip(*drawn, strict=True))
    return images, (indices % len(CLASSES)).astype(np.int64), masks


class _Draws:
    """Random numbers of a chunk of images: the n-th draw of an image depends on (seed, index, n) alone."""

    def __init__(self, indices: np.ndarray, seed: int) -> None:
        self.indices = indices
        self._seed = seed
        self._stream = 0

    def between(self, low: float, high: float) -> np.ndarray:
        """Uniform float32 (N, 1, 1)."""
        self._stream += 1
        uniform = uniform_array(key(self._seed, self._stream), self.indices)
        return (low + (high - low) * uniform).astype(np.float32)[:, None, None]

    def colour(self, luma: np.ndarray) -> np.ndarray:
        """A colour of about this luma, 0 ... 1, float32 (N, 3, 1, 1)."""
        hue = np.stack([self.between(-0.35, 0.35) for _ in range(3)], axis=1)
        colour: np.ndarray = np.clip(hue - (hue * _LUMA).sum(1, keepdims=True) + luma[:, None], 0, 1)
        return colour

    def noise(self, channels: int, size: int) -> np.ndarray:
        """Independent noise of every pixel, triangular in -1 ... 1, float32 (N, channels, size, size)."""
        self._stream += 1
        base = hash_array(key(self._seed, self._stream), self.indices)[:, None]
        bits = hash_array(0, base + np.arange(channels * size * size, dtype=np.uint64))
        low, high = (bits & np.uint64(0xFFFFFF)).astype(np.float32), (bits >> np.uint64(40)).astype(np.float32)
        return ((low + high) / np.float32(1 << 24) - 1).reshape(-1, channels, size, size)


def _draw(indices: np.ndarray, size: int, channels: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    draws = _Draws(indices, seed)
    centres = (np.arange(size, dtype=np.float32) + 0.5) * (2 / size) - 1
    x, y = centres[None, None, :], centres[None, :, None]
    ground = draws.between(0.1, 0.9)
    canvas = _textured(draws, ground, 0.12, x, y)
    for _ in range(_SCRAPS):
        canvas = _scrap(draws, canvas, x, y, size)
    step = draws.between(0.3, 0.5)
    luma = np.where(ground < 0.5, ground + step, ground - step)
    distance = _object(draws, indices % len(CLASSES), x, y)
    canvas = _paint(canvas, _textured(draws, luma, 0.06, x, y), distance, size)
    pixels = canvas + draws.between(0.01, 0.06)[:, None] * draws.noise(3, size)
    if channels == 1:
        pixels = (pixels * _LUMA).sum(1, keepdims=True)
    return np.clip(pixels * 255 + 0.5, 0, 255).astype(np.uint8), distance < 0


def _textured(draws: _Draws, luma: np.ndarray, strength: float, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """A surface (N, 3, S, S) that runs from one colour to another, with waves of light over it."""
    angle, wave = draws.between(0, 2 * np.pi), draws.between(0, 2 * np.pi)
    slope = np.clip(0.5 + 0.35 * (x * np.cos(angle) + y * np.sin(angle)), 0, 1)[:, None]
    surface: np.ndarray = draws.colour(luma) * (1 - slope) + draws.colour(luma + draws.between(-0.1, 0.1)) * slope
    phase = (x * np.cos(wave) + y * np.sin(wave)) * draws.between(4, 16) + draws.between(0, 2 * np.pi)
    surface += (draws.between(0, strength) * np.sin(phase))[:, None]
    return surface


def _scrap(draws: _Draws, canvas: np.ndarray, x: np.ndarray, y: np.ndarray, size: int) -> np.ndarray:
    """A small bar or block in any colour somewhere on the canvas: a distraction."""
    u, v = _turned(x - draws.between(-1, 1), y - draws.between(-1, 1), draws.between(0, np.pi))
    distance = box(u, v, draws.between(0.05, 0.4), draws.between(0.03, 0.2))
    return _paint(canvas, draws.colour(draws.between(0, 1)), distance, size)


def _object(draws: _Draws, labels: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The signed distance (N, S, S) to the object, which lies wholly inside the picture."""
    scale = draws.between(0.45, 0.8)
    across, down = (draws.between(-1, 1) * (0.95 - scale) for _ in range(2))
    u, v = _turned((x - across) / scale, (y - down) / scale, draws.between(0, 2 * np.pi))
    distance = np.empty(u.shape, dtype=np.float32)
    for label, outline in enumerate(OUTLINES.values()):
        rows = labels == label
        distance[rows] = outline(u[rows], v[rows])
    distance *= scale
    return distance


def _turned(x: np.ndarray, y: np.ndarray, angle: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    cosine, sine = np.cos(angle), np.sin(angle)
    return x * cosine + y * sine, y * cosine - x * sine


def _paint(canvas: np.ndarray, colour: np.ndarray, distance: np.ndarray, size: int) -> np.ndarray:
    """`colour` over the canvas inside the outline; a pixel on the edge gets the part of it that is covered."""
    cover = np.clip(0.5 - distance * (size / 2), 0, 1)[:, None]
    painted: np.ndarray = canvas + cover * (colour - canvas)
    return painted
