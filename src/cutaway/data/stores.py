"""Where a split's images live: in memory, in a memory-mapped file, or still in their image files."""

from __future__ import annotations

import copy
import hashlib
import mmap
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from cutaway.data.decode import Undecodable, decode
from cutaway.data.parallel import each
from cutaway.errors import InputError

_DROP_AFTER = 256 * 2**20
_FAULT = 2**16
_PART = 64


class ImageStore(ABC):
    """An array-like of images, uint8 (N, C, H, W); `store[index_array]` is a contiguous copy of those images."""

    def __init__(self, count: int, image_shape: tuple[int, int, int]) -> None:
        self.rows = np.arange(count)
        self.image_shape = image_shape

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(N, C, H, W)."""
        return (len(self.rows), *self.image_shape)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: np.ndarray | Sequence[int] | slice) -> np.ndarray:
        return self._gather(self.rows[index])

    def select(self, rows: np.ndarray) -> ImageStore:
        """The store of only these images, in this order; nothing is copied."""
        chosen = copy.copy(self)
        chosen.rows = self.rows[rows]
        return chosen

    def stream(self, batches: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
        """The images of each index array in turn."""
        return (self[batch] for batch in batches)

    @abstractmethod
    def _gather(self, rows: np.ndarray) -> np.ndarray:
        """A contiguous copy of the images in these rows of the whole."""


class ArrayImages(ImageStore):
    """Images in memory."""

    def __init__(self, pixels: np.ndarray) -> None:
        super().__init__(len(pixels), (pixels.shape[1], pixels.shape[2], pixels.shape[3]))
        self.pixels = pixels

    def _gather(self, rows: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(self.pixels[rows])


class MappedImages(ImageStore):
    """Images in a memory-mapped `.npy` file."""

    def __init__(self, file: Path) -> None:
        self._map = _Map(file)
        count, channels, height, width = self._map.pixels.shape
        super().__init__(count, (channels, height, width))

    def _gather(self, rows: np.ndarray) -> np.ndarray:
        return self._map.gather(rows)


class _Map:
    """A mapped `.npy` file whose pages are given back now and then, so that memory in use does not grow with the file.

    The kernel counts mapped pages as the process's memory. Given back, they stay in the page cache.
    """

    def __init__(self, file: Path) -> None:
        with file.open("rb") as handle:
            np.lib.format.read_magic(handle)
            shape, _, _ = np.lib.format.read_array_header_1_0(handle)
            self._mmap = mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ)
            size = int(np.prod(shape))
            if len(self._mmap) != handle.tell() + size:
                raise ValueError(f"{file} has {len(self._mmap)} bytes, not {handle.tell() + size}")
            self.pixels = np.frombuffer(self._mmap, np.uint8, size, handle.tell()).reshape(shape)
        self._touched = 0

    def gather(self, rows: np.ndarray) -> np.ndarray:
        images: np.ndarray = self.pixels[rows]
        self._touched += images.nbytes + _FAULT * len(images)  # a fault maps its neighbours too, up to 64 KiB
        if self._touched > _DROP_AFTER and hasattr(mmap, "MADV_DONTNEED"):
            self._mmap.madvise(mmap.MADV_DONTNEED)
            self._touched = 0
        return images


class StreamedImages(ImageStore):
    """Images decoded again whenever they are asked for, for sets too big to keep decoded."""

    def __init__(self, root: Path, files: Sequence[str], image_shape: tuple[int, int, int]) -> None:
        super().__init__(len(files), image_shape)
        self.root = root
        self.files = tuple(files)

    def stream(self, batches: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
        """The images of each index array in turn, decoded ahead on all cores."""
        jobs = [[self.files[row] for row in self.rows[batch]] for batch in batches]
        return map(_readable, each(partial(_decode_all, self.root, self.image_shape), jobs))

    def _gather(self, rows: np.ndarray) -> np.ndarray:
        parts = [rows[start : start + _PART] for start in range(0, len(rows), _PART)]
        jobs = [[self.files[row] for row in part] for part in parts]
        images = [_readable(part) for part in each(partial(_decode_all, self.root, self.image_shape), jobs)]
        return np.concatenate(images) if images else np.empty((0, *self.image_shape), np.uint8)


def _decode_all(root: Path, shape: tuple[int, int, int], files: list[str]) -> np.ndarray | str:
    """The images of these files, or what is wrong with the first that cannot be decoded."""
    images = np.empty((len(files), *shape), np.uint8)
    for image, file in zip(images, files, strict=True):
        try:
            image[:] = decode(root / file, size=shape[1:], channels=shape[0])
        except Undecodable as error:
            return f"{root / file} was readable when the data set was opened and is not now ({error}); put it back"
    return images


def _readable(images: np.ndarray | str) -> np.ndarray:
    if isinstance(images, str):
        raise InputError(images)
    return images


def pixel_hash(pixels: np.ndarray) -> int:
    """A 64-bit hash of one image's pixels."""
    return int.from_bytes(hashlib.blake2b(pixels.data, digest_size=8).digest(), "little")
