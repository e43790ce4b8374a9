"""The pictures of one epoch's snapshot: what the first layer sees, has learned, and is pushed to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cutaway.pictures.colours import PAPER, Scale
from cutaway.pictures.grids import choose, kernel_grid
from cutaway.pictures.mosaic import Layout, mosaic, whole_zoom
from cutaway.pictures.picture import LABEL_SIZE, Label, Picture, framed
from cutaway.pictures.text import text_width

Arrays = Mapping[str, NDArray[Any]]


def snapshot_scales(snapshots: Iterable[Arrays]) -> dict[str, Scale]:
    """For each array of maps, kernels or gradients, one scale for all `snapshots`.

    Its ends are the median over the snapshots of the largest absolute value: one wild epoch, often the first, would
    else leave all others blank. What lies beyond gets the colour of the end.
    """
    found: dict[str, list[Scale]] = {}
    for arrays in snapshots:
        for name, values in arrays.items():
            if name.startswith(("maps/", "kernels/", "gradients/")):
                found.setdefault(name, []).append(Scale.of(values))
    return {name: _typical(scales) for name, scales in found.items()}


def _typical(scales: list[Scale]) -> Scale:
    high = float(np.median([max(abs(scale.low), abs(scale.high)) for scale in scales]))
    signed = any(scale.kind == "signed" for scale in scales)
    return Scale(-high if signed else 0.0, high, "signed" if signed else "magnitude")


def snapshot_pictures(arrays: Arrays, scales: Mapping[str, Scale] | None = None) -> dict[str, Picture]:
    """The pictures `maps`, `kernels` and `gradients` of the first layer.

    Args:
        arrays: what `take_snapshot` returned, as NumPy arrays; `images` uint8 (P, C, H, W) is shown beside the maps.
        scales: colour scales by array name, as of `snapshot_scales`; None for scales of this snapshot alone.
    """
    scales = snapshot_scales([arrays]) if scales is None else scales
    pictures: dict[str, Picture] = {}
    for kind in ("maps", "kernels", "gradients"):
        name = next((key for key in arrays if key.startswith(f"{kind}/")), None)
        if name:
            pictures[kind] = _picture(kind, name, arrays, scales.get(name))
    return pictures


def _picture(kind: str, name: str, arrays: Arrays, scale: Scale | None) -> Picture:
    layer = name.split("/", 1)[1]
    if kind == "maps":
        return probe_maps(arrays[name], layer, arrays.get(f"channels/{layer}"), arrays.get("images"), scale)
    what = "kernels" if kind == "kernels" else "gradients of the kernels"
    return kernel_grid(arrays[name], layer=layer, what=what, scale=scale)


def probe_maps(
    maps: NDArray[Any],
    layer: str,
    channels: NDArray[Any] | None = None,
    images: NDArray[np.uint8] | None = None,
    scale: Scale | None = None,
    *,
    count: int = 16,
) -> Picture:
    """A row an image: the image, then `count` channels of maps (P, C, h, w), the same in every row."""
    maps = np.asarray(maps, dtype=np.float32)
    shown = choose(maps.shape[1], count)
    numbers = shown if channels is None else np.asarray(channels)[shown]
    scale = scale or Scale.of(maps[:, shown])
    zoom = whole_zoom(max(maps.shape[2:]), 64)
    height, width, gap = maps.shape[2] * zoom, maps.shape[3] * zoom, 4
    layout = Layout(len(maps) * len(shown), len(shown), height, width, gap)
    grid = mosaic(maps[:, shown].reshape(-1, *maps.shape[2:]), scale, layout, zoom).pixels
    left = 0
    if images is not None:
        photographs = _photographs(images, height, width, gap)
        left = photographs.shape[1]
        grid = np.concatenate([photographs, grid], axis=1)
    words = [
        Label(grid.shape[0] + 2, left + index * (width + gap) + (width - text_width(text, LABEL_SIZE)) // 2, text)
        for index, text in enumerate(str(number) for number in numbers)
    ]
    grid = np.concatenate([grid, np.full((LABEL_SIZE + 6, grid.shape[1], 3), PAPER, dtype=np.uint8)])
    title = f"{layer}  ·  {len(shown)} of {maps.shape[1]} channels of {maps.shape[2]}×{maps.shape[3]}"
    return framed(grid, title=title, labels=words, scale=scale)


def _photographs(images: NDArray[np.uint8], height: int, width: int, gap: int) -> NDArray[np.uint8]:
    """A column of images, each in the middle of the place that a map takes, by nearest neighbour."""
    colours = np.repeat(images, 3, axis=1) if images.shape[1] == 1 else images[:, :3]
    down = np.arange(height) * images.shape[2] // height
    across = np.arange(width) * images.shape[3] // width
    tiles = colours.transpose(0, 2, 3, 1)[:, down][:, :, across]
    column = np.full((len(tiles), height + gap, width + 4 * gap, 3), PAPER, dtype=np.uint8)
    column[:, :height, :width] = tiles
    return column.reshape(-1, width + 4 * gap, 3)[: len(tiles) * (height + gap) - gap]
