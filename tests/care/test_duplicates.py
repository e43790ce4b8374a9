"""Copies, leaks and what is left out, against loops over all pairs."""

from __future__ import annotations

import numpy as np
import pytest

from cutaway.care.cleaning import suggest
from cutaway.care.leaks import leaking_pairs, leaks, two_classes
from cutaway.data.duplicates import Duplicates, find_duplicates

NAMES = ("train", "val", "test")


def random_set(seed: int, count: int = 60) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Hashes of pixels and of looks (equal pixels look equal), splits and labels, with copies of every kind."""
    random = np.random.default_rng(seed)
    which = random.integers(0, count // 2, count)
    kinds = random.integers(0, 2, (count // 4, 256), dtype=np.uint8)
    looks = kinds[np.arange(count // 2) % len(kinds)] ^ (random.random((count // 2, 256)) < 0.06).astype(np.uint8)
    packed = np.packbits(looks, axis=1).view(np.uint64)
    return which.astype(np.uint64), packed[which], random.integers(0, 3, count), random.integers(0, 4, count)


def bits(looks: np.ndarray, i: int, j: int) -> int:
    return int(np.bitwise_count(looks[i] ^ looks[j]).sum())


def found(seed: int, most: int = 30) -> tuple[Duplicates, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    pixels, looks, split_of, labels = random_set(seed)
    return find_duplicates(pixels, looks, np.full(len(pixels), 50.0), most), pixels, looks, split_of, labels


@pytest.mark.parametrize("seed", range(4))
def test_groups_are_the_images_with_equal_pixels(seed: int) -> None:
    duplicates, pixels, *_ = found(seed)
    expected = {tuple(np.flatnonzero(pixels == value).tolist()) for value in pixels}
    assert {tuple(group.tolist()) for group in duplicates.groups} == {group for group in expected if len(group) > 1}


@pytest.mark.parametrize("seed", range(4))
def test_leaks_as_two_loops_count_them(seed: int) -> None:
    duplicates, pixels, looks, split_of, _ = found(seed)
    trained = np.flatnonzero(split_of == 0)
    for leak in leaks(duplicates, split_of, NAMES):
        members = np.flatnonzero(split_of == NAMES.index(leak.split))
        exact = [i for i in members if any(pixels[i] == pixels[j] for j in trained)]
        near = [i for i in members if any(bits(looks, i, j) <= 30 for j in trained)]
        assert (leak.size, leak.exact, leak.near) == (len(members), len(exact), len(near))
        assert len(near) > 0


@pytest.mark.parametrize("seed", range(4))
def test_families_as_a_walk_from_image_to_image_finds_them(seed: int) -> None:
    duplicates, pixels, looks, *_ = found(seed)
    for start in range(len(pixels)):
        family, waiting = {start}, [start]
        while waiting:
            here = waiting.pop()
            near = {i for i in range(len(pixels)) if pixels[i] == pixels[here] or bits(looks, i, here) <= 30}
            waiting += near - family
            family |= near
        assert set(np.flatnonzero(duplicates.families == duplicates.families[start]).tolist()) == family
        assert duplicates.families[start] == min(family)


def test_a_leaking_pair_is_the_most_alike() -> None:
    duplicates, _, looks, split_of, _ = found(1)
    trained = np.flatnonzero(split_of == 0)
    pairs = leaking_pairs(duplicates, split_of, NAMES)
    assert {image for image, _, _ in pairs} == {
        i for i in np.flatnonzero(split_of).tolist() if min(bits(looks, i, j) for j in trained) <= 30
    }
    for image, other, count in pairs:
        assert split_of[other] == 0
        assert count == bits(looks, image, other) == min(bits(looks, image, j) for j in trained)
    assert [pair[2] for pair in pairs] == sorted(pair[2] for pair in pairs)


def test_no_leak_without_copies() -> None:
    looks = np.random.default_rng(0).integers(0, 2**63, (9, 4)).astype(np.uint64)
    duplicates = find_duplicates(np.arange(9, dtype=np.uint64), looks, np.full(9, 50.0), 64)
    assert [(leak.exact, leak.near) for leak in leaks(duplicates, np.arange(9) % 3, NAMES)] == [(0, 0), (0, 0)]


def test_blank_images_are_no_near_duplicates() -> None:
    looks = np.zeros((3, 4), np.uint64)
    duplicates = find_duplicates(np.arange(3, dtype=np.uint64), looks, np.array([0.0, 50.0, 50.0]), 64)
    assert list(duplicates.near) == [(1, 2, 0)]


def test_no_pair_is_near_where_the_images_are_too_alike() -> None:
    duplicates = find_duplicates(np.arange(3, dtype=np.uint64), np.zeros((3, 4), np.uint64), np.full(3, 50.0), -1)
    assert len(duplicates.near) == 0


def test_equal_images_under_two_classes() -> None:
    pixels = np.array([1, 1, 2, 2, 3], dtype=np.uint64)
    duplicates = find_duplicates(pixels, np.zeros((5, 4), np.uint64), np.zeros(5), 0)
    assert [group.tolist() for group in two_classes(duplicates, np.array([0, 0, 0, 1, 1]))] == [[2, 3]]


@pytest.mark.parametrize("seed", range(4))
def test_after_leaving_out_nothing_is_there_twice_and_nothing_is_lost(seed: int) -> None:
    duplicates, pixels, looks, _, labels = found(seed)
    rank = np.random.default_rng(seed).permutation(len(pixels))
    suggestions = suggest(duplicates, labels, np.full(len(pixels), 50.0), rank)
    gone = {one.image for one in suggestions}
    kept = [image for image in range(len(pixels)) if image not in gone]
    assert not [(i, j) for i in kept for j in kept if i < j and bits(looks, i, j) <= 30]
    for one in suggestions:
        if one.rule == "two-classes":
            assert len({labels[i] for i in np.flatnonzero(pixels == pixels[one.image])}) > 1
        else:
            assert one.instead_of is not None
            assert rank[one.instead_of] < rank[one.image]
            assert bits(looks, one.image, one.instead_of) <= 30
        if one.rule == "near":
            assert one.instead_of in kept


def test_blank_images_all_go() -> None:
    duplicates = find_duplicates(np.arange(3, dtype=np.uint64), np.zeros((3, 4), np.uint64), np.array([0, 9, 1.0]), 0)
    found = suggest(duplicates, np.zeros(3, int), np.array([0, 9, 1.0]), np.arange(3))
    assert [(one.image, one.rule) for one in found] == [(0, "blank"), (2, "blank")]
