"""The pictures of two networks side by side."""

from __future__ import annotations

import numpy as np
import pytest

from cutaway.errors import InputError
from cutaway.pictures import Scale, text, to_rgb
from cutaway.pictures.colours import NOT_FINITE, palette
from cutaway.pictures.comparison import (
    CELL_HEIGHT,
    CELL_WIDTH,
    Said,
    beside,
    disagreement_sheet,
    similarity_matrix,
    unit_kernels,
)

UNIT = Scale(0.0, 1.0, "magnitude")


def has(pixels: np.ndarray, colour: object) -> bool:
    return bool((pixels == np.asarray(colour, dtype=np.uint8)).all(-1).any())


def red(pixels: np.ndarray) -> bool:
    """Whether anything is much redder than it is green: letters are smoothed, so no pixel is quite the colour."""
    return bool((pixels[..., 0].astype(int) - pixels[..., 1] > 60).any())


def blocks(pixels: np.ndarray, values: np.ndarray) -> list[tuple[int, int]]:
    """Where cells of one colour lie: the upper left corner of each cell, found by its colour."""
    found = []
    for value in values.ravel():
        rows, columns = np.nonzero((pixels == to_rgb(np.array([[value]]), UNIT)[0, 0]).all(-1))
        found.append((int(rows.min()), int(columns.min())))
    return found


def test_rows_run_down_columns_across_on_the_scale_from_0_to_1() -> None:
    values = np.array([[0.13, 0.35, 0.55], [0.75, 0.91, 0.42]])
    picture = similarity_matrix(values, ["a", "b"], ["x", "y", "z"], title="CKA")
    corners = blocks(picture.pixels, values)
    top, left = corners[0]
    expected = [(top + row * CELL_HEIGHT, left + column * CELL_WIDTH) for row in range(2) for column in range(3)]
    assert corners == expected
    assert picture.scale == UNIT


def test_the_scale_does_not_follow_the_values() -> None:
    for values in (np.full((2, 2), 0.5), np.array([[0.5, 0.2], [0.1, 0.3]])):
        picture = similarity_matrix(values, ["a", "b"], ["x", "y"])
        assert has(picture.pixels, to_rgb(np.array([[0.5]]), UNIT)[0, 0])


def test_each_cell_has_its_number_and_a_layer_without_one_is_magenta() -> None:
    values = np.array([[0.5, np.nan], [-0.02, 1.0]])
    picture = similarity_matrix(values, ["a", "b"], ["x", "y"])
    colours = [to_rgb(np.array([[value]]), UNIT)[0, 0] for value in (0.5, np.nan, -0.02, 1.0)]
    assert (colours[1] == palette("magnitude")[NOT_FINITE]).all()
    top, left = blocks(picture.pixels, np.array([[0.5]]))[0]
    for index, colour in enumerate(colours):
        row, column = top + index // 2 * CELL_HEIGHT, left + index % 2 * CELL_WIDTH
        cell = picture.pixels[row : row + CELL_HEIGHT, column : column + CELL_WIDTH]
        written = (cell != colour).any(-1).sum()
        assert written > 10 if index != 1 else not written


def test_many_layers_have_small_cells_without_numbers() -> None:
    names = [f"layer{index}" for index in range(80)]
    picture = similarity_matrix(np.full((80, 80), 0.7), names, names)
    colour = to_rgb(np.array([[0.7]]), UNIT)[0, 0]
    rows, columns = np.nonzero((picture.pixels == colour).all(-1))
    box = picture.pixels[rows.min() : rows.max() - 40, columns.min() : columns.max() + 1]
    assert (box == colour).all()


def test_long_names_are_shortened_at_their_beginning() -> None:
    name = "a.very.long.name." * 10 + "end"
    picture = similarity_matrix(np.ones((1, 1)), [name], [name])
    assert max(picture.pixels.shape[:2]) < 500


@pytest.mark.parametrize("values", [np.ones((2, 3)), np.ones((0, 0)), np.ones(2)])
def test_a_matrix_must_fit_its_names(values: np.ndarray) -> None:
    with pytest.raises(InputError, match="similarities must be"):
        similarity_matrix(values, ["a"] * min(2, len(values)), ["x", "y"])


def test_a_wrong_answer_is_red_and_a_right_one_is_not() -> None:
    images = np.zeros((1, 1, 28, 28), dtype=np.uint8)
    right, wrong, nobody = (
        disagreement_sheet(images, [[Said("A: 0.98 Coat", state)]]) for state in (False, True, None)
    )
    assert red(wrong.pixels)
    assert not red(right.pixels)
    assert not red(nobody.pixels)


@pytest.mark.parametrize(("channels", "side", "shown"), [(1, 28, 112), (3, 32, 96), (3, 300, 112)])
def test_images_of_any_size_keep_their_pixels_or_are_made_smaller(channels: int, side: int, shown: int) -> None:
    images = np.full((3, channels, side, side), 77, dtype=np.uint8)
    picture = disagreement_sheet(images, [[Said("a"), Said("b")]] * 3, columns=2)
    assert ((picture.pixels == 77).all(-1)).sum() == 3 * shown * shown


def test_a_sheet_needs_lines_for_each_image() -> None:
    with pytest.raises(InputError, match="lines for each"):
        disagreement_sheet(np.zeros((2, 1, 4, 4), dtype=np.uint8), [[Said("a")]])


def test_kernels_of_some_units_on_a_shared_scale() -> None:
    kernels = np.zeros((2, 1, 1, 1), dtype=np.float32)
    kernels[:, 0, 0, 0] = 1, -2
    scale = Scale(-4.0, 4.0)
    picture = unit_kernels(kernels, [5, 17], scale, title="conv1")
    assert picture.scale == scale
    assert has(picture.pixels, to_rgb(np.array([[1.0]]), scale)[0, 0])
    assert has(picture.pixels, to_rgb(np.array([[-2.0]]), scale)[0, 0])
    with pytest.raises(InputError, match="with a number each"):
        unit_kernels(kernels, [5], scale)


def test_pictures_beside_each_other_keep_every_pixel() -> None:
    first = similarity_matrix(np.ones((1, 1)), ["a"], ["b"])
    second = similarity_matrix(np.ones((3, 3)), list("abc"), list("abc"))
    both = beside([first, second], "two")
    assert both.caption == "two"
    width = first.pixels.shape[1]
    assert (both.pixels[: first.pixels.shape[0], :width] == first.pixels).all()
    assert (both.pixels[:, width:] == second.pixels).all()


def test_a_column_that_no_font_can_write_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "wide_font", lambda: None)
    marked = similarity_matrix(np.ones((1, 1)), ["a"], ["?"])
    told = similarity_matrix(np.ones((1, 1)), ["a"], ["甲"])
    assert told.pixels.shape[0] > marked.pixels.shape[0]
