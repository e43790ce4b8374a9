"""Grad-CAM of ResNet-18's layer4: images per second beside captum, torchcam and grad-cam, in one run.

    python benchmarks/grad_cam.py [--rounds 9] [--batch 16] [--side 224] [--threads 2] [--weights FILE]

Every peer is given the same photographs, the classes that the network predicts and the layer. Its object is made once,
outside the clock: extractors and hooks of the peers, the faster copy of the network of Cutaway, whose making is in
`first_call_seconds`. The rounds take turns; the median and the quartiles are printed. Maps are compared by their
positive parts, before any scaling. Cutaway is measured twice: in float32 on the network itself, and with
`precision="bf16"`, whose certificate is printed.
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

import numpy as np
import torch
from skimage import data
from torch import Tensor, nn
from torchvision.models import resnet18

from cutaway.computing.process import set_up
from cutaway.lenses.attribution import explain

Draw = Callable[[], Tensor]


def make_network(weights: Path | None) -> nn.Module:
    """ResNet-18 with a file's weights, or as torchvision initialises it."""
    torch.manual_seed(0)
    network = resnet18()
    if weights:
        network.load_state_dict(torch.load(weights, weights_only=True))
    return network.eval()


def make_images(count: int, side: int) -> Tensor:
    """Crops of four photographs, standardised."""
    photographs = [data.cat(), data.astronaut(), data.coffee(), data.rocket()]
    random = np.random.default_rng(0)
    crops = []
    for index in range(count):
        photograph = photographs[index % 4]
        top, left = (random.integers(0, photograph.shape[axis] - side) for axis in (0, 1))
        crops.append(photograph[top : top + side, left : left + side])
    pixels = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).contiguous()
    return (pixels.float() / 255 - 0.45) / 0.225


def with_captum(network: nn.Module, images: Tensor, classes: Tensor) -> Draw:
    from captum.attr import LayerGradCam

    peer = LayerGradCam(network, network.layer4)
    return lambda: peer.attribute(images, classes).detach()


def with_torchcam(network: nn.Module, images: Tensor, classes: Tensor) -> Draw:
    from torchcam.methods import GradCAM

    peer = GradCAM(network, "layer4")
    numbers = classes.tolist()

    def draw() -> Tensor:
        # Its ReLU stays, since it costs nothing; maps are compared without their negative part.
        return peer(numbers, network(images), normalized=False)[0].detach()[:, None]

    return draw


def with_grad_cam(network: nn.Module, images: Tensor, classes: Tensor) -> Draw:
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    peer = GradCAM(network, [network.layer4])
    targets = [ClassifierOutputTarget(number) for number in classes.tolist()]
    # It returns maps scaled to 0 .. 1 at the images' size.
    return lambda: torch.as_tensor(peer(images, targets))[:, None]


def with_cutaway(network: nn.Module, images: Tensor, classes: Tensor, precision: str) -> Draw:
    return lambda: explain(network, images, "grad-cam", classes, "layer4", precision=precision).values


def seconds(draw: Draw) -> float:
    start = time.perf_counter()
    draw()
    return time.perf_counter() - start


def difference(found: Tensor, expected: Tensor) -> float:
    """Largest difference of the positive parts, relative to the largest value of each image's map."""
    found, expected = found.clamp_min(0), expected.clamp_min(0)
    return float(((found - expected).abs().amax((1, 2, 3)) / expected.amax((1, 2, 3)).clamp_min(1e-12)).max())


def main() -> None:
    set_up()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--weights", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    network = make_network(arguments.weights)
    images = make_images(arguments.batch, arguments.side)
    with torch.no_grad():
        classes = network(images).argmax(1)
    # Each has a network of its own, so that no peer's hooks slow the others.
    ways = {
        "captum": with_captum(deepcopy(network), images, classes),
        "torchcam": with_torchcam(deepcopy(network), images, classes),
        "grad-cam": with_grad_cam(deepcopy(network), images, classes),
        "cutaway fp32": with_cutaway(deepcopy(network), images, classes, "fp32"),
        "cutaway bf16": with_cutaway(deepcopy(network), images, classes, "bf16"),
    }
    report = measure(network, images, classes, arguments.rounds, ways)
    print(json.dumps(report, indent=2))


def measure(
    network: nn.Module, images: Tensor, classes: Tensor, rounds: int, ways: dict[str, Draw]
) -> dict[str, object]:
    first = {name: seconds(draw) for name, draw in ways.items()}
    maps = {name: draw() for name, draw in ways.items()}
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, draw in ways.items():
            times[name].append(seconds(draw))
    rate = {name: len(images) / statistics.median(values) for name, values in times.items()}
    fastest = max((name for name in rate if not name.startswith("cutaway")), key=lambda name: rate[name])
    certificate = explain(network, images, "grad-cam", classes, "layer4", precision="bf16").certificate
    return {
        "conditions": {
            "network": "ResNet-18, layer4",
            "batch": list(images.shape),
            "rounds": rounds,
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
            "processor": platform.processor() or platform.machine(),
        },
        "images_per_second": {name: round(value, 1) for name, value in rate.items()},
        "interquartile_seconds": {name: quartiles(values) for name, values in times.items()},
        "first_call_seconds": {name: round(value, 3) for name, value in first.items()},
        "difference_from_captum": {
            name: float(f"{difference(value, maps['captum']):.2g}")
            for name, value in maps.items()
            if name != "grad-cam"
        },
        "certificate": certificate.as_dict(),
        "fastest_peer": fastest,
        "ratio_fp32": round(rate["cutaway fp32"] / rate[fastest], 2),
        "ratio": round(rate["cutaway bf16"] / rate[fastest], 2),
    }


def quartiles(values: list[float]) -> list[float]:
    low, _, high = statistics.quantiles(values, n=4)
    return [round(low, 4), round(high, 4)]


if __name__ == "__main__":
    main()
