"""Images that are there twice: to the last pixel, or nearly; and those that leak from training into evaluation."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from cutaway.care.hashing import Pairs, near_pairs

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


@dataclass(frozen=True)
class Leak:
    """How many images of an evaluation split are in the training split too: to the last pixel, or at least nearly."""

    split: str
    size: int
    exact: int
    near: int


def leaks(duplicates: Duplicates, split_of: np.ndarray, names: tuple[str, ...]) -> tuple[Leak, ...]:
    """The leak from "train" into each other split; `split_of` int (N,) indexes `names`."""
    trained = set(duplicates.leader[split_of == names.index("train")].tolist())
    nearly = {image for image, others in duplicates.neighbours.items() if not trained.isdisjoint(others)}
    found = []
    for number, name in enumerate(names):
        members = duplicates.leader[split_of == number].tolist()
        exact = sum(image in trained for image in members)
        near = sum(image in trained or image in nearly for image in members)
        found.append(Leak(name, len(members), exact, near))
    return tuple(leak for leak in found if leak.split != "train")


def leaking_pairs(duplicates: Duplicates, split_of: np.ndarray, names: tuple[str, ...]) -> list[tuple[int, int, int]]:
    """An evaluation image, its most alike training image and the bits they differ in; the most alike pairs first."""
    train = names.index("train")
    first_trained: dict[int, int] = {}
    for image in np.flatnonzero(split_of == train).tolist():
        first_trained.setdefault(int(duplicates.leader[image]), image)
    pairs = []
    for image in np.flatnonzero(split_of != train).tolist():
        leader = int(duplicates.leader[image])
        candidates = {leader: 0, **duplicates.neighbours.get(leader, {})}
        known = [(bits, first_trained[other]) for other, bits in candidates.items() if other in first_trained]
        if known:
            bits, other = min(known)
            pairs.append((image, other, bits))
    return sorted(pairs, key=lambda pair: (pair[2], pair[0]))


def two_classes(duplicates: Duplicates, labels: np.ndarray) -> tuple[np.ndarray, ...]:
    """The groups of equal images that stand under more than one class."""
    return tuple(group for group in duplicates.groups if len(set(labels[group].tolist())) > 1)
