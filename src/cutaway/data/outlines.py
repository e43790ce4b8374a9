"""The ten outlines of `shapes` as signed distances: negative inside, in units of about the outline's radius."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Outline = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""The signed distance of points x (right), y (down), which broadcast together."""


def disc(x: np.ndarray, y: np.ndarray, radius: float) -> np.ndarray:
    """Distance to a disc around the origin."""
    distance: np.ndarray = np.hypot(x, y) - radius
    return distance


def union(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Distance to what lies in either outline."""
    distance: np.ndarray = np.minimum(first, second)
    return distance


def without(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Distance to what lies in the first outline and not in the second."""
    distance: np.ndarray = np.maximum(first, -second)
    return distance


def box(x: np.ndarray, y: np.ndarray, width: float | np.ndarray, height: float | np.ndarray) -> np.ndarray:
    """Distance to a rectangle around the origin with these half sides."""
    right, below = np.abs(x) - width, np.abs(y) - height
    outside = np.hypot(np.maximum(right, 0), np.maximum(below, 0))
    distance: np.ndarray = outside + np.minimum(np.maximum(right, below), 0)
    return distance


def polygon(x: np.ndarray, y: np.ndarray, corners: list[tuple[float, float]]) -> np.ndarray:
    """Distance to a polygon: to its nearest edge, negative where a ray to the right crosses an odd number of edges."""
    nearest = np.full(np.broadcast_shapes(x.shape, y.shape), np.inf, dtype=np.float32)
    inside = np.zeros(nearest.shape, dtype=bool)
    for (ax, ay), (bx, by) in zip(corners, corners[1:] + corners[:1], strict=True):
        along = np.clip(((x - ax) * (bx - ax) + (y - ay) * (by - ay)) / ((bx - ax) ** 2 + (by - ay) ** 2), 0, 1)
        nearest = np.minimum(nearest, np.hypot(x - ax - along * (bx - ax), y - ay - along * (by - ay)))
        if ay != by:
            inside ^= ((y < ay) != (y < by)) & (x < ax + (y - ay) * ((bx - ax) / (by - ay)))
    return np.where(inside, -nearest, nearest)


def regular(count: int, *radii: float) -> list[tuple[float, float]]:
    """Corners at equal angles from the top, at the given radii in turn."""
    angles = [2 * np.pi * corner / count for corner in range(count)]
    return [
        (radii[n % len(radii)] * float(np.sin(a)), -radii[n % len(radii)] * float(np.cos(a)))
        for n, a in enumerate(angles)
    ]


def _cross(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return union(box(x, y, 0.95, 0.3), box(x, y, 0.3, 0.95))


def _heart(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """A square on its corner, and a disc on each of its two upper sides."""
    side, lift = 0.52, 0.2
    turned = 0.5**0.5 * (x + y - lift), 0.5**0.5 * (y - x - lift)
    discs = union(disc(turned[0] + side, turned[1], side), disc(turned[0], turned[1] + side, side))
    return union(box(*turned, side, side), discs)


def _moon(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return without(disc(x, y, 0.92), disc(x - 0.5, y, 0.72))


_ARROW = [(0.0, -1.0), (0.75, -0.15), (0.28, -0.15), (0.28, 0.95), (-0.28, 0.95), (-0.28, -0.15), (-0.75, -0.15)]

OUTLINES: dict[str, Outline] = {
    "circle": lambda x, y: disc(x, y, 0.85),
    "square": lambda x, y: box(x, y, 0.72, 0.72),
    "triangle": lambda x, y: polygon(x, y, regular(3, 1.0)),
    "star": lambda x, y: polygon(x, y, regular(10, 1.0, 0.42)),
    "cross": _cross,
    "ring": lambda x, y: np.abs(disc(x, y, 0.66)) - 0.22,
    "hexagon": lambda x, y: polygon(x, y, regular(6, 0.92)),
    "heart": _heart,
    "arrow": lambda x, y: polygon(x, y, _ARROW),
    "moon": _moon,
}
"""The outline of every class, by name, in the order of the labels."""
