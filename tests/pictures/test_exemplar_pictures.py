"""Contact sheets: exact pixels, what lies beyond the border, the outline, and what a reader is told."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from cutaway.errors import InputError
from cutaway.pictures.colours import ACCENT, RULE
from cutaway.pictures.exemplars import CELL, Shot, colours, layer_sheet, patch, tile, unit_sheet


def image(channels: int = 3, height: int = 8, width: int = 8) -> NDArray[np.uint8]:
    return (np.arange(channels * height * width) % 200).astype(np.uint8).reshape(channels, height, width)


def shot(box: tuple[int, int, int, int], pixels: NDArray[np.uint8] | None = None, score: float = 1.5) -> Shot:
    return Shot(image() if pixels is None else pixels, box, score, "train:3 cat")


def test_a_patch_inside_is_its_pixels() -> None:
    assert np.array_equal(patch(shot((2, 1, 5, 6))), image()[:, 2:5, 1:6])


def test_beyond_the_border_is_the_colour_of_rules() -> None:
    found = patch(shot((-1, 5, 2, 10)))
    assert found.shape == (3, 3, 5)
    assert np.array_equal(found[:, 1:, :3], image()[:, 0:2, 5:8])
    outside = np.ones((3, 5), bool)
    outside[1:, :3] = False
    assert (found[:, outside] == np.array(RULE)[:, None]).all()


def test_a_grey_patch_at_the_border_keeps_its_grey() -> None:
    found = patch(shot((-1, -1, 2, 2), image(1)))
    assert found.shape == (3, 3, 3)
    assert (found[:, 1:, 1:] == image(1)[:, :2, :2]).all()


def test_a_box_larger_than_the_image_is_the_image() -> None:
    assert np.array_equal(patch(shot((-20, -3, 30, 40))), image())
    narrow = patch(shot((-20, 2, 30, 5)))
    assert np.array_equal(narrow, image()[:, :, 2:5])


def test_a_box_wholly_outside_shows_padding_alone() -> None:
    assert (patch(shot((-6, -6, -2, -2))) == np.array(RULE)[:, None, None]).all()


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_any_number_of_channels_has_colours(channels: int) -> None:
    rgb = colours(image(channels))
    assert rgb.shape == (3, 8, 8)
    expected = image(channels)[:3] if channels >= 3 else image(channels)[[0, 0, 0]]
    assert np.array_equal(rgb, expected)


def test_small_images_are_enlarged_pixel_by_pixel() -> None:
    drawn = tile(image())
    assert drawn.shape == (72, 72, 3)
    assert np.array_equal(drawn[::9, ::9], image().transpose(1, 2, 0))
    assert np.array_equal(drawn[8::9, 8::9], image().transpose(1, 2, 0))


def test_images_of_the_cells_size_stay() -> None:
    assert tile(image(3, 100, 90)).shape == (100, 90, 3)


def test_large_images_are_means_of_squares() -> None:
    pixels = np.zeros((1, 216, 220), np.uint8)
    pixels[0, :3, :3] = np.array([[0, 90, 0], [0, 0, 0], [0, 0, 9]])
    drawn = tile(pixels)
    assert drawn.shape == (72, 73, 3)
    assert drawn[0, 0].tolist() == [11, 11, 11]
    assert max(drawn.shape) <= 1.5 * CELL


def test_the_box_is_outlined_exactly() -> None:
    drawn = tile(np.zeros((1, 8, 8), np.uint8), (1, 2, 4, 6))
    edge = (drawn == np.array(ACCENT)).all(2)
    expected = np.zeros((72, 72), bool)
    expected[9:36, 18:54] = True
    expected[10:35, 19:53] = False
    assert np.array_equal(edge, expected)


def test_an_outline_beyond_the_border_is_cut() -> None:
    edge = (tile(np.zeros((1, 8, 8), np.uint8), (-1, -1, 2, 2)) == np.array(ACCENT)).all(2)
    assert edge[17, :18].all()
    assert edge[:18, 17].all()
    assert edge.sum() == 35


def test_a_box_that_holds_the_image_gets_a_cross_in_its_middle() -> None:
    edge = (tile(np.zeros((1, 8, 8), np.uint8), (-10, -6, 20, 8)) == np.array(ACCENT)).all(2)
    expected = np.zeros((72, 72), bool)
    expected[45, 5:14] = expected[41:50, 9] = True
    assert np.array_equal(edge, expected)


def test_a_unit_sheet_has_a_row_for_each_group() -> None:
    groups = [("best", [shot((0, 0, 3, 3))] * 4), ("least", [shot((5, 5, 9, 9), score=-0.25)] * 2)]
    found = unit_sheet(groups, title="conv1:3")
    one = unit_sheet(groups[:1], title="conv1:3")
    assert found.pixels.shape[1] == one.pixels.shape[1]
    assert found.pixels.shape[0] > 1.8 * one.pixels.shape[0]
    assert "conv1:3" in found.caption
    assert "beyond the image's border" in found.caption


def test_a_layer_sheet_has_a_row_for_each_unit() -> None:
    rows = [("0", [shot((0, 0, 3, 3))] * 3), ("17", [shot((4, 4, 7, 7))])]
    few, more = layer_sheet(rows), layer_sheet(rows * 3)
    assert more.pixels.shape[0] > 2.5 * (few.pixels.shape[0] - 30)
    assert more.pixels.shape[1] == few.pixels.shape[1]


def test_nothing_to_show_is_told() -> None:
    with pytest.raises(InputError, match="at least one patch"):
        unit_sheet([("best", [])])
    with pytest.raises(InputError, match="at least one patch"):
        layer_sheet([("3", [])])
