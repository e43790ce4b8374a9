"""Images that leak from training into evaluation, and those that stand under two classes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cutaway.data.duplicates import Duplicates


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
