"""A perceptual hash: images that look alike have hashes that differ in few bits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, partial
from statistics import NormalDist

import numpy as np
from PIL import Image

from cutaway.data.parallel import each

SIDE = 32
FREQUENCIES = 16
BITS = FREQUENCIES**2 - 1
"""The mean has no bit: how bright an image is says nothing about what is on it."""

CAP = 64
"""The most bits that near duplicates ever differ in, chosen on CIFAR-10; see docs/audit.md."""

_WORDS = FREQUENCIES**2 // 64
_NOISE = 1.0  # sums of 1,024 grey levels: what is nearer to zero is rounding
_SAMPLE = 1_000_000
_TAIL = 1e-3
_CHANCE = 0.01
_ENOUGH = 500
_ROWS = 256
_COLUMNS = 2**15


def hash_images(grey: np.ndarray) -> np.ndarray:
    """Perceptual hashes, uint64 (N, 4), of grey images (N, H, W).

    Each image becomes 32x32; a bit says whether one of the 255 lowest frequencies of its cosine transform (DCT-II,
    16x16 without the mean) is positive. After pHash (Zauner, 2010), with four times the bits, because the 64 of the
    original take ships on the sea for one another, and with zero instead of the median as the border.
    """
    small = np.stack([_small(image) for image in grey]) if len(grey) else np.empty((0, SIDE, SIDE), np.float32)
    basis = _basis()
    bits = (basis @ small @ basis.T > _NOISE).reshape(len(small), -1)
    bits[:, 0] = False
    return np.packbits(bits, axis=1).view(np.uint64).reshape(len(small), _WORDS)


def _small(image: np.ndarray) -> np.ndarray:
    if image.shape == (SIDE, SIDE):
        return image.astype(np.float32)
    return np.asarray(Image.fromarray(image.astype(np.float32)).resize((SIDE, SIDE), Image.Resampling.BICUBIC))


@cache
def _basis() -> np.ndarray:
    """The cosines of the transform, float32 (16, 32)."""
    frequency, place = np.ogrid[:FREQUENCIES, :SIDE]
    return np.cos(np.pi * (2 * place + 1) * frequency / (2 * SIDE)).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs of images that look alike: positions `first` < `second` int64 (P,), and in how many bits they differ."""

    first: np.ndarray
    second: np.ndarray
    bits: np.ndarray

    def __len__(self) -> int:
        return len(self.bits)

    def __iter__(self) -> Iterator[tuple[int, int, int]]:
        return zip(self.first.tolist(), self.second.tolist(), self.bits.tolist(), strict=True)


def near_pairs(hashes: np.ndarray, most: int) -> Pairs:
    """All pairs of hashes, uint64 (N, 4), that differ in at most `most` bits: each with each, on all cores."""
    words = np.ascontiguousarray(hashes.T)
    starts = range(0, len(hashes), _ROWS)
    found = list(each(partial(_pairs_of_rows, words, most), [(start, start + _ROWS) for start in starts]))
    first, second, bits = (np.concatenate(parts) for parts in zip(*found, strict=True)) if found else _nothing()
    return Pairs(first, second, bits)


def _nothing() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.int64)


def _pairs_of_rows(words: np.ndarray, most: int, rows: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The pairs whose first is one of these rows, in order."""
    first, second, bits = [], [], []
    count = words.shape[1]
    for row in range(rows[0], min(rows[1], count)):
        for start in range(row + 1, count, _COLUMNS):
            differing = _differing(words[:, row], words[:, start : start + _COLUMNS])
            near = np.flatnonzero(differing <= most)
            first.append(np.full(len(near), row))
            second.append(near + start)
            bits.append(differing[near].astype(np.int64))
    if not first:
        return _nothing()
    return np.concatenate(first), np.concatenate(second), np.concatenate(bits)


def _differing(one: np.ndarray, many: np.ndarray) -> np.ndarray:
    """In how many of the 255 bits a hash (4,) differs from each of (4, N): uint8 (N,)."""
    total: np.ndarray = np.bitwise_count(many[0] ^ one[0])
    for mine, others in zip(one[1:], many[1:], strict=True):
        total += np.bitwise_count(others ^ mine)
    return total


def threshold(hashes: np.ndarray) -> int:
    """In how many bits near duplicates of this set may differ.

    Any two images of a set differ in about half of the bits, give or take a spread that depends on the set: aligned
    faces and clothes on black are more alike than photographs. The threshold lies so far below the median that among
    all pairs of the set a hundredth of one is expected there by chance, if the lower tail falls off as a normal
    distribution does that has this set's median and thousandth. It is never more than `CAP`, and less than 0 where
    the images are too alike to tell. Sets of fewer than 500 images have too few pairs for that and get `CAP`.
    """
    hashes = np.unique(hashes, axis=0)  # so that neither copies nor the order of the images matter
    count = len(hashes)
    if count < _ENOUGH:
        return CAP
    first, second = np.random.default_rng(0).integers(0, count, (2, _SAMPLE))
    apart = first != second
    bits = np.bitwise_count(hashes[first[apart]] ^ hashes[second[apart]]).sum(axis=1)
    median, low = np.quantile(bits, [0.5, _TAIL])
    normal = NormalDist()
    spread = (median - low) / -normal.inv_cdf(_TAIL)
    return min(CAP, int(np.floor(median + normal.inv_cdf(_CHANCE / (count * (count - 1) / 2)) * spread)))
