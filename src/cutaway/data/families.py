"""Images that are nearly equal, as families that a split keeps together; found once and then remembered."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from cutaway.data.duplicates import find_duplicates
from cutaway.data.hashing import threshold
from cutaway.data.measures import measure
from cutaway.data.part import Split
from cutaway.files import cache_folder, write_with
from cutaway.progress import Progress

_VERSION = 1


def families(split: Split, progress: Progress | None = None) -> np.ndarray:
    """One number for each image, uint64 (N,): the same for images that are nearly equal, or are so to one between them.

    The number is the lowest hash of pixels in the family. It depends on the images alone and not on their order.
    """
    distinct, first = np.unique(split.hashes, return_index=True)
    known = _known(distinct)
    if known is None:
        known = _find(_only(split, first), progress)
        write_with(_file(distinct), lambda file: np.save(file, known))
    return np.asarray(known[np.searchsorted(distinct, split.hashes)])


def _only(split: Split, rows: np.ndarray) -> Split:
    return Split(split.name, split.images.select(rows), split.labels[rows], known_hashes=split.hashes[rows])


def _find(split: Split, progress: Progress | None) -> np.ndarray:
    """The families of images that are all different, in ascending order of their hashes."""
    measures = measure([split], progress)
    most = threshold(measures.hashes)
    return np.asarray(split.hashes[find_duplicates(split.hashes, measures.hashes, measures.contrast, most).families])


def _file(distinct: np.ndarray) -> Path:
    digest = hashlib.blake2b(distinct.astype("<u8").tobytes(), digest_size=16).hexdigest()
    return cache_folder() / "families" / f"{digest}-{_VERSION}.npy"


def _known(distinct: np.ndarray) -> np.ndarray | None:
    """What was found before for the same images, or None if nothing was or the file is damaged."""
    try:
        found: np.ndarray = np.load(_file(distinct), allow_pickle=False)
    except (OSError, EOFError, ValueError):
        return None
    return found if found.shape == distinct.shape and found.dtype == np.uint64 else None
