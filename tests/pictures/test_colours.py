import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cutaway.numerals import number
from cutaway.pictures import Scale, to_rgb
from cutaway.pictures.colours import NOT_FINITE, STEPS, oklch_to_rgb, palette, to_indices

SIGNED, MAGNITUDE = Scale(-2, 2, "signed"), Scale(0, 4, "magnitude")


def lightness(colours: np.ndarray) -> np.ndarray:
    """OKLab lightness of sRGB bytes, from the definition (Ottosson, 2020)."""
    encoded = colours / 255
    linear = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    to_cones = np.array(
        [
            [0.4122214708, 0.5363325363, 0.0514459929],
            [0.2119034982, 0.6806995451, 0.1073969566],
            [0.0883024619, 0.2817188376, 0.6299787005],
        ]
    )
    return np.asarray(np.cbrt(linear @ to_cones.T) @ np.array([0.2104542553, 0.7936177850, -0.0040720468]))


def test_zero_is_the_middle_and_the_ends_are_the_ends() -> None:
    values = np.array([[-2.0, 0.0, 2.0]])
    assert to_indices(values, SIGNED).tolist() == [[0, (STEPS - 1) // 2, STEPS - 1]]
    assert to_rgb(values, SIGNED).tolist() == [palette("signed")[[0, 125, 250]].tolist()]
    assert to_indices(np.array([0.0, 2.0, 4.0]), MAGNITUDE).tolist() == [0, 125, 250]
    red, green, blue = palette("signed")[125].astype(int)
    assert min(red, green, blue) > 235
    assert max(red, green, blue) - min(red, green, blue) < 8


def test_blue_is_negative_and_red_positive() -> None:
    low, high = palette("signed")[0].astype(int), palette("signed")[STEPS - 1].astype(int)
    assert low[2] > low[0] + 80
    assert high[0] > high[2] + 80


def test_lightness_is_proportional_to_the_value() -> None:
    steps = np.diff(lightness(palette("magnitude")[:STEPS]))
    assert steps.min() > 0
    assert steps.mean() == pytest.approx(0.76 / (STEPS - 1), rel=0.02)
    assert np.abs(np.diff(lightness(palette("magnitude")[:STEPS:10])) - 0.76 / 25).max() < 0.004
    arms = lightness(palette("signed")[:STEPS])
    assert np.abs(arms - arms[::-1]).max() < 0.01
    assert np.diff(arms[:126:5]).min() > 0


def test_values_beyond_the_ends_and_not_finite() -> None:
    values = np.array([-9.0, 9.0, np.nan, np.inf, -np.inf])
    assert to_indices(values, SIGNED).tolist() == [0, STEPS - 1, NOT_FINITE, NOT_FINITE, NOT_FINITE]


@given(st.floats(0.001, 1e6), st.integers(-125, 125))
def test_the_nearest_colour_is_taken(high: float, step: int) -> None:
    value = np.array([step / 125 * high])
    assert to_indices(value, Scale(-high, high)).tolist() == [125 + step]


def test_scales_of_values() -> None:
    assert Scale.of(np.array([-1.0, 3.0])) == Scale(-3, 3, "signed")
    assert Scale.of(np.array([0.0, 3.0])) == Scale(0, 3, "magnitude")
    assert Scale.of(np.array([1.0, 3.0]), "signed") == Scale(-3, 3, "signed")
    assert Scale.of(np.array([np.nan, -2.0, np.inf])) == Scale(-2, 2, "signed")
    assert Scale.of(np.array([np.nan])) == Scale(0, 0, "magnitude")


def test_a_scale_without_width_shows_zero() -> None:
    assert to_indices(np.zeros(2), Scale(0, 0, "signed")).tolist() == [125, 125]
    assert to_indices(np.zeros(2), Scale(0, 0, "magnitude")).tolist() == [0, 0]


def test_half_precision_values() -> None:
    assert to_indices(np.array([-2, 0, 2], dtype=np.float16), SIGNED).tolist() == [0, 125, 250]


def test_known_colours_of_oklch() -> None:
    assert oklch_to_rgb(np.array([1.0]), np.array([0.0]), np.array([0.0])).tolist() == [[255, 255, 255]]
    assert oklch_to_rgb(np.array([0.627955]), np.array([0.257683]), np.array([29.2339]))[0, 0] >= 254


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (-0.12345, "−0.123"), (1234.5, "1230"), (1e-7, "1e−07"), (0.000123456, "0.000123"), (3.0, "3")],
)
def test_numbers(value: float, text: str) -> None:
    assert number(value) == text
