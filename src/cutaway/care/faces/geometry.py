"""Where a crop lies in its photograph: upright eyes, one scale for all faces."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image

# The tight frame is that of the usual 112x112 template of face recognition (Deng and others, 2019, ArcFace), made
# symmetric: where the eyes are in it, how far apart, and how far above the mouth, as shares of its side.
EYE_HEIGHT, EYE_DISTANCE, EYES_TO_MOUTH = 0.4607, 0.3146, 0.3633
_PROFILE = 0.25
_PROBES = 32
_LARGEST = 2400  # pixels: what lies around a larger frame is not copied whole

Point = tuple[float, float]


@dataclass(frozen=True)
class Frame:
    """A square in a photograph, in pixels, turned: its upper left corner, and the way along its upper edge.

    A point at shares (u, v) of its width and height lies at x = left + u * across - v * down, y = top + u * down +
    v * across: a similarity transform.
    """

    left: float
    top: float
    across: float
    down: float

    @property
    def side(self) -> float:
        """The length of its edges."""
        return math.hypot(self.across, self.down)

    def at(self, u: float, v: float) -> Point:
        """The point of the photograph at shares (u, v) of the frame."""
        return self.left + u * self.across - v * self.down, self.top + u * self.down + v * self.across

    def scaled(self, factor: float) -> Frame:
        """The same frame in a photograph that was scaled."""
        return Frame(self.left * factor, self.top * factor, self.across * factor, self.down * factor)

    def outside(self, height: int, width: int) -> float:
        """The share of the frame that is not in the photograph, measured at 32x32 points."""
        u = (np.arange(_PROBES) + 0.5) / _PROBES
        x, y = self.at(u[None, :], u[:, None])  # type: ignore[arg-type]  # arrays of shares work as shares do
        inside = (np.asarray(x) >= 0) & (np.asarray(x) < width) & (np.asarray(y) >= 0) & (np.asarray(y) < height)
        return float(1 - inside.mean())


def _averaged(pixels: np.ndarray, factor: int) -> np.ndarray:
    """A photograph of which every square of `factor` pixels a side has become one."""
    whole = Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))
    image = whole.reduce(min(factor, max(whole.size)))  # which is one pixel already
    return np.asarray(image).transpose(2, 0, 1)


def tight_frame(eyes: tuple[Point, Point], mouth: Point) -> Frame:
    """The square around a face whose eyes (the left one in the picture first) are level in it.

    Its side follows from the distance of the eyes or from that between eyes and mouth, whichever says more: a head
    that is turned to the side brings the eyes together, one that nods brings them near to the mouth. In full profile
    the eyes say nothing about the angle; then the way to the mouth is straight down.
    """
    (x1, y1), (x2, y2) = eyes
    middle = ((x1 + x2) / 2, (y1 + y2) / 2)
    right, down = (x2 - x1, y2 - y1), (mouth[0] - middle[0], mouth[1] - middle[1])
    side = max(math.hypot(*right) / EYE_DISTANCE, math.hypot(*down) / EYES_TO_MOUTH)
    if math.hypot(*right) < _PROFILE * EYE_DISTANCE * side:
        right = (down[1], -down[0])
    length = math.hypot(*right) or 1.0
    across, fall = side * right[0] / length, side * right[1] / length
    left = middle[0] - 0.5 * across + EYE_HEIGHT * fall
    return Frame(left, middle[1] - 0.5 * fall - EYE_HEIGHT * across, across, fall)


def widened(frame: Frame, margin: float) -> Frame:
    """`frame` with `margin` of its side added on each side."""
    left, top = frame.at(-margin, -margin)
    return Frame(left, top, frame.across * (1 + 2 * margin), frame.down * (1 + 2 * margin))


def cut(pixels: np.ndarray, frame: Frame, size: int) -> np.ndarray:
    """What `frame` shows of a photograph uint8 (3, H, W), as uint8 (3, size, size).

    Beyond the photograph's edge its last pixels go on. A frame larger than `size` is shrunk with antialiasing first;
    the photograph is, if what lies around the frame would be many times its size.
    """
    factor = int(frame.side / min(2 * size, max(size, _LARGEST))) if frame.side > _LARGEST else 1
    if factor > 1:
        pixels, frame = _averaged(pixels, factor), frame.scaled(1 / factor)
    corners = [frame.at(u, v) for u in (0, 1) for v in (0, 1)]
    room = 2 + math.ceil(2 * frame.side / size)
    left, right = (math.floor(edge(x for x, _ in corners)) + sign * room for edge, sign in ((min, -1), (max, 1)))
    top, bottom = (math.floor(edge(y for _, y in corners)) + sign * room for edge, sign in ((min, -1), (max, 1)))
    rows = np.clip(np.arange(top, bottom), 0, pixels.shape[1] - 1)
    columns = np.clip(np.arange(left, right), 0, pixels.shape[2] - 1)
    region = Image.fromarray(np.ascontiguousarray(pixels[:, rows][:, :, columns].transpose(1, 2, 0)))
    shrink = max(1.0, frame.side / size)
    wide, high = max(1, round(region.width / shrink)), max(1, round(region.height / shrink))
    x_scale, y_scale = wide / region.width, high / region.height
    if shrink > 1:
        region = region.resize((wide, high), Image.Resampling.BICUBIC)
    across, down = frame.across / size, frame.down / size
    to_region = (
        *(across * x_scale, -down * x_scale, (frame.left - left) * x_scale),
        *(down * y_scale, across * y_scale, (frame.top - top) * y_scale),
    )
    crop = region.transform((size, size), Image.Transform.AFFINE, to_region, Image.Resampling.BICUBIC)
    return np.ascontiguousarray(np.asarray(crop).transpose(2, 0, 1))
