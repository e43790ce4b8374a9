"""Images that are there twice: to the last pixel, or nearly."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from cutaway.data.hashing import Pairs, near_pairs

BLANK = 2.0
"""With less contrast than this (standard deviation in grey levels), an image has nothing to compare."""


@dataclass(frozen=True, eq=False)
class Duplicates:
    """Which of N images are copies.

    Attributes:
        leader: int64 (N,), the first image that equals each to the last pixel; itself where it is the first.
        near: pairs of leaders that nearly are.
        most: in how many bits the hashes of a near pair may differ; below 0, no pair counts as near.
    """

    leader: np.ndarray
    near: Pairs
    most: int

    @cached_property
    def groups(self) -> tuple[np.ndarray, ...]:
        """Positions of images that are equal, two or more each, ascending."""
        order = np.argsort(self.leader, kind="stable")
        parts = np.split(order, np.flatnonzero(np.diff(self.leader[order])) + 1)
        return tuple(part for part in parts if len(part) > 1)

    @cached_property
    def neighbours(self) -> dict[int, dict[int, int]]:
        """For each leader that has any, the leaders that nearly equal it, with the bits they differ in."""
        found: dict[int, dict[int, int]] = defaultdict(dict)
        for first, second, bits in self.near:
            found[first][second] = found[second][first] = bits
        return dict(found)

    @cached_property
    def families(self) -> np.ndarray:
        """Int64 (N,): for each image the first leader that equals it or nearly does, directly or over others between
        them."""
        home = np.arange(len(self.leader))
        while True:
            lower = home.copy()
            least = np.minimum(home[self.near.first], home[self.near.second])
            np.minimum.at(lower, self.near.first, least)
            np.minimum.at(lower, self.near.second, least)
            lower = lower[lower]
            if np.array_equal(lower, home):
                return np.asarray(home[self.leader])
            home = lower


def find_duplicates(pixels: np.ndarray, looks: np.ndarray, contrast: np.ndarray, most: int) -> Duplicates:
    """Equal and nearly equal images.

    Args:
        pixels: uint64 (N,), hashes of the pixels.
        looks: uint64 (N, 4), perceptual hashes.
        contrast: of each image, (N,); those without any are compared by their pixels alone.
        most: in how many bits near duplicates may differ.
    """
    _, first, inverse = np.unique(pixels, return_index=True, return_inverse=True)
    leader = first[inverse]
    seen = np.flatnonzero((leader == np.arange(len(pixels))) & (contrast >= BLANK))
    near = near_pairs(looks[seen] if most >= 0 else looks[:0], most)
    return Duplicates(leader, Pairs(seen[near.first], seen[near.second], near.bits), most)
