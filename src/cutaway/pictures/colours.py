"""From values to colours: two scales that a reader can measure with, built from their definition in OKLab.

OKLab is a colour space in which equal distances look equally different (Björn Ottosson, 2020). Both scales move on
straight lines of lightness through it, so twice the value looks twice as far from zero:

- `signed`: blue, paper white at zero, red; both arms equally dark at equal distance from zero.
- `magnitude`: ink blue at zero, over teal and green, to pale yellow at the largest value.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Kind = Literal["signed", "magnitude"]
Bytes = NDArray[np.uint8]

STEPS = 251  # colours of a scale; odd, so that zero has one of its own in the middle
NOT_FINITE, HATCH, GAP = 253, 254, 255  # palette entries that are no values
PAPER, INK, FAINT, RULE, ACCENT = (250, 248, 243), (28, 26, 23), (111, 104, 95), (205, 198, 184), (176, 58, 28)


@dataclass(frozen=True)
class Scale:
    """Which value gets which end of a colour scale.

    Attributes:
        low: value of the first colour; `-high` if signed.
        high: value of the last colour.
        kind: `signed` (zero in the middle) or `magnitude`.
        shared: whether all tiles of a picture use these ends, or each its own (these are then the widest).
    """

    low: float
    high: float
    kind: Kind = "signed"
    shared: bool = True

    @classmethod
    def of(cls, values: NDArray[Any], kind: Kind | None = None, *, shared: bool = True) -> Scale:
        """The scale that just holds all finite `values`; signed if any of them is negative.

        >>> Scale.of(np.array([-1.0, 4.0]))
        Scale(low=-4.0, high=4.0, kind='signed', shared=True)
        """
        low, high = finite_range(values)
        kind = kind or ("signed" if low < 0 else "magnitude")
        if kind == "signed":
            return cls(-max(-low, high), max(-low, high), kind, shared)
        return cls(min(0.0, low), high, kind, shared)


def finite_range(values: NDArray[Any]) -> tuple[float, float]:
    """The least and the largest finite value, or zeros if there is none."""
    if not values.size:
        return 0.0, 0.0
    low, high = float(values.min()), float(values.max())
    if np.isfinite(low) and np.isfinite(high):
        return low, high
    finite = values[np.isfinite(values)]
    return (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)


def to_indices(values: NDArray[Any], scale: Scale) -> Bytes:
    """The palette entry of each value: 0 .. 250 along the scale, `NOT_FINITE` for NaN and infinities."""
    width = scale.high - scale.low
    values = np.asarray(values, dtype=np.float32)
    # A scale without width shows only zeros: the middle of a signed scale, the start of the other.
    start = np.float32((STEPS - 1) / 2 if scale.kind == "signed" else 0)
    if width <= 0:
        entries = np.full(values.shape, start, dtype=np.float32)
    else:
        entries = values * np.float32((STEPS - 1) / width)
        entries += start if scale.kind == "signed" else np.float32(-scale.low * (STEPS - 1) / width)
    finite = np.isfinite(values)
    np.clip(entries, 0, STEPS - 1, out=entries)
    if finite.all():
        return np.rint(entries).astype(np.uint8)
    return np.where(finite, np.rint(np.nan_to_num(entries)), NOT_FINITE).astype(np.uint8)


def to_rgb(values: NDArray[Any], scale: Scale) -> Bytes:
    """Colours of `values`: float (H, W) to uint8 (H, W, 3)."""
    colours: Bytes = palette(scale.kind)[to_indices(values, scale)]
    return colours


@cache
def palette(kind: Kind) -> Bytes:
    """The 256 colours of a picture, uint8 (256, 3): the scale, and the entries that are no values."""
    table = np.zeros((256, 3), dtype=np.uint8)
    table[:STEPS] = _signed() if kind == "signed" else _magnitude()
    table[NOT_FINITE], table[HATCH], table[GAP] = (232, 0, 190), (150, 141, 128), PAPER
    table.flags.writeable = False
    return table


def _signed() -> Bytes:
    """Lightness 0.97 at zero falls evenly to 0.36 at both ends, from no chroma to 0.14 and 0.15."""
    position = np.linspace(-1, 1, STEPS)
    distance = np.abs(position)
    hue = np.where(position < 0, 257.0, 32.0)
    # Chroma grows faster than lightness falls: small values are then told apart by hue as well.
    chroma = np.where(position < 0, 0.135, 0.15) * np.sin(distance * np.pi / 2 * 0.92)
    return oklch_to_rgb(0.97 - 0.61 * distance, chroma, hue)


def _magnitude() -> Bytes:
    """Lightness rises evenly from 0.20 to 0.96 while the hue turns from ink blue to yellow."""
    position = np.linspace(0, 1, STEPS)
    lightness = 0.20 + 0.76 * position
    hue = 290.0 - 185.0 * position**0.9
    chroma = 0.07 + 0.075 * position**2  # low enough that sRGB holds nearly all of it: no visible kink
    return oklch_to_rgb(lightness, chroma, hue)


def oklch_to_rgb(lightness: NDArray[Any], chroma: NDArray[Any], hue: NDArray[Any]) -> Bytes:
    """sRGB bytes (..., 3) of OKLCh colours (hue in degrees); chroma gives way where sRGB ends, lightness stays."""
    low, high = np.zeros_like(chroma), chroma.astype(float)
    inside = _in_gamut(_linear(lightness, high, hue))
    low = np.where(inside, high, low)
    for _ in range(20):
        middle = (low + high) / 2
        fits = _in_gamut(_linear(lightness, middle, hue))
        low, high = np.where(fits, middle, low), np.where(fits, high, middle)
    linear = np.clip(_linear(lightness, low, hue), 0, 1)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.asarray(np.rint(encoded * 255), dtype=np.uint8)


def _in_gamut(linear: NDArray[Any]) -> NDArray[np.bool_]:
    return np.asarray(np.all((linear >= -1e-6) & (linear <= 1 + 1e-6), axis=-1))


def _linear(lightness: NDArray[Any], chroma: NDArray[Any], hue: NDArray[Any]) -> NDArray[Any]:
    """Linear sRGB of OKLCh colours, by the two matrices of the definition."""
    angle = np.deg2rad(hue)
    lab = np.stack([lightness, chroma * np.cos(angle), chroma * np.sin(angle)], axis=-1)
    cones = (lab @ _LAB_TO_CONES.T) ** 3
    return np.asarray(cones @ _CONES_TO_RGB.T)


_LAB_TO_CONES = np.array(
    [[1, 0.3963377774, 0.2158037573], [1, -0.1055613458, -0.0638541728], [1, -0.0894841775, -1.2914855480]]
)
_CONES_TO_RGB = np.array(
    [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ]
)
