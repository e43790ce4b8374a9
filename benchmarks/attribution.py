"""Occlusion and integrated gradients beside Captum's, at equal settings, in turn; accuracy against double precision.

    python benchmarks/attribution.py [--rounds 5] [--images 2] [--side 224] [--window 37] [--stride 18] [--steps 50]
        [--threads 2] [--network resnet18] [--weights FILE]

Captum is given the best of several numbers of perturbations or steps at once, found before the rounds. Both compute in
float32. Cutaway's faster copy of the network is made before the clock starts; what making it takes is printed. The
reference is Captum's own method on the network in float64. See `integrated_gradients.py` for equal completeness.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from captum.attr import IntegratedGradients, Occlusion
from skimage import data
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torchvision.models import get_model

from cutaway.computing.process import set_up
from cutaway.computing.twin import fast_twin
from cutaway.lenses.attribution import explain
from cutaway.lenses.attribution.integrated import integrated_gradients
from cutaway.lenses.attribution.method import Job
from cutaway.lenses.attribution.quick import quick
from cutaway.lenses.forward import opened
from cutaway.lenses.targets import parse_target

SIZES = (4, 8, 16, 32)
Way = Callable[[], Tensor]


def make_network(name: str, weights: Path | None) -> nn.Module:
    """A torchvision network with a file's weights, or as it is initialised."""
    torch.manual_seed(0)
    network = get_model(name, weights=None)
    if weights:
        network.load_state_dict(torch.load(weights, weights_only=True))
    return network.eval()


def make_images(count: int, side: int) -> Tensor:
    """The middle squares of photographs, standardised."""
    squares = []
    for index in range(count):
        photograph = torch.from_numpy([data.cat, data.astronaut, data.coffee, data.rocket][index % 4]())
        short = min(photograph.shape[:2])
        top, left = ((length - short) // 2 for length in photograph.shape[:2])
        square = photograph[top : top + short, left : left + short].permute(2, 0, 1)[None].float()
        squares.append(interpolate(square, (side, side), mode="bilinear", antialias=True))
    return (torch.cat(squares) / 255 - 0.45) / 0.225


def occlusions(network: nn.Module, images: Tensor, targets: Tensor, window: int, stride: int) -> dict[str, Any]:
    def captum(size: int) -> Tensor:
        with torch.no_grad():
            return Occlusion(network).attribute(
                images,
                (images.shape[1], window, window),
                strides=(images.shape[1], stride, stride),
                target=targets,
                perturbations_per_eval=size,
            )[:, :1]

    def exact() -> Tensor:
        double = deepcopy(network).double()
        return explain(double, images.double(), "occlusion", targets, window=window, stride=stride, batch=8).values

    def cutaway() -> Tensor:
        return explain(network, images, "occlusion", targets, window=window, stride=stride).values

    # Captum's perturbations are those of each image, so that its batches are this many times the images.
    return {
        "captum": captum,
        "sizes": [max(1, size // len(images)) for size in SIZES],
        "cutaway": cutaway,
        "exact": exact,
    }


def integrals(network: nn.Module, images: Tensor, targets: Tensor, steps: int) -> dict[str, Any]:
    def captum(size: int, network: nn.Module = network, images: Tensor = images) -> Tensor:
        return IntegratedGradients(network).attribute(images, target=targets, n_steps=steps, internal_batch_size=size)

    def cutaway() -> Tensor:
        with opened(network) as forward:
            job = Job(forward, images, parse_target(targets), batch=16)
            with quick(job) as (fast, _):
                return integrated_gradients(fast, steps=steps).values

    def exact() -> Tensor:
        return captum(8, deepcopy(network).double(), images.double()).float()

    return {"captum": captum, "sizes": list(SIZES), "cutaway": cutaway, "exact": exact}


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def error(found: Tensor, exact: Tensor) -> float:
    """Distance from the reference, as a share of its length; the largest of all images."""
    return float(((found - exact).flatten(1).norm(dim=1) / exact.flatten(1).norm(dim=1)).max())


def compare(ways: dict[str, Any], rounds: int) -> dict[str, Any]:
    captum, cutaway = ways["captum"], ways["cutaway"]
    found, theirs, exact = cutaway(), captum(ways["sizes"][0]), ways["exact"]()
    tried = {size: min(seconds(lambda size=size: captum(size)) for _ in range(2)) for size in ways["sizes"]}
    best = min(tried, key=lambda size: tried[size])
    pairs = [(seconds(lambda: captum(best)), seconds(cutaway)) for _ in range(rounds)]
    ratios = [first / second for first, second in pairs]
    return {
        "captum_seconds_by_size": {size: round(value, 3) for size, value in tried.items()},
        "captum_best_size": best,
        "captum_seconds": round(statistics.median(first for first, _ in pairs), 3),
        "cutaway_seconds": round(statistics.median(second for _, second in pairs), 3),
        "ratio": round(statistics.median(ratios), 2),
        "ratios": [round(ratio, 2) for ratio in ratios],
        "error_captum": error(theirs, exact),
        "error_cutaway": error(found, exact),
        "difference": error(found, theirs),
    }


def main() -> None:
    set_up()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=2)
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--window", type=int, default=37)
    parser.add_argument("--stride", type=int, default=18)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--network", default="resnet18")
    parser.add_argument("--weights", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    network, images = make_network(given.network, given.weights), make_images(given.images, given.side)
    with torch.no_grad():
        targets = network(images).argmax(1)
    making = seconds(lambda: fast_twin(network, images[:1]))
    report = {
        "conditions": {
            **{name: value for name, value in vars(given).items() if name != "weights"},
            "weights": "from a file" if given.weights else "random",
            "torch": torch.__version__,
            "processor": platform.processor() or platform.machine(),
        },
        "seconds_to_make_the_copy": round(making, 3),
        "occlusion": compare(occlusions(network, images, targets, given.window, given.stride), given.rounds),
        "integrated_gradients": compare(integrals(network, images, targets, given.steps), given.rounds),
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
