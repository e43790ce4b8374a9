"""Integrated gradients beside Captum: gradients per second at equal steps, and the steps to a gap of one percent.

    python benchmarks/integrated_gradients.py [--rounds 5] [--images 2] [--side 224] [--steps 50] [--threads 2]
        [--network resnet18|efficientnet-lite0] [--weights FILE]

Captum is given its best internal batch size of those tried. The rounds take turns; the median is printed. At equal
steps (Gauss-Legendre) the maps are compared too, with each other and with the integral itself, for which Captum takes
`--many` steps in float64. The network's faster copy is made anew in each call, as for a new network. For the gap,
Captum's steps are doubled until every image's is within one percent of the change in score, or `--most` is reached;
only the last of these runs counts as its time. With `--threads 1` the times are the processor's, which other programs
on the machine disturb less; else the clock's.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from copy import deepcopy
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from captum.attr import IntegratedGradients
from skimage import data
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torchvision.models import resnet18

from cutaway.computing import twin
from cutaway.computing.process import set_up
from cutaway.lenses.attribution import Attribution, explain

GAP = 0.01


def make_network(name: str, weights: Path | None) -> nn.Module:
    """ResNet-18 with a file's weights, or as torchvision initialises it; or EfficientNet-Lite0, trained on ImageNet."""
    if name == "efficientnet-lite0":
        sys.path.insert(0, str(Path(__file__).parents[1] / "docs"))
        return import_module("efficientnet").make().eval()
    torch.manual_seed(0)
    network = resnet18()
    if weights:
        network.load_state_dict(torch.load(weights, weights_only=True))
    return network.eval()


def make_images(count: int, side: int) -> Tensor:
    """The middle squares of photographs, standardised."""
    found = []
    for index in range(count):
        photograph = torch.from_numpy([data.cat, data.astronaut, data.coffee, data.rocket][index % 4]())
        height, width = photograph.shape[:2]
        short = min(height, width)
        top, left = (height - short) // 2, (width - short) // 2
        square = photograph[top : top + short, left : left + short].permute(2, 0, 1)[None].float()
        found.append(interpolate(square, (side, side), mode="bilinear", antialias=True))
    return (torch.cat(found) / 255 - 0.45) / 0.225


def cutaway(network: nn.Module, images: Tensor, targets: Tensor, **options: Any) -> Attribution:
    """The call that a user makes; nothing is remembered from the last one, so that making the copy counts."""
    twin._remembered.clear()
    return explain(network, images, "integrated-gradients", targets, batch=16, **options)


def error(found: Tensor, exact: Tensor) -> float:
    """Distance from the integral, as a share of its length; the largest of all images."""
    return float(((found - exact).flatten(1).norm(dim=1) / exact.flatten(1).norm(dim=1)).max())


def captum(network: nn.Module, images: Tensor, targets: Tensor, steps: int, batch: int) -> tuple[Tensor, Tensor]:
    """Values and completeness gap."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return IntegratedGradients(network).attribute(
            images,
            target=targets,
            n_steps=steps,
            method="gausslegendre",
            internal_batch_size=batch,
            return_convergence_delta=True,
        )


def seconds(work: Callable[[], object]) -> float:
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    start = clock()
    work()
    return clock() - start


def in_turns(ways: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """The median seconds of each way, after one round that does not count."""
    times = [{name: seconds(way) for name, way in ways.items()} for _ in range(rounds + 1)][1:]
    return {name: statistics.median(row[name] for row in times) for name in ways}


def steps_to_gap(network: nn.Module, images: Tensor, targets: Tensor, most: int) -> tuple[int, float]:
    """Captum's steps until every image's gap is small enough, and the largest gap then, as a share of the change."""
    with torch.no_grad():
        rows = torch.arange(len(images))
        change = (network(images) - network(torch.zeros_like(images)))[rows, targets]
    steps = 16
    while True:
        gap = float((captum(network, images, targets, steps, 16)[1] / change).abs().max())
        if gap <= GAP or steps >= most:
            return steps, gap
        steps *= 2


def main() -> None:
    set_up()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=2)
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--most", type=int, default=512)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--many", type=int, default=800)
    parser.add_argument("--network", choices=["resnet18", "efficientnet-lite0"], default="resnet18")
    parser.add_argument("--weights", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    network, images = make_network(arguments.network, arguments.weights), make_images(arguments.images, arguments.side)
    with torch.no_grad():
        targets = network(images).argmax(1)
    steps, gap = steps_to_gap(network, images, targets, arguments.most)
    ways: dict[str, Callable[[], object]] = {
        f"captum, batch {size}": lambda size=size: captum(network, images, targets, arguments.steps, size)
        for size in (8, 16, 32)
    }
    ways["cutaway"] = lambda: cutaway(network, images, targets, steps=arguments.steps)
    ways["captum to the gap"] = lambda: captum(network, images, targets, steps, 16)
    ways["cutaway to the gap"] = lambda: cutaway(network, images, targets, tolerance=GAP)
    times = in_turns(ways, arguments.rounds)
    best = min(value for name, value in times.items() if name.startswith("captum, batch"))
    chosen = cutaway(network, images, targets, tolerance=GAP)
    tell(
        {
            "seconds": {name: round(value, 3) for name, value in times.items()},
            "equal_steps_times_faster": round(best / times["cutaway"], 2),
            "captum_steps_to_gap": steps,
            "captum_gap": gap,
            "cutaway_steps_to_gap": chosen.certificate.check["steps"],
            "cutaway_gap": max(chosen.certificate.check["completeness_gap_relative"]),
            "equal_gap_times_faster": round(times["captum to the gap"] / times["cutaway to the gap"], 2),
        }
    )
    tell(errors(network, images, targets, arguments.steps, arguments.many))


def errors(network: nn.Module, images: Tensor, targets: Tensor, steps: int, many: int) -> dict[str, Any]:
    """How far the maps of `steps` steps are from each other, and from the integral itself."""
    ours = cutaway(network, images, targets, steps=steps).values
    theirs = captum(network, images, targets, steps, 16)[0]
    exact = captum(deepcopy(network).double(), images.double(), targets, many, 8)[0].float()
    return {
        "equal_steps_difference_from_captum": error(ours, theirs),
        "error_captum": error(theirs, exact),
        "error_cutaway": error(ours, exact),
    }


def tell(found: dict[str, Any]) -> None:
    """Print at once: the integral itself takes longer than all the rest."""
    print(json.dumps(found, indent=1), flush=True)


if __name__ == "__main__":
    main()
