"""The atlas of every convolutional unit of a network: how long it takes, how large it is, how fast its pages open.

The time is that of the call that a user makes, from a network in memory to the last file, by what was being done. It
may be made in several sittings: what is stopped (Ctrl-C, or `timeout`) tells what it did, the next one goes on, and
the times add up. Pages are those of 200 units drawn at random, each read from disk.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import torch

import cutaway
from cutaway.computing.process import set_up
from cutaway.data.parallel import usable_cores
from cutaway.runs.atlas import Atlas, newest_atlas, open_atlas
from cutaway.scope import Scope
from cutaway.scope.atlas import atlas_folder, make_atlas
from cutaway.views.layer import exemplar_sprite, imagined_sprite, view_layer
from cutaway.views.unit import view_unit

PAGES = 200


class Clock:
    """How long each kind of work took, by the labels of its progress."""

    def __init__(self) -> None:
        self.label, self.since = "starting", time.perf_counter()
        self.seconds: dict[str, float] = {}

    def __call__(self, label: str, done: int, total: int) -> None:
        now = time.perf_counter()
        self.seconds[self.label] = self.seconds.get(self.label, 0.0) + now - self.since
        if label != self.label:
            print(f"{self.label}: {self.seconds[self.label]:.1f} s", file=sys.stderr, flush=True)
        self.label, self.since = label, now


def made(given: argparse.Namespace) -> tuple[Atlas, dict[str, float], bool]:
    """The atlas, seconds by kind of work, and whether it is finished."""
    scope = Scope(given.model, weights=given.weights)
    data = cutaway.load_data(given.data, size=scope.shape[1] if scope.shape else None)
    clock, finished = Clock(), True
    options = {"folder": given.folder, "split": given.split, "images": not given.no_images, "steps": given.steps}
    try:
        atlas = make_atlas(scope, data, progress=clock, **options)
    except KeyboardInterrupt:
        found = newest_atlas(Path(given.folder).parent if given.folder else atlas_folder(scope))
        assert found is not None
        atlas, finished = found, False
    clock("", 0, 0)
    return atlas, clock.seconds, finished


def stop(*_: Any) -> None:
    raise KeyboardInterrupt


def pages(atlas: Atlas) -> dict[str, float]:
    """Milliseconds for a unit's page, its median and the slowest of a hundred, and for a layer's page."""
    every = [(name, channel) for name, layer in atlas.layers.items() for channel in range(layer.channels)]
    units = []
    for layer, channel in random.Random(0).sample(every, min(PAGES, len(every))):
        begin = time.perf_counter()
        view_unit(open_atlas(atlas.path), layer, channel)
        units.append(1e3 * (time.perf_counter() - begin))
    begin = time.perf_counter()
    for name in atlas.layers:
        view_layer(atlas, name), exemplar_sprite(atlas, name), imagined_sprite(atlas, name)
    layers = 1e3 * (time.perf_counter() - begin) / len(atlas.layers)
    return {"unit": statistics.median(units), "unit_p99": sorted(units)[int(0.99 * len(units))], "layer": layers}


def imagined(atlas: Atlas) -> dict[str, Any]:
    """How many units were imagined, and of how many the image reaches more than noise and than any real image."""
    counts = {"imagined": 0, "above_noise": 0, "above_real": 0}
    for name, layer in atlas.layers.items():
        best = (atlas.arrays("responses", name, ["best_mean"]) or {}).get("best_mean")
        for channel in range(layer.channels):
            found = atlas.imagined(name, channel)
            if found is not None:
                counts["imagined"] += 1
                counts["above_noise"] += bool(found[1]["reached"] > found[1]["noise_max"])
                counts["above_real"] += best is not None and bool(found[1]["reached"] > best[channel])
    return counts


def main() -> None:
    set_up()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="a run or any model that Cutaway loads")
    parser.add_argument("data", help="a data set or a folder of images")
    parser.add_argument("--weights")
    parser.add_argument("--folder", help="where the atlas goes; by default where `cutaway atlas` puts it")
    parser.add_argument("--steps", type=int, default=64)
    parser.add_argument("--split", default="train")
    parser.add_argument("--no-images", action="store_true")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, stop)
    load, before = os.getloadavg()[0], sum(os.times()[:4])
    atlas, seconds, finished = made(given)
    processor = sum(os.times()[:4]) - before
    told = {
        "finished": finished,
        "units": sum(layer.channels for layer in atlas.layers.values()),
        "layers": len(atlas.layers),
        "images": atlas.info["data"]["images"],
        "settings": atlas.info["settings"],
        "seconds": {
            **{name: round(value, 1) for name, value in seconds.items()},
            "all": round(sum(seconds.values()), 1),
        },
        "processor_seconds": round(processor, 1),
        "megabytes": round(sum(path.stat().st_size for path in Path(atlas.path).rglob("*") if path.is_file()) / 1e6, 1),
        "pages_ms": {name: round(value, 1) for name, value in pages(atlas).items()},
        **imagined(atlas),
        "cores": usable_cores(),
        "load": [round(load, 1), round(os.getloadavg()[0], 1)],
        "torch": torch.__version__,
    }
    print(json.dumps(told, indent=2))


if __name__ == "__main__":
    main()
