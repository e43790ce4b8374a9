"""Grids of imagined images: every image at its place, whole pixels, words below."""

from __future__ import annotations

import numpy as np
import pytest

from cutaway.errors import InputError
from cutaway.pictures.imagined import imagined_grid, rows_grid

RED = np.zeros((3, 4, 5), dtype=np.uint8)
RED[0] = 255


def test_images_are_enlarged_by_whole_numbers_and_named() -> None:
    images = np.stack([RED, np.roll(RED, 1, axis=0)])
    found = imagined_grid(images, ["red", "green"], [1.5, -2.0])
    assert found.caption == "red 1.5, green −2" or found.caption == "red 1.5, green -2"
    red = (found.pixels == [255, 0, 0]).all(-1)
    # 160 pixels for the longer side: 32 pixels for each of 4 x 5.
    assert red.sum() == 128 * 160
    rows, columns = np.nonzero(red)
    assert (np.ptp(rows), np.ptp(columns)) == (127, 159)


def test_one_channel_is_grey() -> None:
    found = imagined_grid(np.full((1, 1, 4, 4), 77, dtype=np.uint8), ["a"], [0.0])
    assert (found.pixels == 77).all(-1).sum() >= 160 * 160


def test_rows_are_the_same_images_below_each_other() -> None:
    rows = np.stack([np.stack([RED, RED]), np.stack([RED, RED])])
    found = rows_grid(rows, ["before", "after"])
    assert (found.pixels == [255, 0, 0]).all(-1).sum() == 4 * 128 * 160
    assert found.caption == "before, after of 2 images"


def test_nothing_and_odd_shapes_are_refused() -> None:
    with pytest.raises(InputError, match=r"images must be uint8 \(N, C, H, W\)"):
        imagined_grid(np.zeros((0, 3, 4, 4), dtype=np.uint8), [], [])
    with pytest.raises(InputError, match=r"images must be uint8 \(rows, N, C, H, W\)"):
        rows_grid(np.zeros((1, 3, 4, 4), dtype=np.uint8), ["a"])
