"""One part of a data set: its images, their labels, and the batches in which they are learnt."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch

from cutaway.data.stores import ImageStore, pixel_hash
from cutaway.showing import Shown

_CHUNK = 1024


class Batch(NamedTuple):
    """images uint8 (B, C, H, W), labels int64 (B,), ids int64 (B,): each image's position in its split."""

    images: torch.Tensor
    labels: torch.Tensor
    ids: torch.Tensor


@dataclass(frozen=True, eq=False)
class Split(Shown):
    """One part of a data set.

    Attributes:
        name: "train", "val" or "test".
        images: uint8 (N, C, H, W), array-like; index it with an array of positions.
        labels: int64 (N,).
        files: each image's path relative to the source folder, or None for a built-in set.
        masks: bool (N, H, W), where the object is, or None where it is not known.
    """

    name: str
    images: ImageStore
    labels: np.ndarray
    files: tuple[str, ...] | None = None
    masks: np.ndarray | None = None
    known_hashes: np.ndarray | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def hashes(self) -> np.ndarray:
        """A 64-bit hash of each image's pixels, uint64 (N,)."""
        if self.known_hashes is not None:
            return self.known_hashes
        chunks = (self.images[start : start + _CHUNK] for start in range(0, len(self), _CHUNK))
        return np.fromiter((pixel_hash(image) for chunk in chunks for image in chunk), np.uint64, len(self))

    @cached_property
    def fingerprint(self) -> str:
        """32 hexadecimal digits that change with any pixel, label or the order."""
        digest = hashlib.blake2b(repr(self.images.shape).encode(), digest_size=16)
        digest.update(self.hashes.astype("<u8").tobytes())
        digest.update(self.labels.astype("<i8").tobytes())
        return digest.hexdigest()

    def batches(self, order: np.ndarray, batch_size: int) -> Iterator[Batch]:
        """The images at the positions in `order`, `batch_size` at a time; the last batch may be smaller."""
        order = np.asarray(order, dtype=np.int64)
        chunks = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
        for ids, images in zip(chunks, self.images.stream(chunks), strict=True):
            yield Batch(torch.from_numpy(images), torch.from_numpy(self.labels[ids]), torch.from_numpy(ids.copy()))
