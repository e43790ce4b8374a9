"""The pointing game of every method on `shapes`, where the object is known exactly.

    python benchmarks/pointing.py RUN [--images 100]

RUN is a run on `shapes`. Only images that the network classifies correctly are counted: elsewhere it is no mistake of
a map to lie beside the object. Prints a line a method, those that lie on the object most often first.
"""

from __future__ import annotations

import argparse
import sys
from time import perf_counter

import numpy as np
import torch
from torch import Tensor

from cutaway import Scope, load_data
from cutaway.cli.table import table
from cutaway.errors import InputError
from cutaway.lenses.attribution import METHODS, explain
from cutaway.lenses.faithfulness import pointing
from cutaway.scope.ranking import control_maps


def known(scope: Scope, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Images, masks and labels of the first correctly classified test images."""
    split = load_data("shapes").splits["test"]
    images = scope.inputs(torch.from_numpy(np.asarray(split.images[np.arange(2 * count)]))).values
    labels, masks = torch.from_numpy(split.labels[: 2 * count]), torch.from_numpy(split.masks[: 2 * count])
    with torch.inference_mode():
        right = scope.network.eval()(images).argmax(1) == labels
    print(f"{right.float().mean():.1%} of {len(labels)} test images are classified correctly")
    return images[right][:count], masks[right][:count], labels[right][:count]


def line(name: str, heat: Tensor, masks: Tensor, seconds: float) -> dict[str, str]:
    game = pointing(heat, masks)
    numbers = {key: f"{float(getattr(game, key).mean()):.3f}" for key in ("hit", "mass", "iou")}
    return {"method": name, **numbers, "images/s": f"{len(heat) / seconds:.0f}" if seconds else ""}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run")
    parser.add_argument("--images", type=int, default=100)
    given = parser.parse_args()
    scope = Scope(given.run)
    images, masks, labels = known(scope, given.images)
    rows = [line(f"({name})", heat, masks, 0) for name, heat in control_maps(images, 0).items()]
    for method in METHODS:
        start = perf_counter()
        try:
            found = explain(scope.network, images, method, labels, classes=scope.classes)
        except InputError as error:
            print(f"{method}: {error}")
            continue
        rows.append(line(method, found.heat(), masks, perf_counter() - start))
        print(rows[-1], file=sys.stderr, flush=True)
    print(f"{len(images)} images; the objects cover {masks.float().mean():.1%} of them")
    print(table(sorted(rows, key=lambda row: -float(row["hit"]))))


if __name__ == "__main__":
    main()
