"""Brightness, contrast and sharpness, written out."""

from __future__ import annotations

import numpy as np

from cutaway.data.measures import measure, sharpness, to_grey
from cutaway.data.part import Split
from cutaway.data.stores import ArrayImages


def obvious_sharpness(image: np.ndarray) -> float:
    values = []
    for y in range(1, image.shape[0] - 1):
        for x in range(1, image.shape[1] - 1):
            beside = image[y - 1, x] + image[y + 1, x] + image[y, x - 1] + image[y, x + 1]
            values.append(4 * image[y, x] - beside)
    mean = sum(values) / len(values)
    return float(sum((value - mean) ** 2 for value in values) / len(values))


def test_sharpness_is_the_variance_of_the_laplacian() -> None:
    images = np.random.default_rng(0).uniform(0, 255, (3, 9, 7))
    for image, found in zip(images, sharpness(images.astype(np.float32)), strict=True):
        assert np.isclose(found, obvious_sharpness(image), rtol=1e-4)


def test_sharpness_by_hand() -> None:
    dot = np.zeros((1, 3, 4), np.float32)
    dot[0, 1, 1] = 8
    # The two inner pixels give 32 and -8: mean 12, variance 400.
    assert sharpness(dot).tolist() == [400]
    assert sharpness(np.zeros((2, 2, 9), np.float32)).tolist() == [0, 0]


def test_a_slope_has_no_sharpness() -> None:
    slope = np.add.outer(np.arange(8.0), 3 * np.arange(9.0))[None].astype(np.float32)
    assert sharpness(slope)[0] < 1e-6


def test_grey_is_luma() -> None:
    pixels = np.zeros((1, 3, 1, 2), np.uint8)
    pixels[0, :, 0, 0] = (100, 200, 50)
    assert np.allclose(to_grey(pixels), [[[29.9 + 117.4 + 5.7, 0]]])
    assert to_grey(np.full((1, 1, 2, 2), 7, np.uint8)).tolist() == [[[7, 7], [7, 7]]]


def test_splits_follow_each_other() -> None:
    random = np.random.default_rng(1)
    parts = [random.integers(0, 256, (count, 3, 10, 12), dtype=np.uint8) for count in (5, 2)]
    splits = [Split(name, ArrayImages(part), np.zeros(len(part), int)) for name, part in zip("ab", parts, strict=True)]
    told: list[tuple[str, int, int]] = []
    found = measure(splits, lambda *what: told.append(what))
    grey = [to_grey(image[None])[0] for part in parts for image in part]
    assert np.allclose(found.brightness, [image.mean() for image in grey], rtol=1e-5)
    assert np.allclose(found.contrast, [image.std() for image in grey], rtol=1e-4)
    assert np.allclose(found.sharpness, [obvious_sharpness(image) for image in grey], rtol=1e-3)
    assert found.hashes.shape == (7, 4)
    assert told[-1][1:] == (7, 7)
