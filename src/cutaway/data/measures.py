"""What can be measured of an image without knowing what is on it: brightness, contrast, sharpness, and its hash."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cutaway.data.hashing import hash_images
from cutaway.data.parallel import each
from cutaway.data.part import Split
from cutaway.data.stores import ImageStore
from cutaway.progress import Progress

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_PART_BYTES = 2**23


@dataclass(frozen=True, eq=False)
class Measures:
    """Figures of images, each an array (N,), at the size that a network sees.

    Attributes:
        brightness: mean grey level, 0 ... 255.
        contrast: standard deviation of the grey levels.
        sharpness: variance of the Laplacian of the grey levels (Pech-Pacheco and others, 2000); low is blurred.
        hashes: perceptual hashes, uint64 (N, 4).
    """

    brightness: np.ndarray
    contrast: np.ndarray
    sharpness: np.ndarray
    hashes: np.ndarray


def measure(splits: Sequence[Split], progress: Progress | None = None) -> Measures:
    """The figures of all images of `splits`, one split after the other, on all cores."""
    part = max(1, min(512, _PART_BYTES // int(np.prod(splits[0].images.image_shape))))
    jobs = [
        (split.images, np.arange(start, min(start + part, len(split))))
        for split in splits
        for start in range(0, len(split), part)
    ]
    found, done, total = [], 0, sum(map(len, splits))
    for figures in each(_measure_part, jobs):
        found.append(figures)
        done += len(figures[0])
        if progress:
            progress("looking at the images", done, total)
    return Measures(*(np.concatenate(parts) for parts in zip(*found, strict=True)))


def _measure_part(job: tuple[ImageStore, np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    images, rows = job
    grey = to_grey(images[rows])
    return grey.mean(axis=(1, 2)), grey.std(axis=(1, 2)), sharpness(grey), hash_images(grey)


def to_grey(images: np.ndarray) -> np.ndarray:
    """Grey levels float32 (N, H, W), ITU-R 601 luma, of images uint8 (N, C, H, W)."""
    if images.shape[1] == 1:
        return images[:, 0].astype(np.float32)
    return np.tensordot(images.astype(np.float32), _LUMA, axes=(1, 0))


def sharpness(grey: np.ndarray) -> np.ndarray:
    """The variance over each image (N, H, W) of its Laplacian: four times a pixel less its four neighbours."""
    if min(grey.shape[1:]) < 3:
        return np.zeros(len(grey), np.float32)
    middle = 4 * grey[:, 1:-1, 1:-1]
    beside = grey[:, :-2, 1:-1] + grey[:, 2:, 1:-1] + grey[:, 1:-1, :-2] + grey[:, 1:-1, 2:]
    return np.asarray((middle - beside).var(axis=(1, 2)))
