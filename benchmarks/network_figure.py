"""The 13 x 10 picture of a VGG-16's convolutions: `network_figure` beside 130 matplotlib subplots, in one run.

    python benchmarks/network_figure.py [--rounds 7] [--folder FOLDER]

Both draw the same channels of the same maps to a PNG file. The rounds alternate; median and spread are printed.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import matplotlib
import numpy as np

from cutaway.pictures import network_figure
from cutaway.pictures.grids import choose

matplotlib.use("Agg")
from matplotlib import pyplot

CONVOLUTIONS = [(64, 32)] * 2 + [(128, 16)] * 2 + [(256, 8)] * 3 + [(512, 4)] * 3 + [(512, 2)] * 3
Layers = list[tuple[str, np.ndarray]]


def make_layers() -> Layers:
    random = np.random.default_rng(0)
    shapes = enumerate(CONVOLUTIONS)
    return [(f"conv{index}", random.normal(size=(width, side, side)).astype("f4")) for index, (width, side) in shapes]


def with_cutaway(layers: Layers, path: Path) -> None:
    network_figure(layers, count=10).save(path)


def with_subplots(layers: Layers, path: Path) -> None:
    figure, axes = pyplot.subplots(10, len(layers), figsize=(13, 10))
    for column, (name, maps) in enumerate(layers):
        limit = float(np.abs(maps).max())
        for row, channel in enumerate(choose(len(maps), 10)):
            axes[row, column].imshow(maps[channel], cmap="RdBu_r", vmin=-limit, vmax=limit)
            axes[row, column].set_title(f"{name} {channel}", fontsize=5)
            axes[row, column].axis("off")
    figure.savefig(path)
    pyplot.close(figure)


def seconds(draw: Callable[[Layers, Path], None], layers: Layers, path: Path) -> float:
    start = time.perf_counter()
    draw(layers, path)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--folder", type=Path, help="keep the two pictures here")
    options = parser.parse_args()
    layers = make_layers()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        rivals = {"cutaway": with_cutaway, "subplots": with_subplots}
        times: dict[str, list[float]] = {name: [] for name in rivals}
        for number in range(options.rounds + 1):
            for name, draw in rivals.items():
                taken = seconds(draw, layers, folder / f"{name}.png")
                if number:  # the first round only warms up
                    times[name].append(taken)
    for name, values in times.items():
        middle, low, high = (round(1e3 * value, 1) for value in (statistics.median(values), min(values), max(values)))
        print(f"{name:9} median {middle} ms   {low} to {high}")
    ratio = statistics.median(times["subplots"]) / statistics.median(times["cutaway"])
    print(f"ratio     {ratio:.1f}   ({options.rounds} rounds each, alternating)")


if __name__ == "__main__":
    main()
