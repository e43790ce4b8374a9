from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cutaway.data.split import shared_images, stratified
from cutaway.errors import InputError

SHARES = {"val": 0.1, "test": 0.2}


def sample(per_class: int, classes: int, copies: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels, and hashes of which some are equal within a class and some across classes."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), per_class)
    hashes = np.arange(len(labels), dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    for _ in range(copies):
        first, second = rng.integers(0, len(labels), 2)
        hashes[second] = hashes[first]
    return labels, hashes


def split(labels: np.ndarray, hashes: np.ndarray, seed: int = 0) -> dict[str, np.ndarray]:
    return stratified(labels, hashes, SHARES, seed, tuple(f"c{label}" for label in range(labels.max() + 1)))


@given(st.integers(20, 60), st.integers(2, 5), st.integers(0, 25), st.integers(0, 99))
@settings(max_examples=80, deadline=None)
def test_duplicates_are_never_separated_and_nothing_is_lost(
    per_class: int, classes: int, copies: int, seed: int
) -> None:
    labels, hashes = sample(per_class, classes, copies, seed)
    parts = split(labels, hashes, seed)
    assert sorted(np.concatenate(list(parts.values())).tolist()) == list(range(len(labels)))
    homes = [set(hashes[rows].tolist()) for rows in parts.values()]
    assert not homes[0] & homes[1]
    assert not homes[0] & homes[2]
    assert not homes[1] & homes[2]
    for rows in parts.values():
        assert (np.diff(rows) > 0).all()


def test_every_class_gives_its_share() -> None:
    labels, hashes = sample(100, 4, 0, 0)
    parts = split(labels, hashes)
    assert {name: np.bincount(labels[rows]).tolist() for name, rows in parts.items()} == {
        "train": [70] * 4,
        "val": [10] * 4,
        "test": [20] * 4,
    }


@given(st.integers(0, 50))
@settings(max_examples=30, deadline=None)
def test_the_order_of_the_files_does_not_matter(seed: int) -> None:
    labels, hashes = sample(30, 3, 10, seed)
    shuffled = np.random.default_rng(seed).permutation(len(labels))
    plain, other = split(labels, hashes), split(labels[shuffled], hashes[shuffled])
    for name in plain:
        assert sorted(hashes[plain[name]].tolist()) == sorted(hashes[shuffled][other[name]].tolist())


def test_the_seed_matters() -> None:
    labels, hashes = sample(100, 2, 0, 0)
    assert split(labels, hashes, 0)["test"].tolist() != split(labels, hashes, 1)["test"].tolist()
    assert split(labels, hashes, 1)["test"].tolist() == split(labels, hashes, 1)["test"].tolist()


def test_a_small_class_is_in_every_split() -> None:
    labels, hashes = np.array([0, 0, 0, 1, 1, 1, 1]), np.arange(7, dtype=np.uint64)
    for rows in split(labels, hashes).values():
        assert set(labels[rows]) == {0, 1}


def test_large_groups_of_duplicates_do_not_fill_a_split() -> None:
    hashes = np.concatenate([np.zeros(60, np.uint64), np.arange(1, 41, dtype=np.uint64)])
    parts = split(np.zeros(100, dtype=np.int64), hashes)
    assert [len(parts[name]) for name in ("train", "val", "test")] == [70, 10, 20]
    assert set(range(60)) <= set(parts["train"].tolist())


def test_too_few_distinct_images() -> None:
    hashes = np.array([1, 1, 1, 2, 5, 6, 7], dtype=np.uint64)
    message = "class 'c0' has 2 distinct images, and 3 or more are needed to split it; add images, or give train/"
    with pytest.raises(InputError, match=message):
        split(np.array([0, 0, 0, 0, 1, 1, 1]), hashes)


def test_shared_images_are_counted_by_content() -> None:
    first, second = np.array([1, 2, 3], dtype=np.uint64), np.array([3, 3, 4], dtype=np.uint64)
    assert shared_images(first, second) == 2
