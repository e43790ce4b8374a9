"""Where a crop lies, by constants that a person can check."""

from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest

from cutaway.care.faces import geometry
from cutaway.care.faces.geometry import (
    EYE_DISTANCE,
    EYE_HEIGHT,
    EYES_TO_MOUTH,
    Frame,
    Point,
    cut,
    tight_frame,
    widened,
)


def near(first: Point, second: Point) -> bool:
    return math.dist(first, second) < 1e-6


def face(side: float, corner: Point, degrees: float) -> tuple[tuple[Point, Point], Point]:
    """The eyes and mouth of a face that fills a square of `side` at `corner`, turned about the corner."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))

    def turned(u: float, v: float) -> Point:
        x, y = side * u, side * v
        return corner[0] + cos * x - sin * y, corner[1] + sin * x + cos * y

    half = EYE_DISTANCE / 2
    return (turned(0.5 - half, EYE_HEIGHT), turned(0.5 + half, EYE_HEIGHT)), turned(0.5, EYE_HEIGHT + EYES_TO_MOUTH)


@pytest.mark.parametrize("degrees", [0, 30, -45, 90, 180])
def test_the_frame_is_the_square_that_the_face_was_put_in(degrees: float) -> None:
    frame = tight_frame(*face(100, (20, 30), degrees))
    assert frame.side == pytest.approx(100)
    assert near(frame.at(0, 0), (20, 30))
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    assert near(frame.at(1, 0), (20 + 100 * cos, 30 + 100 * sin))


def test_a_head_turned_to_the_side_keeps_its_size() -> None:
    (left, right), mouth = face(100, (0, 0), 0)
    middle = (left[0] + right[0]) / 2
    turned = ((middle - 3, left[1]), (middle + 3, right[1]))
    assert tight_frame(turned, (middle, mouth[1])).side == pytest.approx(100)


def test_a_margin_is_added_on_every_side() -> None:
    frame = widened(Frame(10, 20, 40, 0), 0.25)
    assert frame.side == pytest.approx(60)
    assert near(frame.at(0, 0), (0, 10))
    assert near(frame.at(0.5, 0.5), Frame(10, 20, 40, 0).at(0.5, 0.5))


@pytest.mark.parametrize(
    ("frame", "share"), [(Frame(0, 0, 8, 0), 0), (Frame(-4, 0, 8, 0), 0.5), (Frame(4, 4, 8, 0), 0.75)]
)
def test_what_lies_outside(frame: Frame, share: float) -> None:
    assert frame.outside(8, 8) == share


def test_an_upright_frame_of_the_same_size_is_a_plain_cut() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 40, 50), dtype=np.uint8)
    assert np.array_equal(cut(pixels, Frame(7, 5, 20, 0), 20), pixels[:, 5:25, 7:27])


def test_a_quarter_turn_is_a_quarter_turn() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 40, 40), dtype=np.uint8)
    # Across the frame is down the photograph, and down the frame is to the left.
    found = cut(pixels, Frame(30, 10, 0, 16), 16)
    assert np.array_equal(found, np.rot90(pixels[:, 10:26, 14:30], 1, (1, 2)))


def test_beyond_the_edge_the_last_pixels_go_on() -> None:
    pixels = np.zeros((3, 10, 10), np.uint8)
    pixels[:, :, 0] = 200
    found = cut(pixels, Frame(-5, 0, 10, 0), 10)
    assert (found[:, :, :5] == 200).all()
    assert (found[:, :, 7:] == 0).all()


def test_a_large_frame_is_shrunk_to_its_mean() -> None:
    checks = np.indices((64, 64)).sum(0) % 2 * 255
    found = cut(np.stack([checks] * 3).astype(np.uint8), Frame(0, 0, 64, 0), 16)
    assert abs(found[:, 4:12, 4:12].astype(float) - 127.5).max() < 8


def test_a_frame_larger_than_is_copied_shows_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    y, x = np.ogrid[:300, :400]
    pixels = np.stack([x * 0.6 + 0 * y, y * 0.8 + 0 * x, (x + y) * 0.3]).astype(np.uint8)
    frame = Frame(-20, 60, 300, 90)
    whole = cut(pixels, frame, 24)
    monkeypatch.setattr(geometry, "_LARGEST", 20)
    assert np.abs(cut(pixels, frame, 24).astype(int) - whole.astype(int)).max() <= 6


@pytest.mark.parametrize("side", [1e5, 1e9, 1e15])
def test_a_giant_frame_takes_no_memory(side: float) -> None:
    pixels = np.full((3, 10, 1000), 7, np.uint8)
    tracemalloc.start()
    try:
        crop = cut(pixels, Frame(-side / 3, -side / 3, side, side / 9), 224)
        assert tracemalloc.get_traced_memory()[1] < 50e6
    finally:
        tracemalloc.stop()
    assert (crop == 7).all()
