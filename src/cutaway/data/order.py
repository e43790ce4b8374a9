"""The order in which an epoch visits the samples."""

from __future__ import annotations

import numpy as np

from cutaway.data.randomness import hash_array, key

_STREAM = 0x0DE5


def sample_order(count: int, seed: int, epoch: int) -> np.ndarray:
    """A permutation of 0 ... count - 1, int64, a pure function of its arguments on every machine and version.

    >>> sample_order(6, seed=0, epoch=1).tolist() == sample_order(6, seed=0, epoch=1).tolist()
    True
    >>> sorted(sample_order(6, seed=0, epoch=1).tolist())
    [0, 1, 2, 3, 4, 5]
    """
    hashes = hash_array(key(_STREAM, seed, epoch), np.arange(count))
    return np.argsort(hashes, kind="stable").astype(np.int64)
