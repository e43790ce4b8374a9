"""Splits that are seeded, stratified by class, and never separate exact duplicates."""

from __future__ import annotations

import numpy as np

from cutaway.data.randomness import hash_array, key
from cutaway.errors import InputError

_STREAM = 0x5917


def stratified(
    labels: np.ndarray,
    hashes: np.ndarray,
    shares: dict[str, float],
    seed: int,
    classes: tuple[str, ...],
    strict: bool = True,
) -> dict[str, np.ndarray]:
    """Sorted positions (int64) of each split: `shares` of every class go to the splits named, the rest to "train".

    The order in which images are drawn depends on their pixels and the seed alone, so the same images are split alike
    whatever their names or their order. Images with equal hashes always stay together.

    Args:
        labels: int64 (N,).
        hashes: uint64 (N,) of each image's pixels.
        shares: the part of every class that each split gets, such as {"val": 0.1, "test": 0.1}.
        seed: of the draw.
        classes: the names, for errors.
        strict: whether a class with too few distinct images is an error; otherwise all of it goes to "train".
    """
    _, first, group, sizes = np.unique(hashes, return_index=True, return_inverse=True, return_counts=True)
    owner = np.full(len(first), len(classes), dtype=np.int64)
    np.minimum.at(owner, group, labels)  # equal images under two labels go where the first class puts them
    draw = hash_array(key(_STREAM, seed), hashes[first])
    home = np.zeros(len(first), dtype=np.int64)
    for label, name in enumerate(classes):
        members = np.flatnonzero(owner == label)
        if not strict and len(members) <= len(shares):
            continue
        home[members] = _assign(sizes[members], draw[members], list(shares.values()), name)
    names = ("train", *shares)
    return {split: np.flatnonzero(home[group] == number) for number, split in enumerate(names)}


def _assign(sizes: np.ndarray, draw: np.ndarray, shares: list[float], name: str) -> np.ndarray:
    """The split (0 train, 1 the first share, ...) of each group of one class."""
    if len(sizes) <= len(shares):
        raise InputError(
            f"class '{name}' has {len(sizes)} distinct images, and {len(shares) + 1} or more are needed to split it; "
            "add images, or give train/, val/ and test/ folders"
        )
    home = np.zeros(len(sizes), dtype=np.int64)
    waiting = np.argsort(draw, kind="stable").tolist()
    for number, share in enumerate(shares, start=1):
        spare = len(waiting) - (len(shares) - number + 1)
        taken = _take(sizes, waiting, max(1, round(share * int(sizes.sum()))), spare)
        home[taken] = number
        chosen = set(taken)
        waiting = [group for group in waiting if group not in chosen]
    return home


def _take(sizes: np.ndarray, waiting: list[int], wanted: int, spare: int) -> list[int]:
    """Groups from the front of `waiting` that fit into `wanted` images, at least one and at most `spare`."""
    taken: list[int] = []
    for group in waiting:
        if wanted >= sizes[group] and len(taken) < spare:
            taken.append(group)
            wanted -= int(sizes[group])
        if not wanted:
            break
    return taken or [min(waiting, key=lambda group: int(sizes[group]))]


def shared_images(first: np.ndarray, second: np.ndarray) -> int:
    """How many images of `second` are also in `first`, by hash."""
    return int(np.isin(second, first).sum())
